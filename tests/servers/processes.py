"""The project's own processes in tests: with an environment of their own, watched by their log, ended by signals."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from tests.servers.base import STOP_SECONDS, ServerError, end, family, free_port, guard, signal_all, tail, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "PATHEXT", "LD_LIBRARY_PATH")
DEVELOPMENT = {"DJANGO_DEBUG": "1", "ENV_FILE": "", "PYTHONUNBUFFERED": "1"}


class ProjectProcess:
    """A Python program of this project; `arguments` follow `python`.

    It sees none of the test run's own settings and no `.env`: only `DEVELOPMENT` and what `environment` says.
    """

    def __init__(self, name: str, arguments: tuple[str, ...], environment: Mapping[str, str], directory: Path) -> None:
        self.name = name
        self.arguments = arguments
        self.environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self.environment |= {**DEVELOPMENT, **environment}
        self.log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        if self._process is None:
            raise ServerError(f"{self.name} was not started")
        return self._process

    @property
    def pid(self) -> int:
        """Its process id, and that of its process group."""
        return self.process.pid

    @property
    def output(self) -> str:
        """Everything it has written so far, over all of its starts."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""

    def start(self) -> Self:
        """Start it, or start it again; it need not be ready when this returns."""
        if self._process is not None and self._process.poll() is None:
            raise ServerError(f"{self.name} runs already")
        self.kill()  # of the one before, what may be left
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.arguments],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        guard(self._process, signal.SIGTERM)
        return self

    def wait_for_line(self, pattern: str, seconds: float = 60, *, after: int = 0) -> re.Match[str]:
        """Wait until its output, from this position on, matches; an early end of the process is an error."""
        found: list[re.Match[str]] = []

        def matches() -> bool:
            found.extend(re.finditer(pattern, self.output[after:]))
            return bool(found)

        self.wait_for(matches, seconds, f"a line like {pattern!r}")
        return found[0]

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60, what: str = "the condition") -> None:
        """Wait until it is true; an early end of the process is an error that shows its log."""
        try:
            wait_until(lambda: self.process.poll() is not None or condition(), seconds, what)
        except ServerError as error:
            raise ServerError(f"{self.name}: {error}. Its log:\n{tail(self.log, 60)}") from None
        if self.process.returncode is not None and not condition():
            code = self.process.returncode
            raise ServerError(f"{self.name} ended with exit code {code}. Its log:\n{tail(self.log, 60)}")

    def send(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the process, or to its whole group (as a terminal does)."""
        if group:
            os.killpg(self.pid, number)
        else:
            self.process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ServerError(
                f"{self.name} does not end within {seconds:.0f} s. Its log:\n{tail(self.log, 60)}"
            ) from None

    def stop(self, number: int = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """End it as an operator does and return its exit code; one that does not end in time is an error."""
        if self.process.poll() is None:
            self.send(number)
        try:
            return self.wait(seconds)
        finally:
            end(self.process, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL, to it and to all that descends from it. Does no harm if it never ran or has ended."""
        if self._process is not None:
            end(self._process, signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it."""
        signal_all(family(self.pid), signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after a pause."""
        signal_all(family(self.pid), signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


def manage(*arguments: str, environment: Mapping[str, str], seconds: float = 90) -> str:
    """Run `manage.py` to its end and return what it printed; a non-zero exit code is an error."""
    base = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**base, **DEVELOPMENT, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ServerError(f"manage.py {arguments[0]} took more than {seconds:.0f} s") from None
    if done.returncode != 0:
        raise ServerError(
            f"manage.py {arguments[0]} ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def worker(environment: Mapping[str, str], directory: Path, *arguments: str, name: str = "worker") -> ProjectProcess:
    """A Celery worker, as `scripts/start_worker.sh` starts it. Give two of them different names."""
    return ProjectProcess(name, ("-m", "celery", "-A", "notifier", "worker", *arguments), environment, directory)


def beat(environment: Mapping[str, str], directory: Path, *arguments: str, name: str = "beat") -> ProjectProcess:
    """Celery's beat, as `scripts/start_beat.sh` starts it."""
    return ProjectProcess(name, ("-m", "celery", "-A", "notifier", "beat", *arguments), environment, directory)


def web(environment: Mapping[str, str], directory: Path, *arguments: str, name: str = "web") -> ProjectProcess:
    """The web server, as `scripts/start_web.sh` starts it; on a free port (in its `environment`)."""
    where = {"HOST": "127.0.0.1", "PORT": str(free_port()), **environment}
    return ProjectProcess(name, ("manage.py", "serve", *arguments), where, directory)
