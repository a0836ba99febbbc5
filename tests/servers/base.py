"""What the tests' real servers have in common: a free port, a directory of their own, an end that leaves nothing."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Self

START_SECONDS = 60.0
STOP_SECONDS = 60.0
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/opt/homebrew/sbin"])
PORTS = range(20000, 32000)  # below the range from which systems take the ports of outgoing connections


class ServerError(Exception):
    """A server did not do what it was told; the text says which, and what its log says."""


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask again and again, without a fixed sleep, until it is true; after so many seconds fail, naming `what`."""
    deadline, pause = time.monotonic() + seconds, 0.005
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"after {seconds:.0f} s still not: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def free_port() -> int:
    """A port of the local machine on which nobody listens. Another process may take it first: be ready to ask again."""
    for _ in range(100):
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerError("no free port found")


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def tail(path: Path, lines: int = 20) -> str:
    """The end of a log, for an error's text."""
    if not path.is_file():
        return "(no log)"
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


# --- Processes -------------------------------------------------------------------------------------------------------
def is_alive(pid: int) -> bool:
    """Whether this process runs. One that has ended and only waits to be noticed by its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    try:
        return (
            not stat.exists() or stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] != "Z"
        )
    except (OSError, IndexError):
        return False


def _parents() -> dict[int, int]:
    """Every process with its parent."""
    found = {}
    if Path("/proc/self/stat").exists():
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                found[int(path.parent.name)] = int(fields[1])
        return found
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, timeout=10, check=True)
    return {int(pid): int(parent) for pid, parent in (line.split() for line in listing.stdout.splitlines())}


def family(pid: int) -> list[int]:
    """This process and all that descend from it, parents first.

    A process group is not enough: PostgreSQL's backends and Erlang's helpers each make one of their own.
    """
    members, parents = [pid], _parents()
    for member in members:
        members.extend(child for child, parent in parents.items() if parent == member and child not in members)
    return members


def signal_all(pids: list[int], number: int) -> None:
    """Send a signal to each of them that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


_guards: dict[int, subprocess.Popen[bytes]] = {}
# Reads from us until we are gone, however that came about; then ends the process, and removes what it left behind.
GUARD = """
read -r _
kill -s CONT "$1"; kill -s "$2" "$1"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do kill -0 "$1" || break; sleep 0.2; done
kill -s KILL "$1"
[ -z "$3" ] || rm -rf "$3"
"""


def guard(process: subprocess.Popen[bytes], number: int, directory: Path | None = None) -> None:
    """See to it that this process does not outlive us, even if we are killed: a fixture's end would not come then."""
    if sys.platform != "win32":
        name = signal.Signals(number).name.removeprefix("SIG")
        _guards[process.pid] = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "sh", str(process.pid), name, str(directory or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def _dismiss_guard(process: subprocess.Popen[bytes]) -> None:
    watcher = _guards.pop(process.pid, None)
    if watcher is not None:
        watcher.kill()
        watcher.communicate()


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM, seconds: float = STOP_SECONDS) -> None:
    """End a process and all that descends from it: by this signal, and what is left after that time by SIGKILL."""
    _dismiss_guard(process)
    if process.poll() is not None:
        return
    if number == signal.SIGKILL:
        process.send_signal(signal.SIGSTOP)  # so that it begets no more children while they are counted
        members = family(process.pid)
        signal_all(members, signal.SIGKILL)
    else:
        members = family(process.pid)
        process.send_signal(number)
        signal_all(members, signal.SIGCONT)  # a paused process would not hear it
    try:
        process.wait(seconds)
        wait_until(lambda: not any(is_alive(pid) for pid in members), 5, "the children end with their parent")
    except (subprocess.TimeoutExpired, ServerError):
        signal_all(list({*members, *family(process.pid)}), signal.SIGKILL)
        process.wait(STOP_SECONDS)
        wait_until(lambda: not any(is_alive(pid) for pid in members), 30, "the children end by SIGKILL")


# --- Servers ---------------------------------------------------------------------------------------------------------
class Server(ABC):
    """A real server that a test may start, stop, kill, pause, and start again on the same port with the same data."""

    name: ClassVar[str]
    url_variable: ClassVar[str]
    """Names a server that runs already: it is used as it stands, never started, stopped or disturbed."""
    stop_signal: ClassVar[int] = signal.SIGTERM

    def __init__(self) -> None:
        self.port = 0
        self.directory = Path()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @abstractmethod
    def missing(cls) -> str:
        """Why it cannot be started here, in a sentence; "" if it can."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it listens, as the settings of the project take it."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make what it needs in its directory. Called once."""

    @abstractmethod
    def _launch(self) -> subprocess.Popen[bytes]:
        """Start it on `self.port`."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it does its work now. Must come back soon, whatever the server does."""

    @property
    def log(self) -> Path:
        """What it writes to stdout and stderr."""
        return self.directory / "server.log"

    @property
    def pid(self) -> int:
        """Its main process."""
        return self._running().pid

    def start(self) -> Self:
        """Start it on a free port, and come back when it answers."""
        if self._process is not None:
            raise ServerError(f"{self.name} runs already")
        if reason := self.missing():
            raise ServerError(reason)
        self.directory = self._make_directory()
        try:
            self._prepare()
            for last_try in (False, False, True):
                self.port = free_port()
                try:
                    self._start_here()
                except ServerError:
                    if last_try or "in use" not in tail(self.log):
                        raise
                else:
                    return self
        except BaseException:
            self.stop()
            raise
        return self

    def restart(self) -> None:
        """Start it again on the same port with the data it had; a running one is stopped first."""
        if self._process is not None:
            end(self._process, self.stop_signal)
            self._process = None
        self._start_here()

    def stop(self) -> None:
        """End it and remove its directory. Does no harm if it does not run."""
        if self._process is not None:
            end(self._process, self.stop_signal)
            self._process = None
        if self.directory != Path():
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = Path()

    def kill(self) -> None:
        """SIGKILL, to it and all of its children: what it had in memory is gone."""
        end(self._running(), signal.SIGKILL)
        self._process = None

    def pause(self) -> None:
        """Freeze it: connections stay open, and nothing answers."""
        signal_all(family(self.pid), signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after a pause."""
        signal_all(family(self.pid), signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _make_directory(self) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"test-{self.name.lower()}-"))

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError(f"{self.name} does not run")
        return self._process

    def _start_here(self) -> None:
        process = self._process = self._launch()
        guard(process, self.stop_signal, self.directory)
        problem = ""
        try:
            wait_until(lambda: process.poll() is not None or self._answers(), START_SECONDS, f"{self.name} answers")
        except ServerError as error:
            problem = str(error)
        if process.poll() is not None:
            problem = f"{self.name} ended with exit code {process.returncode}"
        if problem:
            end(process, signal.SIGKILL)
            self._process = None
            raise ServerError(f"{problem}. Its log:\n{tail(self.log)}")
