"""Real processes of this project on a database of their own."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.base import free_port
from tests.servers.processes import ProjectProcess, manage

Serve = Callable[..., "Web"]


class Web:
    """A web process and where it is found."""

    def __init__(self, process: ProjectProcess, port: int) -> None:
        self.process = process
        self.port = port
        self.page = f"http://127.0.0.1:{port}/"

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"{self.page}{path}"


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with every migration, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "empty.sqlite3"
    manage("migrate", "--verbosity", "0", environment={"DATABASE_URL": f"sqlite:///{path}"})
    return path


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> str:
    """The URL of an SQLite database of this test's own."""
    return f"sqlite:///{shutil.copy(migrated, tmp_path / 'db.sqlite3')}"


def started(database: str, directory: Path, name: str = "web", **environment: str) -> Web:
    """`manage.py serve`, up and answering."""
    port = free_port()
    arguments = ("manage.py", "serve", "--port", str(port))
    process = ProjectProcess(name, arguments, {"DATABASE_URL": database, **environment}, directory)
    process.start().wait_for_line(rf"http://127\.0\.0\.1:{port}/")
    return Web(process, port)


@pytest.fixture(scope="module")
def web(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A server that a module's tests share: leave it running."""
    directory = tmp_path_factory.mktemp("shared")
    running = started(f"sqlite:///{shutil.copy(migrated, directory / 'db.sqlite3')}", directory)
    yield running
    running.process.kill()


@pytest.fixture
def serve(database: str, tmp_path: Path) -> Iterator[Serve]:
    """Starts servers of the test's own, which it may end; killed after the test."""
    running: list[Web] = []

    def start(**environment: str) -> Web:
        running.append(started(database, tmp_path, f"web{len(running)}", **environment))
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
