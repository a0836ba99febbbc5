"""Real processes of this project on a database of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.base import free_port
from tests.servers.migrated import migrated_file
from tests.servers.processes import ProjectProcess

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


@pytest.fixture
def database(tmp_path: Path) -> str:
    """The URL of an SQLite database of this test's own."""
    return migrated_file(tmp_path / "db.sqlite3")


def started(database: str, directory: Path, name: str = "web", **environment: str) -> Web:
    """`manage.py serve`, up and answering."""
    port = free_port()
    arguments = ("manage.py", "serve", "--port", str(port))
    process = ProjectProcess(name, arguments, {"DATABASE_URL": database, **environment}, directory)
    process.start().wait_for_line(rf"http://127\.0\.0\.1:{port}/")
    return Web(process, port)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A server that a module's tests share: leave it running."""
    directory = tmp_path_factory.mktemp("shared")
    running = started(migrated_file(directory / "db.sqlite3"), directory)
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
