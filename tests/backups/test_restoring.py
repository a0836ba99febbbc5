"""What is in the file is what was in the database: by plain programs, under load, and by `verify_backup`."""

import gzip
import io
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import psycopg2
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django.fixtures import Settings

from backup import scratch, sqlite, verifying
from backup.errors import BackupError
from backup.facts import END, MARK, Facts
from backup.models import Backup, Proof
from tests.backups.conftest import ON_POSTGRES, facts_of, last, only_postgres, sql_of, with_database
from tests.servers.base import wait_until
from tests.servers.postgres import programs
from tests.servers.processes import manage

pytestmark = with_database


# --- By plain programs -----------------------------------------------------------------------------------------------
class Restored:
    """A database that the documentation's commands made of the file."""

    def __init__(self, url: str, path: Path, directory: Path) -> None:
        self.url, self.path, self.directory = url, path, directory

    def __enter__(self) -> Self:
        if not ON_POSTGRES:
            target = self.directory / "new.db"
            self._run(f'gunzip -c "{self.path}" | sqlite3 -bail "{target}"')
            self._connection: Any = sqlite3.connect(target)
            return self
        self.name = "restored_by_hand"
        server = self.url.rpartition("/")[0]
        self._run(f'"{programs()}/createdb" --maintenance-db={server}/postgres {self.name}')
        self._run(f'gunzip -c "{self.path}" | "{programs()}/psql" -X -q -v ON_ERROR_STOP=1 {server}/{self.name}')
        self._connection = psycopg2.connect(f"{server}/{self.name}")
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        if ON_POSTGRES:
            self._run(f'"{programs()}/dropdb" --maintenance-db={self.url.rpartition("/")[0]}/postgres {self.name}')

    def ask(self, statement: str) -> list[Any]:
        """Rows."""
        cursor = self._connection.cursor()
        cursor.execute(statement)
        return list(cursor.fetchall())

    def _run(self, line: str) -> None:
        done = subprocess.run(["/bin/sh", "-ec", line], capture_output=True, text=True, timeout=100, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line


def writing(url: str, end: threading.Event, done: list[str]) -> None:
    """Two rows a transaction, in two tables: whoever sees one sees both."""
    opened: Any = psycopg2.connect(url) if ON_POSTGRES else sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60)
    number = 0
    while not end.is_set():
        number += 1
        word = f"{threading.get_ident()}-{number}"
        cursor = opened.cursor()
        cursor.execute(f"INSERT INTO auth_group (name) VALUES ('{word}')")  # noqa: S608
        cursor.execute(
            "INSERT INTO django_session (session_key, session_data, expire_date) "  # noqa: S608
            f"VALUES ('{word}', '{'data' * 500}', '2027-01-01 00:00:00+00:00')"
        )
        opened.commit()
        done.append(word)
        end.wait(0.005)  # a load, and not as much as the disk holds
    opened.close()


def command(url: str, latest: Path, name: str) -> None:
    """Run it on that database."""
    if ON_POSTGRES:
        call_command(name, stdout=io.StringIO())
    else:  # the tests' own is in memory
        manage(name, environment={"DATABASE_URL": url, "LOCAL_BACKUP_DIR": str(latest.parent)})


@pytest.mark.skipif(not ON_POSTGRES and not shutil.which("sqlite3"), reason="the program sqlite3 is not there")
@pytest.mark.django_db(transaction=True)  # rows that other connections write
def test_under_load_it_shows_one_moment_and_restores_by_hand(url: str, latest: Path, tmp_path: Path) -> None:
    end = threading.Event()
    done: list[str] = []
    writers = [threading.Thread(target=writing, args=[url, end, done]) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        wait_until(lambda: len(done) > 10, 30, "rows are written")
        command(url, latest, "backup_database")
    finally:
        end.set()
        for writer in writers:
            writer.join()
    facts = facts_of(latest)
    assert facts.tables["auth_group"] == facts.tables["django_session"] > 10
    with Restored(url, latest, tmp_path) as copy:
        for name, count in facts.tables.items():
            assert copy.ask(f'SELECT count(*) FROM "{name}"') == [(count,)], name  # noqa: S608
        pairs = copy.ask("SELECT name, session_data FROM auth_group JOIN django_session ON name = session_key")
        assert len(pairs) == facts.tables["auth_group"]
        assert {data for _, data in pairs} == {"data" * 500}
        assert sorted(f"{app}.{name}" for app, name in copy.ask("SELECT app, name FROM django_migrations")) == sorted(
            facts.migrations
        )
    command(url, latest, "verify_backup")


HOSTILE = [
    "it's",
    "line\nline;\n.tables\n",
    "win\r\ndows\r",
    "nul\0nul",
    "Привет 👋 ⟨x⟩",
    "--comment\n/*",
    "X'00'",
    "",
    "💥" * 40_000,
    "INSERT;\n" * 20_000,
]
NUMBERS = [0, -1, 2**63 - 1, -(2**63), 0.1, 1e300, 5e-324, float("inf"), float("-inf"), 3.0]
# Of these SQLite reads some one unit too high or too low where they are written in decimals.
NUMBERS += [0.0991345669974266, 170886.26665813, -2.2606631148481385e-299, 1.7976931348623157e308, 1e22]
VALUES = [*HOSTILE, *NUMBERS, b"\0\xff'", b"", None]


def hostile_database() -> sqlite3.Connection:
    """With whatever SQLite can hold."""
    made = sqlite3.connect(":memory:")
    made.executescript(
        """CREATE TABLE "odd ""na" (id INTEGER PRIMARY KEY AUTOINCREMENT, "a b", kind AS (typeof("a b")));
        CREATE TABLE empty (x TEXT NOT NULL DEFAULT 'it''s; ');
        CREATE TABLE keyed (a TEXT, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID;
        CREATE INDEX "by ""it" ON "odd ""na" ("a b");
        CREATE VIEW seen AS SELECT * FROM keyed;
        CREATE TRIGGER fired AFTER INSERT ON keyed BEGIN INSERT INTO empty VALUES ('no'); SELECT 1; END;
        CREATE TRIGGER looked INSTEAD OF INSERT ON seen BEGIN SELECT 1; END;"""
    )
    made.executemany('INSERT INTO "odd ""na" ("a b") VALUES (?)', [(value,) for value in VALUES])
    made.execute('INSERT INTO "odd ""na" ("a b") VALUES (CAST(X\'FFFE41\' AS TEXT))')  # no UTF-8
    made.execute('DELETE FROM "odd ""na" WHERE id = 11')
    made.execute("INSERT INTO keyed VALUES ('a', 1)")
    made.execute("DELETE FROM empty")
    made.commit()
    made.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return made


def contents(database: sqlite3.Connection) -> dict[str, Any]:
    """All of it."""
    database.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    rows = {
        name: database.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
        for name in ('"odd ""na"', "empty", "keyed", "sqlite_sequence")
    }
    return {**rows, "schema": sorted(database.execute("SELECT type, name, sql FROM sqlite_master").fetchall(), key=str)}


def by_script(text: str, _directory: Path) -> sqlite3.Connection:
    made = sqlite3.connect(":memory:")
    made.executescript(text)
    return made


def by_program(text: str, directory: Path) -> sqlite3.Connection:
    program = shutil.which("sqlite3")
    if program is None:
        pytest.skip("the program sqlite3 is not there")
    subprocess.run([program, "-bail", directory / "new.db"], input=text.encode(), check=True, timeout=100)
    return sqlite3.connect(directory / "new.db")


def by_us(text: str, _directory: Path) -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    octets = text.encode()
    for statement in scratch._statements(octets[at : at + 1000] for at in range(0, len(octets), 1000)):
        made.execute(statement)
    return made


@pytest.mark.parametrize("read", [by_script, by_program, by_us])
def test_sqlite_is_written_out_exactly(
    read: Callable[[str, Path], sqlite3.Connection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BATCH_BYTES", 100)
    made = hostile_database()
    with read("".join(sqlite.written(made, set())), tmp_path) as copy:
        assert contents(copy) == contents(made)
    made.close()
    copy.close()


# --- By verify_backup ------------------------------------------------------------------------------------------------
def verify(*arguments: str) -> str:
    """What the command prints."""
    out = io.StringIO()
    call_command("verify_backup", *arguments, stdout=out)
    return out.getvalue()


def nothing_is_left(latest: Path, *but: str) -> bool:
    """Whether verifications have removed what they made; those that others run on this server now, soon."""
    wait_until(lambda: scratch_left(latest) == list(but), 60, "nothing is left")
    return True


def scratch_left(latest: Path) -> list[str]:
    """What a verification has made and not removed."""
    left = [path.name for path in latest.parent.glob(".notifier-verify-*")]
    if ON_POSTGRES:
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'notifier_verify%'")
            left += [name for (name,) in cursor.fetchall()]
    return left


def test_a_good_one_is_proven(made: Backup, latest: Path, tmp_path: Path) -> None:
    told = verify()
    assert f"{made.rows} rows in {len(made.tables)} tables" in told
    assert made.sha256 in told
    assert (last().proof, last().proof_detail) == (Proof.OK, "")
    assert last().verified_at is not None
    assert nothing_is_left(latest)
    Backup.objects.all().delete()
    elsewhere = shutil.copy(latest, tmp_path / "copy.sql.gz")
    assert "not on record" in verify(str(elsewhere))


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def repacked(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda content: gzip.compress(change(gzip.decompress(content)))


def without_a_row(sql: bytes) -> bytes:
    lines = sql.split(b"\n")
    row = next(at for at, line in enumerate(lines) if b"notifier" in line and b"0001_initial" in line and at)
    return b"\n".join(lines[:row] + lines[row + 1 :])


def with_other_numbers(sql: bytes) -> bytes:
    return sql.replace(b'"notifier_organization":1', b'"notifier_organization":2', 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (flipped, "damaged"),
        (lambda content: content[:-20], "damaged"),
        (lambda content: content[: len(content) // 2], "damaged"),
        (lambda _content: b"", "damaged"),
        (lambda _content: b"no gzip at all", "damaged"),
        (repacked(without_a_row), "django_migrations"),
        (repacked(with_other_numbers), "notifier_organization: 1 instead of 2"),
        (repacked(lambda sql: sql.partition(b"\n")[2]), "was not made by backup_database"),
        (repacked(lambda sql: MARK.encode() + b'{"tables": []}\n' + sql), "was not made by backup_database"),
        (repacked(lambda sql: sql.replace(END, b"\nSELECT no_such_thing();\n" + END)), "no_such_thing"),
        (repacked(lambda sql: sql[: len(sql) * 9 // 10]), "too early|middle of a statement"),
    ],
    ids=["bit flip", "cut off", "half", "empty", "no gzip", "row missing", "other numbers", "no facts", "odd facts",
         "bad statement", "broken off"],
)  # fmt: skip
def test_a_bad_one_is_found(made: Backup, latest: Path, change: Callable[[bytes], bytes], words: str) -> None:
    latest.write_bytes(change(latest.read_bytes()))
    with pytest.raises(CommandError, match=words):
        verify()
    assert nothing_is_left(latest)


def test_what_differs_from_the_record_fails_and_stays_on_record(made: Backup) -> None:
    Backup.objects.filter(pk=made.pk).update(tables={**made.tables, "notifier_recipient": 5})
    with pytest.raises(CommandError, match="record"):
        verify()
    assert last().proof == Proof.FAILED
    assert "record" in last().proof_detail


def with_a_row_less_in_both_places(sql: bytes) -> bytes:
    head, *lines = sql.split(b"\n")
    count = int(head.partition(b'"auth_permission":')[2].partition(b",")[0])
    head = head.replace(b'"auth_permission":%d' % count, b'"auth_permission":%d' % (count - 1))
    row = next(at for at, line in enumerate(lines) if b"delete_attempt" in line)
    return b"\n".join([head, *lines[:row], *lines[row + 1 :]])


def test_one_that_was_changed_in_both_places_is_measured_by_the_record(made: Backup, latest: Path) -> None:
    latest.write_bytes(repacked(with_a_row_less_in_both_places)(latest.read_bytes()))
    with pytest.raises(CommandError, match="this service's record"):
        verify()
    Backup.objects.all().delete()
    assert "not on record" in verify()


def test_one_that_was_packed_anew_is_as_good(made: Backup, latest: Path) -> None:
    latest.write_bytes(gzip.compress(gzip.decompress(latest.read_bytes()), 1))
    assert "not on record" in verify()


def test_one_that_is_not_there_or_is_encrypted(latest: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        verify()
    with pytest.raises(CommandError, match="private key"):
        verify(str(tmp_path / "latest_backup.sql.gz.age"))


@only_postgres
def test_what_a_killed_verification_left_is_dropped_a_day_later(made: Backup, latest: Path) -> None:
    old, young = (f"notifier_verify_{int(time.time()) - age}_0123abcd" for age in (90_000, 3600))
    server = psycopg2.connect(os.environ["DATABASE_URL"])
    server.autocommit = True
    try:
        for name in (old, young):
            server.cursor().execute(f'CREATE DATABASE "{name}"')
        verify()
        assert nothing_is_left(latest, young)
    finally:
        server.cursor().execute(f'DROP DATABASE IF EXISTS "{young}"')
        server.close()


@only_postgres
def test_a_user_who_may_not_make_databases_is_told_how(made: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    run = scratch._run

    def without_rights(wrapper: Any, statement: str) -> list[Any]:
        if statement.startswith("CREATE"):
            run(wrapper, "SET ROLE pg_monitor")
        return run(wrapper, statement)

    monkeypatch.setattr(scratch, "_run", without_rights)
    with pytest.raises(CommandError, match=r"ALTER ROLE \w+ CREATEDB"):
        verify()


@only_postgres
def test_a_forged_file_reaches_no_shell(made: Backup, latest: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    forged = tmp_path / "forged.sql.gz"
    head, _, rest = sql_of(latest).partition(b"\n")
    command = f"\n\\! touch {trap}\n".encode()
    for forged_sql in (head + command + rest, head + b"\n" + rest.replace(END, command + END)):
        forged.write_bytes(gzip.compress(forged_sql))
        with pytest.raises(CommandError, match="restricted"):
            verify(str(forged))
    assert not trap.exists()


def test_a_file_of_sqlite_reaches_no_other_file(latest: Path, tmp_path: Path, settings: Settings) -> None:
    facts = Facts("sqlite", "3", "sqlite 3", "now", {}, [])
    trap = tmp_path / "trap"
    latest.parent.mkdir()
    latest.write_bytes(gzip.compress(f"{facts.line()}ATTACH '{trap}' AS trap;\n".encode()))
    with pytest.raises(CommandError, match="not authorized"):
        verify()
    assert not trap.exists()


@pytest.mark.skipif(ON_POSTGRES, reason="there is a PostgreSQL")
def test_a_file_of_postgresql_needs_such_a_server(latest: Path) -> None:
    latest.parent.mkdir()
    latest.write_bytes(gzip.compress(Facts("postgresql", "17", "pg_dump 17", "now", {}, []).line().encode()))
    with pytest.raises(BackupError, match="PostgreSQL"):
        verifying.verify()


def test_lines_are_found_whatever_the_pieces() -> None:
    def pieces(size: int) -> Iterator[bytes]:
        text = b"one\n\ntwo;\n\nthree"
        return (text[at : at + size] for at in range(0, len(text), size))

    for size in range(1, 20):
        assert list(scratch._lines(pieces(size))) == [b"one\n", b"\n", b"two;\n", b"\n", b"three"]


@pytest.mark.parametrize(
    ("version", "known"),
    [("15.14", True), ("15.13", False), ("17.6", True), ("17.5", False), ("18.0", True), ("12.22", False), ("", False)],
)
def test_which_psql_can_be_restricted(version: str, known: bool) -> None:
    assert scratch.knows_restrict(version) is known
