"""A backup is made whole or not at all, and its row says what came of it."""

import errno
import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from backup import errors, files, making, postgres, programs
from backup.errors import BackupError, BusyError
from backup.models import Backup, Status, Trigger
from tests.backups.conftest import ON_POSTGRES, facts_of, last, only_postgres, sql_of, with_database
from tests.servers.base import wait_until
from tests.servers.processes import DEVELOPMENT, ROOT

pytestmark = with_database


def test_it_lies_there_and_its_row_says_what_it_is(latest: Path) -> None:
    out = io.StringIO()
    call_command("backup_database", stdout=out)
    row, content = last(), latest.read_bytes()
    assert (row.status, row.trigger, row.path, row.error) == (Status.OK, Trigger.COMMAND, str(latest), "")
    assert (row.size, row.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert row.sql_size == len(sql_of(latest))
    facts = facts_of(latest)
    assert (facts.database, facts.tables, facts.migrations) == (connection.vendor, row.tables, row.migrations)
    assert facts.tables["notifier_organization"] == 1
    assert "notifier.0001_initial" in facts.migrations
    for told in (str(latest), str(row.size), row.sha256, "duration"):
        assert told in out.getvalue()
    if sys.platform != "win32":
        assert [stat.S_IMODE(path.stat().st_mode) for path in (latest, latest.parent)] == [0o600, 0o700]


def test_the_next_takes_its_place_and_clears_up_after_the_dead(latest: Path) -> None:
    latest.parent.mkdir()
    latest.write_bytes(b"the one before")
    (latest.parent / ".notifier-backup-0123456789abcdef.part").write_bytes(b"of a killed process")
    (latest.parent / "notes.txt").write_text("an operator's")
    dead = Backup.objects.create(started_at=timezone.now(), trigger=Trigger.SCHEDULE)
    told: list[Backup] = []
    row = making.make(Trigger.COMMAND, report=told.append)
    assert told == [dead, row]
    assert sorted(path.name for path in latest.parent.iterdir()) == [
        ".notifier-backup.lock",
        latest.name,
        "notes.txt",
    ]
    assert sql_of(latest).startswith(b"-- notifier-backup: ")
    dead.refresh_from_db()
    assert (dead.status, dead.error_code) == (Status.FAILED, "interrupted")


@pytest.fixture
def before(latest: Path) -> Iterator[bytes]:
    """The backup before, which every failure leaves as it was."""
    latest.parent.mkdir()
    latest.write_bytes(content := b"the one before")
    yield content
    assert latest.read_bytes() == content
    assert [path.name for path in latest.parent.iterdir() if path.name.endswith((".part", ".copy"))] == []


def refused(code: str, *words: str) -> None:
    """The command ends with one sentence, and the row has it."""
    with pytest.raises(CommandError) as failed:
        call_command("backup_database", stdout=io.StringIO())
    assert last().error_code == code
    assert last().error == str(failed.value)
    assert "\n" not in str(failed.value)
    for word in words:
        assert word in str(failed.value)


NEWER = """[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 99.1" && exit
echo "pg_dump: error: aborting because of server version mismatch" >&2
echo "pg_dump: detail: server version: 99.2; pg_dump version: 15.18" >&2
exit 1"""
OLD = '[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 9.6.24"'
HANGS = """[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 99.1" && exit
echo "SELECT 1;"
sleep 100"""
LEAKS = """[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 99.1" && exit
yes "pg_dump: error: password=hunter2 at postgres://u:hunter2@h/" | head -c 300000 >&2
exit 1"""


@only_postgres
@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        (NEWER, "version_mismatch", ["install"]),
        (OLD, "version_mismatch", ["9.6.24", "postgresql-client-"]),
        (HANGS, "timeout", ["DB_BACKUP_TIMEOUT"]),
        (LEAKS, "database_error", []),
        ("exit 1", "version_mismatch", []),  # it does not even tell its version
    ],
    ids=["newer server", "old", "hangs", "leaks", "broken"],
)
def test_a_pg_dump_that_does_not_do_it(
    before: bytes, stub: Callable[[str], None], settings: Settings, script: str, code: str, words: list[str]
) -> None:
    stub(script)
    settings.DB_BACKUP_TIMEOUT = timedelta(seconds=1 if script is HANGS else 60)
    begun = time.monotonic()
    refused(code, *words)
    assert time.monotonic() - begun < 60
    assert "hunter2" not in last().error


@only_postgres
def test_without_pg_dump(before: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_candidates", lambda _name: iter(()))
    refused("tool_missing", "pg_dump", "postgresql-client-")


@only_postgres
def test_a_stop_ends_the_dump(before: bytes, stub: Callable[[str], None]) -> None:
    stub(HANGS)
    with pytest.raises(BackupError, match="stopped"):
        making.make(Trigger.SCHEDULE, stop=lambda: True)
    assert last().error_code == "stopped"


@only_postgres
def test_the_password_stands_on_no_command_line(settings: Settings) -> None:
    copy = connection.copy()
    copy.settings_dict = {**copy.settings_dict, "PASSWORD": "hunter2 '\\"}
    dsn, environment = postgres.address(copy)
    assert "hunter2" not in dsn
    assert environment == {"PGPASSWORD": "hunter2 '\\"}
    assert not {"DJANGO_SECRET_KEY", "ENCRYPTION_KEYS"} & set(programs.environment())


def test_only_one_at_a_time(before: bytes) -> None:
    with files.hold():
        refused("busy")
    if ON_POSTGRES:
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [postgres._ONE_AT_A_TIME])
        try:
            refused("busy")
        finally:
            other.close()


@pytest.mark.skipif(ON_POSTGRES, reason="PostgreSQL counts for itself")
def test_sqlite_has_a_time_limit_too(before: bytes, settings: Settings) -> None:
    settings.DB_BACKUP_TIMEOUT = timedelta(seconds=0)
    refused("timeout", "DB_BACKUP_TIMEOUT")


@only_postgres
def test_a_newer_pg_dump_writes_what_the_server_understands() -> None:
    head = b"SET lock_timeout = 0;\nSET transaction_timeout = 0;\nSET client_encoding = 'UTF8';\n"
    rest = b"COPY x FROM stdin;\nSET transaction_timeout = 0;\n\\.\n"
    for size in (1, 30, 1000):
        pieces = (both[at : at + size] for both in [head + rest] for at in range(0, len(both), size))
        written = b"".join(postgres.for_older(pieces))
        assert written == head.replace(b"SET transaction_timeout = 0;\n", b"") + rest


def test_the_directory_is_a_file(settings: Settings, tmp_path: Path) -> None:
    settings.LOCAL_BACKUP_DIR = tmp_path / "file"
    settings.LOCAL_BACKUP_DIR.write_text("a file")
    refused("no_directory", str(tmp_path / "file"), "LOCAL_BACKUP_DIR")
    settings.LOCAL_BACKUP_DIR = tmp_path / "file" / "below"
    refused("no_directory", "LOCAL_BACKUP_DIR")


def test_no_right_to_write(latest: Path, before: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", deny)  # by rights: root may write everywhere
    refused("not_writable", str(latest.parent), "LOCAL_BACKUP_DIR")


@pytest.mark.skipif(sys.platform == "win32", reason="another call locks there")
def test_a_disk_without_locks_is_not_called_busy(before: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    refused("file_error", "No locks available")


def test_who_ends_the_command_finds_it_on_record(before: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.Packer, "finish", lambda _self: sys.exit(143))
    with pytest.raises(SystemExit):
        making.make(Trigger.COMMAND)
    assert last().error_code == "stopped"


def test_what_nobody_foresaw(before: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.Packer, "finish", lambda _self: 1 / 0)
    refused("internal_error", "ZeroDivisionError")


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    directory = tmp_path / "tiny"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(directory)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        pytest.skip(f"NO FULL DISK WAS TRIED: {error}")
    if done.returncode != 0:
        pytest.skip(f"NO FULL DISK WAS TRIED, since only root may mount one: {done.stderr.strip()}")
    yield directory
    subprocess.run(["umount", str(directory)], timeout=60, check=True)


def test_a_full_disk(tiny: Path, settings: Settings) -> None:
    settings.LOCAL_BACKUP_DIR = tiny
    (tiny / "latest_backup.sql.gz").write_bytes(b"the one before" * 1000)
    (tiny / "ballast").write_bytes(b"b" * 44 * 1024)  # leaves a page or so
    refused("disk_full", str(tiny), "room")
    assert (tiny / "latest_backup.sql.gz").read_bytes() == b"the one before" * 1000
    assert not list(tiny.glob(".notifier-backup-*"))


SLEEPS_BEFORE_THE_END = """
import os, sys, time
import django
django.setup()
from backup import files, making
def finish(packer):
    print("written", flush=True)
    time.sleep(60)
files.Packer.finish = finish
making.make("command")
"""


@pytest.mark.django_db(transaction=True)  # another process writes rows
def test_killed_in_the_middle(url: str, latest: Path, before: bytes) -> None:
    environment = {
        **os.environ, **DEVELOPMENT, "DATABASE_URL": url, "LOCAL_BACKUP_DIR": str(latest.parent),
        "DJANGO_SETTINGS_MODULE": "notifier.settings",
    }  # fmt: skip
    command = [sys.executable, "-c", SLEEPS_BEFORE_THE_END]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        assert list(latest.parent.glob(".notifier-backup-*.part"))
        with pytest.raises(BusyError):
            making.make(Trigger.COMMAND)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert latest.read_bytes() == before
    if ON_POSTGRES:
        wait_until(_nobody_backs_up, 30, "PostgreSQL has noticed the death")
    with files.hold():
        assert not list(latest.parent.glob(".notifier-backup-*.*"))


def _nobody_backs_up() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(  # here: other databases of this server have theirs
            "SELECT count(*) FROM pg_locks JOIN pg_database AS known ON known.oid = pg_locks.database"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        )
        return bool(cursor.fetchone()[0] == 0)


@pytest.mark.parametrize(
    ("text", "code"),
    [  # what psycopg2, pg_dump, psql and SQLite write
        ('connection to server at "db", port 5432 failed: FATAL:  password authentication failed for user "n"',
         "authentication_failed"),
        ('connection to server at "db" failed: fe_sendauth: no password supplied', "authentication_failed"),
        ('connection to server at "db" failed: FATAL:  no pg_hba.conf entry for host', "authentication_failed"),
        ('connection to server at "127.0.0.1", port 1 failed: Connection refused', "unreachable"),
        ('could not translate host name "nowhere" to address: Name or service not known', "unreachable"),
        ("FATAL:  terminating connection due to administrator command", "unreachable"),
        ('pg_dump: error: query failed: ERROR:  invalid snapshot identifier: "4-5-1"', "unreachable"),
        ("pg_dump: error: query failed: ERROR:  permission denied for table secret", "permission_denied"),
        ("canceling statement due to statement timeout", "timeout"),
        ("database is locked", "locked"),
        ("database or disk is full", "disk_full"),
        ('psql: ERROR:  could not extend file "base/1": No space left on device', "disk_full"),
        ("something else", "database_error"),
    ],
)  # fmt: skip
def test_words_of_the_database_become_a_sentence(text: str, code: str) -> None:
    told = errors.of_the_database(text)
    assert told.code == code
    assert "***" not in str(told)  # a sentence of our own that looks like a secret


def test_only_so_many_rows_are_kept_and_for_so_long(latest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backup, "MOST", 2)
    making.make(Trigger.COMMAND)
    for _ in range(3):
        making._record_failure(
            Backup.objects.create(started_at=timezone.now(), trigger=Trigger.COMMAND), BackupError("x", "y")
        )
    making.make(Trigger.COMMAND)
    assert list(Backup.objects.order_by("-pk").values_list("status", flat=True)) == [Status.OK, Status.FAILED, "ok"]
    Backup.objects.update(started_at=timezone.now() - timedelta(days=91))
    with files.hold(), pytest.raises(BusyError):
        making.make(Trigger.COMMAND)
    assert list(Backup.objects.order_by("-pk").values_list("error_code", flat=True)) == ["busy", ""]
