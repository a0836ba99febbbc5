"""SQLite as a source: a copy by the online backup, written out as SQL.

The copy is taken from one read transaction, so that neither readers nor writers wait for it, and it shows one moment.
"""

import math
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from django.db import connection
from django.utils import timezone

from backup import files
from backup.errors import BackupError, of_a_file, of_the_database, timed_out
from backup.facts import Facts, left_empty
from backup.programs import Stop, stopped

_PAGES = 2000
_BATCH_BYTES = 64 * 1024
_STEPS = 100_000
_READ_EXACTLY = 10
_MANTISSA = 53


class SqliteSource:
    """The database at one moment. A context manager, at whose end the copy is gone."""

    def __init__(self, directory: Path, *, deadline: float, stop: Stop) -> None:
        self._path = files.passing(directory, "copy")
        self._deadline, self._stop = deadline, stop

    def __enter__(self) -> Self:
        try:
            self._path.touch(mode=0o600)
            self._copy()
            self._database = sqlite3.connect(self._path)
        except (OSError, sqlite3.Error) as error:
            files.remove(self._path)
            raise self._told(error) from None
        except BaseException:
            files.remove(self._path)
            raise
        self._database.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        self._database.set_progress_handler(self._is_over, _STEPS)
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        files.remove(self._path)

    def _copy(self) -> None:
        source = connection.copy()
        copy = sqlite3.connect(self._path)
        try:
            copy.execute("PRAGMA synchronous=OFF")  # it is ours alone, and soon gone
            source.ensure_connection()
            source.connection.execute("BEGIN DEFERRED")
            source.connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # from here on, one moment
            source.connection.backup(copy, pages=_PAGES, progress=self._check)
            source.connection.execute("ROLLBACK")
        finally:
            copy.close()
            source.close()

    def facts(self) -> Facts:
        """Of the copy."""
        try:
            tables, migrations = census(self._database, left_empty())
        except sqlite3.Error as error:
            raise self._told(error) from None
        version, made_at = sqlite3.sqlite_version, timezone.now().isoformat(timespec="seconds")
        return Facts("sqlite", version, f"sqlite {version}", made_at, tables, migrations)

    def sql(self) -> Iterator[bytes]:
        """The copy as SQL, some statements at a time."""
        try:
            for text in written(self._database, left_empty()):
                self._check()
                yield text.encode()
        except sqlite3.Error as error:
            raise self._told(error) from None

    def _is_over(self) -> bool:
        return time.monotonic() > self._deadline or self._stop()

    def _check(self, *_: int) -> None:
        if time.monotonic() > self._deadline:
            raise BackupError("timeout", timed_out())
        if self._stop():
            raise stopped()

    def _told(self, error: Exception) -> BackupError:
        if self._stop():
            return stopped()
        return of_a_file(error, self._path) if isinstance(error, OSError) else of_the_database(str(error))


def census(database: sqlite3.Connection, empty: set[str]) -> tuple[dict[str, int], list[str]]:
    """Rows by table, none of the `empty` ones, and the migrations that were applied."""
    tables, migrations = {}, []
    for name, _sql in _of_kind(database, "table"):
        tables[name] = 0 if name in empty else database.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0]  # noqa: S608
    if "django_migrations" in tables:
        found = database.execute("SELECT app, name FROM django_migrations ORDER BY id")
        migrations = [f"{app}.{name}" for app, name in found]
    return tables, migrations


def written(database: sqlite3.Connection, empty: set[str]) -> Iterator[str]:
    """The database as SQL that makes it anew. Indexes come last: filling a table that has them takes longer."""
    yield "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"
    for name, made_by in _of_kind(database, "table"):
        yield f"{made_by};\n"
        if name not in empty:
            yield from _rows(database, name)
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
        yield "DELETE FROM sqlite_sequence;\n"
        yield from _rows(database, "sqlite_sequence")
    for kind in ("index", "view", "trigger"):  # a trigger may be a view's
        for _name, made_by in _of_kind(database, kind):
            yield f"{made_by};\n"
    yield "COMMIT;\n"


def _of_kind(database: sqlite3.Connection, kind: str) -> list[tuple[str, str]]:
    """Names and SQL; without what SQLite makes by itself."""
    found = database.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = ? AND sql IS NOT NULL "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid",
        [kind],
    )
    return list(found)


def _rows(database: sqlite3.Connection, table: str) -> Iterator[str]:
    """Statements that insert them, many at once."""
    names = [row[1] for row in database.execute(f"PRAGMA table_info({_quoted(table)})")]  # no generated columns
    columns = ", ".join(map(_quoted, names))
    begin = f"INSERT INTO {_quoted(table)} ({columns}) VALUES\n"
    batch: list[str] = []
    size = 0
    for row in database.execute(f"SELECT {columns} FROM {_quoted(table)}"):  # noqa: S608 - names of its own tables
        batch.append(f"({','.join(map(_literal, row))})")
        size += len(batch[-1])
        if size >= _BATCH_BYTES:
            yield begin + ",\n".join(batch) + ";\n"
            batch, size = [], 0
    if batch:
        yield begin + ",\n".join(batch) + ";\n"


def _literal(value: Any) -> str:
    """The value as SQL has it, exactly."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return str(value)
    # What the program `sqlite3` would not read as it stands: it drops the \r before a line's end, and ends at a NUL;
    # and what is no text in UTF-8.
    if "\0" in value or "\r" in value or not _is_text(value):
        return f"CAST(X'{value.encode('utf-8', 'surrogateescape').hex()}' AS TEXT)"
    return "'" + str(value).replace("'", "''") + "'"


def _number(value: float) -> str:
    """SQLite misreads some long decimals by one unit; an integer, multiplied or divided by powers of two, is exact."""
    text = repr(value)
    if text in {"inf", "-inf"}:
        return text.replace("inf", "9e999")
    if len(text) <= _READ_EXACTLY and "e" not in text:
        return text
    fraction, exponent = math.frexp(value)
    sign = "*" if exponent > _MANTISSA else "/"
    steps, rest = divmod(abs(exponent - _MANTISSA), 62)
    return f"({int(fraction * 2**_MANTISSA)}*1.0{f'{sign}{2**62}' * steps}{sign}{2**rest})"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
