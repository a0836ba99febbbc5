"""Databases with every migration: the first of each kind is migrated, the others are its copies, made in no time."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers.base import ServerError
from tests.servers.postgres import programs
from tests.servers.processes import manage

_migrated: dict[str, bytes] = {}
"""By the kind of database: a file of SQLite, or PostgreSQL's statements."""


def migrate(environment: Mapping[str, str]) -> None:
    """What `manage.py migrate` does to the empty database in `DATABASE_URL`."""
    url = environment["DATABASE_URL"]
    kind = urlsplit(url).scheme
    if kind not in _migrated:
        manage("migrate", "-v", "0", environment=environment)
        _migrated[kind] = file_of(url).read_bytes() if kind == "sqlite" else _run("pg_dump", url)
    elif kind == "sqlite":
        file_of(url).write_bytes(_migrated[kind])
    else:
        _run("psql", url, "-Xq", "-v", "ON_ERROR_STOP=1", statements=_migrated[kind])


def migrated_file(path: Path) -> str:
    """Make such a file of SQLite there; its URL."""
    url = f"sqlite:///{path}"
    migrate({"DATABASE_URL": url})
    return url


def file_of(url: str) -> Path:
    """Where a database of SQLite lies."""
    return Path(url.removeprefix("sqlite:///"))


def _run(program: str, url: str, *arguments: str, statements: bytes = b"") -> bytes:
    command = [str(programs()) + f"/{program}", "-w", "-d", url, *arguments]
    done = subprocess.run(command, input=statements, capture_output=True, timeout=60, check=False, cwd="/")
    if done.returncode != 0:
        raise ServerError(f"{program} says: {done.stderr.decode(errors='replace')}")
    return done.stdout
