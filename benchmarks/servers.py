"""PostgreSQL and Redis for the benchmarks, as they are out of the box, and the settings of a service that uses them."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2
import redis
from cryptography.fernet import Fernet

from tests.servers.base import ServerError, tail, wait_until
from tests.servers.postgres import PostgresServer, as_user, programs
from tests.servers.processes import ProjectProcess, manage, web, worker
from tests.servers.redis import RedisServer

MIGRATED = "migrated"
"""The template of all our databases: made once, copied for each run."""


class DurablePostgres(PostgresServer):
    """With its default settings: every commit reaches the disk. The tests' own gives that up for speed."""

    def _launch(self) -> subprocess.Popen[bytes]:
        options = ["-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1"]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [f"{programs()}/postgres", "-D", str(self.directory / "data"), "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.directory,
                **as_user(),
            )


@dataclass
class Installation:
    """The servers, a directory for logs, and databases by name."""

    postgres: DurablePostgres
    redis: RedisServer
    directory: Path
    _numbers: "count[int]" = field(default_factory=count)
    _keys: str = field(default_factory=lambda: Fernet.generate_key().decode())

    def database(self, template: str = MIGRATED) -> str:
        """The name of a new database: a copy of this one."""
        name = f"run_{next(self._numbers)}"
        self.postgres.query(f'CREATE DATABASE "{name}" TEMPLATE "{template}"', seconds=600)
        return name

    def drop(self, database: str) -> None:
        """Remove a database, and whoever is still connected to it."""
        self.postgres.query(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)', seconds=120)

    def environment(self, database: str, **settings: Any) -> dict[str, str]:
        """The settings of our service in production, with this database."""
        return {
            "DJANGO_DEBUG": "0",
            "DJANGO_SECRET_KEY": "a-secret-for-benchmarks-only-" + "0" * 40,
            "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
            "ENCRYPTION_KEYS": self._keys,
            "API_OPEN": "1",
            "API_THROTTLE_SEND": "",
            "DATABASE_URL": self.postgres.database_url(database),
            "REDIS_URL": self.redis.url,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_USE_TLS": "0",
            "DEFAULT_FROM_EMAIL": "notifier@sink.test",
            "LOG_LEVEL": "WARNING",
            "ENV_FILE": "",
            **{name: str(value) for name, value in settings.items()},
        }

    def forget_broker(self) -> None:
        """Empty Redis: no run hears the bell of the one before."""
        with redis.Redis.from_url(self.redis.url) as client:
            client.flushall()

    def wait_for_listeners(self, number: int) -> None:
        """Wait until so many workers listen for the bell; before that they only look by themselves now and then."""
        with redis.Redis.from_url(self.redis.url) as client:
            wait_until(lambda: client.info("clients")["blocked_clients"] >= number, 60, "the workers listen")

    def workers(self, environment: Mapping[str, str], number: int, *arguments: str) -> list[ProjectProcess]:
        """So many workers, as users start them; not started yet."""
        name = next(self._numbers)
        return [
            worker(environment, self.directory, *arguments, name=f"worker-{name}-{index}") for index in range(number)
        ]

    def web(self, environment: Mapping[str, str]) -> ProjectProcess:
        """The web server; not started yet."""
        return web(environment, self.directory, name=f"web-{next(self._numbers)}")

    def program(self, environment: Mapping[str, str], *arguments: str) -> ProjectProcess:
        """Any other Python program; not started yet."""
        return ProjectProcess(f"program-{next(self._numbers)}", arguments, environment, self.directory)

    @contextmanager
    def connection(self, database: str) -> Iterator[Any]:
        """A cursor whose statements are committed one by one."""
        connection = psycopg2.connect(self.postgres.database_url(database))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()


@contextmanager
def installation() -> Iterator[Installation]:
    """All servers started, our tables made; everything is gone at the end."""
    for kind in (PostgresServer, RedisServer):
        if reason := kind.missing():
            raise ServerError(reason)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        made = Installation(stack.enter_context(DurablePostgres()), stack.enter_context(RedisServer()), directory)
        made.postgres.create_database(MIGRATED)
        manage("migrate", environment=made.environment(MIGRATED), seconds=120)
        yield made


@contextmanager
def running(*processes: ProjectProcess) -> Iterator[None]:
    """All of them started, and ended as an operator does: by SIGTERM. A failure meanwhile shows what they logged."""
    try:
        for process in processes:
            process.start()
        yield
        for process in processes:
            process.stop()
    except ServerError as error:
        logs = "\n".join(f"{process.name} says:\n{tail(process.log)}" for process in processes)
        raise ServerError(f"{error}\n{logs}") from None
    finally:
        for process in processes:
            process.kill()


def watching(tell: Callable[[float], None], *processes: ProjectProcess) -> Callable[[float], None]:
    """`tell`, which is also a look at the processes: ServerError as soon as one of them has failed."""

    def look(done: float) -> None:
        for process in processes:
            if process.process.poll():
                raise ServerError(f"{process.name} ended with exit code {process.process.returncode}")
        tell(done)

    return look
