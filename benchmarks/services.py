"""Our web process and the reference's, up and answering."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks import load
from benchmarks.servers import Installation, running
from tests.servers.base import free_port, is_listening
from tests.servers.processes import ProjectProcess


@contextmanager
def ours(servers: Installation, database: str, **settings: Any) -> Iterator[int]:
    """`manage.py serve` on this database; its port."""
    servers.forget_broker()
    process = servers.web(servers.environment(database, **settings))
    with listening(process, int(process.environment["PORT"])) as port:
        yield port


@contextmanager
def plain(servers: Installation, database: str, processes: int) -> Iterator[int]:
    """The plain view (`reference/plain.py`) under the same server, with so many processes; its port."""
    port = free_port()
    environment = {
        "DATABASE_URL": servers.postgres.database_url(database),
        "DJANGO_SETTINGS_MODULE": "benchmarks.reference.plain",
    }
    with listening(servers.program(environment, "-m", "benchmarks.reference.serve", str(port), str(processes)), port):
        yield port


@contextmanager
def listening(process: ProjectProcess, port: int) -> Iterator[int]:
    """The process from its first answer to its end."""
    with running(process):
        process.wait_for(lambda: is_listening(port), what="the web server listens")
        yield port


def user(port: int, number: int = 0) -> int:
    """A new recipient's id."""
    body = {"email": f"u{number}@sink.test", "phone": "+12025550123", "name": "A reader"}
    return int(load.ask(port, load.request("POST", "/api/users/", body), 201)["id"])
