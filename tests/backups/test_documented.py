"""The commands of docs/backups.md do what it says."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pyrage
import pytest

from backup.models import Backup
from tests.backups.conftest import ON_POSTGRES, only_postgres, with_database
from tests.servers.postgres import programs
from tests.servers.processes import ROOT

pytestmark = with_database


def documented(page: str, name: str) -> str:
    """The commands that the page marks with this name, in their order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(rf"<!-- tried: {name} -->\n *```sh\n(.*?)```", text, re.DOTALL)
    assert blocks, f"{page} has no commands for {name}"
    return "\n".join(textwrap.dedent(block) for block in blocks)


def test_both_pages_have_the_same_commands() -> None:
    for name in ("postgresql", "sqlite", "python", "age"):
        assert documented("backups.md", name) == documented("backups.ru.md", name)


def followed(commands: str, directory: Path, **environment: str) -> None:
    """Do as the page says, there."""
    path = os.pathsep.join([str(Path(sys.executable).parent), str(programs() or ""), os.environ["PATH"]])
    done = subprocess.run(
        ["/bin/sh", "-ec", commands], cwd=directory, env={**os.environ, **environment, "PATH": path},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@only_postgres
def test_the_page_restores_postgresql(made: Backup, latest: Path) -> None:
    server = urlsplit(os.environ["DATABASE_URL"])
    environment = {"PGHOST": str(server.hostname), "PGPORT": str(server.port), "PGUSER": str(server.username)}
    try:
        followed(documented("backups.md", "postgresql"), latest.parent.parent, **environment)
        with psycopg2.connect(f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/notifier_restored") as restored:
            cursor = restored.cursor()
            cursor.execute("SELECT count(*) FROM django_migrations")
            assert cursor.fetchone() == (made.tables["django_migrations"],)
        restored.close()
    finally:
        followed("dropdb --if-exists notifier_restored 2>&1", latest.parent, **environment)


@pytest.mark.skipif(ON_POSTGRES, reason="a page of SQLite")
@pytest.mark.parametrize("name", ["sqlite", "python"])
def test_the_page_restores_sqlite(made: Backup, latest: Path, name: str) -> None:
    if name == "sqlite" and not shutil.which("sqlite3"):
        pytest.skip("the program sqlite3 is not there")
    directory = latest.parent.parent
    (directory / "db.sqlite3").write_bytes(b"broken")
    followed(documented("backups.md", name), directory)
    path = directory / ("db.sqlite3" if name == "sqlite" else "restored.sqlite3")
    with sqlite3.connect(path) as restored:
        [(count,)] = restored.execute("SELECT count(*) FROM django_migrations").fetchall()
    restored.close()
    assert count == made.tables["django_migrations"]


def test_the_page_decrypts(tmp_path: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "backup.key").write_text(f"# created: now\n# public key: {identity.to_public()}\n{identity}\n")
    (tmp_path / "latest_backup.sql.gz.age").write_bytes(pyrage.encrypt(b"packed", [identity.to_public()]))
    followed(documented("backups.md", "age"), tmp_path)
    assert (tmp_path / "latest_backup.sql.gz").read_bytes() == b"packed"
