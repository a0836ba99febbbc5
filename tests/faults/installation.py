"""A whole installation to be broken: Redis, PostgreSQL, web, two workers, two beats, and providers that answer."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from sandbox.inbox import Entry
from sandbox.servers import Sandbox
from tests.faults.slow_line import SlowLine
from tests.servers.base import ServerError, free_port
from tests.servers.migrated import migrate
from tests.servers.postgres import PostgresServer
from tests.servers.processes import ProjectProcess, beat, manage, web, worker
from tests.servers.redis import RedisServer

DATABASE = "faults"
QUICK = {"RETRY_DELAYS": "1,2", "STEP_RETRY_SECONDS": "1", "CIRCUIT_SECONDS": "2", "SMTP_TIMEOUT": "3"}
LOOK_SECONDS = 0.5


class Arrivals:
    """Every message that a provider ever took; the inbox alone forgets the oldest."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._inbox = sandbox.inbox
        self._kept: list[Entry] = []
        self._turn = threading.Lock()

    def all(self) -> list[Entry]:
        """All so far. To be asked more often than an inbox takes to fill."""
        with self._turn:
            self._kept += self._inbox.messages(after=self._kept[-1].seq if self._kept else 0)
            return list(self._kept)


class Installation:
    """Everything runs from `with` to its end; whatever a fault took away must be given back by it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.redis = RedisServer()
        self.postgres = PostgresServer()
        self.sandbox = Sandbox()
        self.mail_line = SlowLine(lambda: self.sandbox.smtp_port)
        self.arrivals = Arrivals(self.sandbox)
        self.deaths: list[str] = []
        self._running = ExitStack()

    @staticmethod
    def missing() -> str:
        """Why there can be none here; "" where there can."""
        return RedisServer.missing() or PostgresServer.missing()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for server in (self.redis, self.postgres, self.sandbox, self.mail_line):
                starting.enter_context(server)
            self.environment = {
                **self.sandbox.environment(),
                **QUICK,
                "SMTP_PORT": str(self.mail_line.port),
                "DATABASE_URL": self.postgres.create_database(DATABASE),
                "REDIS_URL": self.redis.url,
                "DJANGO_SECRET_KEY": "only-for-the-tests-" + "x" * 32,
                "LOG_LEVEL": "WARNING",
                "PORT": str(free_port()),  # the same for every web process: clients come back to where it was
            }
            migrate(self.environment)
            self.web = web(self.environment, self.directory)
            self.workers = [
                worker(self.environment, self.directory, name="worker-of-threads"),
                worker(self.environment, self.directory, "-P", "prefork", "-c", "2", name="worker-of-processes"),
            ]
            self.beats = [beat(self.environment, self.directory, name=f"beat-{nth}") for nth in (1, 2)]
            for process in self.processes:
                starting.enter_context(process)
            self.web.wait_for_line("listens on", 60)
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def processes(self) -> list[ProjectProcess]:
        """Those of the project."""
        return [self.web, *self.workers, *self.beats]

    @property
    def port(self) -> int:
        """Where the web process listens."""
        return int(self.environment["PORT"])

    def replace_dead(self) -> None:
        """What a supervisor does. A death that no fault brought about is kept in `deaths`."""
        for process in self.processes:
            code = process.process.poll()
            if code is not None:
                self.deaths.append(f"{process.name} ended by itself with exit code {code}")
                process.start()

    def ask(self, sql: str) -> list[list[str]]:
        """The rows of an answer."""
        return [line.split("|") for line in self.postgres.query(sql, database=DATABASE).splitlines()]

    def still_open(self) -> int:
        """How many notifications are neither finished nor failed."""
        counted = "SELECT count(*) FROM notifier_notification WHERE status IN ('queued', 'sending', 'waiting')"
        return int(self.ask(counted)[0][0])

    def tell_redis(self, *words: str) -> None:
        """One command; nobody minds where Redis is away."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.redis.port), 1) as line:
            line.sendall((" ".join(words) + "\r\n").encode())
            line.recv(64)

    @contextlib.contextmanager
    def supervised(self, also: Callable[[], object]) -> Iterator[None]:
        """Call `also` again and again meanwhile, in a thread of its own."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(LOOK_SECONDS):
                also()

        thread = threading.Thread(target=look, name="supervisor")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def audit(self) -> str:
        """What `manage.py audit_ledger` objects to; "" where it finds nothing."""
        try:
            manage("audit_ledger", environment=self.environment)
        except ServerError as error:
            return str(error)
        return ""
