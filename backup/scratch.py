"""Databases that live as long as a restore is tried."""

import contextlib
import re
import secrets
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext as _

from backup import files, postgres, sqlite
from backup.errors import BackupError, of_a_file, of_the_database, timed_out
from backup.programs import Program, Stop, environment, find, stopped

_NAME = "notifier_verify_{time}_{word}"
_OURS = re.compile(r"notifier_verify_([0-9]{10})_[0-9a-f]{8}")
_OURS_FILE = re.compile(r"\.notifier-verify-([0-9]{10})-[0-9a-f]{8}\.sqlite3(?:-journal)?")
_RESTRICT = re.compile(rb"\\restrict ([0-9A-Za-z]{32,128})\r?\n")
_DAY = 24 * 3600
_STEPS = 100_000
_TOGETHER = 64 * 1024

Census = tuple[dict[str, int], list[str]]


# --- PostgreSQL ------------------------------------------------------------------------------------------------------
def in_postgres(pieces: Iterator[bytes], deadline: float, stop: Stop) -> Census:
    """Restore it into a new database on the same server, count what is there, and drop it."""
    server = connection.copy()
    try:
        _run(server, "SET statement_timeout = 0")
        _drop_left(server)
        name = _NAME.format(time=int(time.time()), word=secrets.token_hex(4))
        _create(server, name)
        try:
            _feed(server, name, pieces, deadline, stop)
            return _counted(name)
        finally:
            server.close()  # whoever stands between may have hung up on a connection that said nothing for so long
            _drop(server, name)
    finally:
        server.close()


def _create(server: BaseDatabaseWrapper, name: str) -> None:
    try:
        # Whatever the server's own encoding is; and every locale would do.
        like_ours = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        _run(server, f"CREATE DATABASE {postgres.quoted(name)} {like_ours}")
    except Exception as error:
        if "permission denied to create database" in str(error):
            user = server.settings_dict["USER"]
            sentence = _("The database user may not make the database to restore into: ALTER ROLE {user} CREATEDB;")
            raise BackupError("may_not_create", sentence.format(user=user)) from None
        raise


def _drop_left(server: BaseDatabaseWrapper) -> None:
    """What a verification that was killed left behind."""
    ours = "SELECT datname FROM pg_database WHERE datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user)"
    for (name,) in _run(server, ours):
        if (found := _OURS.fullmatch(name)) and time.time() - int(found[1]) > _DAY:
            _drop(server, name)


def _drop(server: BaseDatabaseWrapper, name: str) -> None:
    _run(server, f"DROP DATABASE IF EXISTS {postgres.quoted(name)} WITH (FORCE)")


def _feed(server: BaseDatabaseWrapper, name: str, pieces: Iterator[bytes], deadline: float, stop: Stop) -> None:
    [[number]] = _run(server, "SELECT current_setting('server_version_num')::int")
    program, version = find("psql", number // 10000, at_least=False)
    key = secrets.token_hex(32) if knows_restrict(version) else ""
    dsn, secret = postgres.address(server, dbname=name)
    command = [str(program), "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", f"--dbname={dsn}"]
    with Program(command, environment(**secret), deadline=deadline, stop=stop, feeds=True) as running:
        for piece in restricted(pieces, key) if key else pieces:
            running.feed(piece)
        running.finish()


def knows_restrict(version: str) -> bool:
    """Whether this psql can be kept from running a file's commands; then pg_dump of that time writes such lines."""
    major, _dot, minor = version.partition(".")
    since = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}
    return major.isdigit() and (int(major) > max(since) or int(minor or 0) >= since.get(int(major), 1000))


def restricted(pieces: Iterator[bytes], key: str) -> Iterator[bytes]:
    """The same for psql, which then refuses every command of its own: a forged file must not reach a shell.

    pg_dump's file brings such a pair of lines, with a key that a forger would know; ours takes their place.
    """
    yield f"\\restrict {key}\n".encode()
    theirs = None
    together: list[bytes] = []
    size = 0
    for line in _lines(pieces):
        if theirs is None and (found := _RESTRICT.fullmatch(line)):
            theirs = found[1]
            continue
        if theirs is not None and line.rstrip() == b"\\unrestrict " + theirs:
            continue
        together.append(line)
        size += len(line)
        if size > _TOGETHER:  # a line each would be a call of the system each
            yield b"".join(together)
            together, size = [], 0
    yield b"".join(together)


def _counted(name: str) -> Census:
    """Of this database on the same server."""
    restored = connection.copy()
    restored.settings_dict = {**restored.settings_dict, "NAME": name}
    try:
        _run(restored, "SET statement_timeout = 0")
        return postgres.census(lambda statement: _run(restored, statement), set())
    finally:
        restored.close()


def _run(wrapper: BaseDatabaseWrapper, statement: str) -> list[Any]:
    with wrapper.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


# --- SQLite ----------------------------------------------------------------------------------------------------------
def in_sqlite(pieces: Iterator[bytes], deadline: float, stop: Stop) -> Census:
    """Restore it into a file of its own in the directory of the backups, count what is there, and remove it."""
    directory = files.target().parent
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_left(directory)
        path = directory / f".notifier-verify-{int(time.time())}-{secrets.token_hex(4)}.sqlite3"
        path.touch(mode=0o600)
    except OSError as error:
        raise of_a_file(error, directory / "scratch") from None
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.set_authorizer(_in_here)
        database.set_progress_handler(lambda: time.monotonic() > deadline or stop(), _STEPS)
        database.execute("PRAGMA synchronous=OFF")
        for statement in _statements(pieces):
            database.execute(statement)
        return sqlite.census(database, set())
    except sqlite3.Error as error:
        if time.monotonic() > deadline:
            raise BackupError("timeout", timed_out()) from None
        raise (stopped() if stop() else of_the_database(str(error))) from None
    finally:
        database.close()
        files.remove(path)


def _in_here(action: int, *_: object) -> int:
    """A statement of the file reaches no other one."""
    return sqlite3.SQLITE_DENY if action in {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH} else sqlite3.SQLITE_OK


def _remove_left(directory: Path) -> None:
    for left in directory.iterdir():
        if (found := _OURS_FILE.fullmatch(left.name)) and time.time() - int(found[1]) > _DAY:
            with contextlib.suppress(OSError):
                left.unlink()


def _statements(pieces: Iterator[bytes]) -> Iterator[str]:
    """One by one, however large the file. One ends with a line that ends with ";", outside of a text."""
    lines: list[bytes] = []
    in_text = False
    for line in _lines(pieces):
        lines.append(line)
        in_text ^= line.count(b"'") % 2 == 1
        if not in_text and line.endswith(b";\n"):
            statement = b"".join(lines).decode("utf-8", "replace")
            if sqlite3.complete_statement(statement):
                yield statement
                lines = []
    if in_text or not all(line.isspace() or line.startswith(b"--") for line in lines):
        raise BackupError("damaged", _("The file ends in the middle of a statement. Take another copy of it."))


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """With their ends."""
    rest: list[bytes] = []
    for piece in pieces:
        first, *others = piece.split(b"\n")
        rest.append(first)
        for other in others:
            yield b"".join(rest) + b"\n"
            rest = [other]
    if any(rest):
        yield b"".join(rest)
