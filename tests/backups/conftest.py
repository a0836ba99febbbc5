"""What the tests of backups share."""

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.utils import translation
from pytest_django.fixtures import Settings

from backup import making
from backup.facts import Facts
from backup.models import Backup, Trigger
from tests.commands.conftest import database

__all__ = ["database"]

ON_POSTGRES = connection.vendor == "postgresql"
# Another connection sees nothing of a test's transaction; SQLite in memory would even wait for its end.
with_database = pytest.mark.django_db(transaction=not ON_POSTGRES)
only_postgres = pytest.mark.skipif(not ON_POSTGRES, reason="asks PostgreSQL's programs")


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Whatever a test before left."""
    with translation.override("en"):
        yield


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Path:
    """The directory of the backups, not made yet."""
    settings.LOCAL_BACKUP_DIR = tmp_path / "backups"
    return tmp_path / "backups"


@pytest.fixture
def latest(place: Path) -> Path:
    """Where the latest backup lies."""
    return place / "latest_backup.sql.gz"


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """The address of the database, for programs: this test's own where it is SQLite."""
    if not ON_POSTGRES:
        return str(request.getfixturevalue("database"))
    return f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{connection.settings_dict['NAME']}"


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script in the place of every `pg_dump`."""
    programs = tmp_path / "programs"
    programs.mkdir()

    def place_it(script: str) -> None:
        path = programs / "pg_dump"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        monkeypatch.setattr("backup.programs._PLACES", ())

    return place_it


@pytest.fixture
def made(latest: Path) -> Backup:
    """A backup."""
    row = making.make(Trigger.COMMAND)
    assert row is not None
    return row


def sql_of(path: Path) -> bytes:
    """What is packed in it."""
    return gzip.decompress(path.read_bytes())


def facts_of(path: Path) -> Facts:
    """What it says about itself."""
    facts = Facts.read(sql_of(path).partition(b"\n")[0])
    assert facts is not None
    return facts


def last() -> Backup:
    """The row of the last try."""
    row = Backup.objects.order_by("-pk").first()
    assert row is not None
    return row
