"""PostgreSQL's own programs: where they are, and how one runs: bounded, watched, its words kept short."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from django.utils.translation import gettext as _

from backup.errors import BackupError, of_the_database, timed_out

_PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "C:/Program Files/PostgreSQL/*/bin",
)
_PASSED_ON = ("PATH", "HOME", "USERPROFILE", "APPDATA", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LD_LIBRARY_PATH")
_SAID = 8192
_CHUNK = 128 * 1024
_LOOK_SECONDS = 0.1

STOPPED = "stopped"

Stop = Callable[[], bool]


def find(name: str, server: int, *, at_least: bool = True) -> tuple[Path, str]:
    """This program, as new as the server's major version or newer, and its own version; the PATH comes first.

    BackupError: there is none, or, with `at_least`, only older ones.
    """
    older: tuple[Path, str] | None = None
    for path in _candidates(name):
        version = _version(path)
        if _major(version) >= server:
            return path, version
        older = older or (path, version)
    if older is None:
        sentence = _("{program} is not there: install PostgreSQL's client programs ({package}).")
        raise BackupError("tool_missing", sentence.format(program=name, package=f"postgresql-client-{server}"))
    if at_least:
        sentence = _("{program} {version} is older than the server, {server}: install {package} or newer.")
        told = {"program": name, "version": older[1], "server": server, "package": f"postgresql-client-{server}"}
        raise BackupError("version_mismatch", sentence.format(**told))
    return older


def _candidates(name: str) -> Iterator[Path]:
    if on_path := shutil.which(name):
        yield Path(on_path)
    for place in _PLACES:
        anchor = Path(place).anchor
        found = Path(anchor).glob(place[len(anchor) :]) if anchor and Path(anchor).is_dir() else ()
        for directory in sorted(found, key=lambda one: _major(str(one)), reverse=True):
            if program := shutil.which(name, path=str(directory)):
                yield Path(program)


def _version(path: Path) -> str:
    """ "" where it does not run."""
    try:
        command = [str(path), "--version"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env=environment())  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"\d+(?:\.\d+)*", told.stdout)
    return found[0] if found else ""


def _major(version: str) -> int:
    found = re.search(r"\d+", version)
    return int(found[0]) if found else 0


def environment(**more: str) -> dict[str, str]:
    """What a program sees of ours: none of the service's secrets, and English, which we can read."""
    kept = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("PGSSL")}
    return {**kept, "LC_ALL": "C", "PGCLIENTENCODING": "UTF8", **more}


class Program:
    """One that runs until it ends, the time is over or somebody stops it. A context manager: it never outlives it."""

    def __init__(
        self, command: list[str], env: Mapping[str, str], *, deadline: float, stop: Stop, feeds: bool = False
    ) -> None:
        self._command, self._environment = command, env
        self._deadline, self._stop, self._feeds = deadline, stop, feeds
        self._said = b""
        self._reason: BackupError | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own words only
                self._command,
                env=dict(self._environment),
                stdin=subprocess.PIPE if self._feeds else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if self._feeds else subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            sentence = _("{program} does not run: {reason}")
            told = {"program": self._command[0], "reason": error.strerror}
            raise BackupError("tool_missing", sentence.format(**told)) from None
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._watch, self._listen)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self._process.wait()
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def output(self) -> Iterator[bytes]:
        """All that it writes. BackupError: it ended badly."""
        pipe = self._process.stdout
        while pipe is not None and (data := pipe.read(_CHUNK)):
            yield data
        self.finish()

    def feed(self, data: bytes) -> None:
        """Give it some input. BackupError: it takes none any more."""
        pipe, left = self._process.stdin, memoryview(data)
        try:
            while pipe is not None and left:
                left = left[pipe.write(left) or 0 :]
        except OSError:
            self.finish()
            raise of_the_database("server closed the connection") from None

    def finish(self) -> None:
        """There is no more input; wait for its end. BackupError: it was no good one."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        code = self._process.wait()
        self._ended.set()
        for thread in self._threads:
            thread.join()
        if self._reason is not None:
            raise self._reason
        if code != 0:
            raise of_the_database(self._said.decode("utf-8", "replace") or f"{Path(self._command[0]).name}: {code}")

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            if time.monotonic() > self._deadline:
                self._reason = BackupError("timeout", timed_out())
            elif self._stop():
                self._reason = stopped()
            if self._reason is not None:
                self._kill()
                return

    def _listen(self) -> None:
        """Its last words; whoever does not read them stops it."""
        pipe = self._process.stderr
        while pipe is not None and (said := pipe.read(_SAID)):
            self._said = (self._said + said)[-_SAID:]

    def _kill(self) -> None:
        if self._process.poll() is not None:
            return
        if sys.platform == "win32":
            self._process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):  # it has ended at this very moment
                os.killpg(self._process.pid, signal.SIGKILL)


def stopped() -> BackupError:
    """The service ends."""
    return BackupError(STOPPED, _("The service was stopped before the backup was complete; make it again."))
