"""A sink's owner: starts its process, tells it how to behave, asks what it took."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from tests.servers.base import ServerError, end
from tests.servers.processes import ROOT


@dataclass(frozen=True)
class Arrivals:
    """What a sink has taken so far. `first` and `last` are moments of `time.monotonic()`, the same in all processes."""

    accepted: int
    distinct: int
    doubles: int
    connections: int
    peak_open: int
    first: float
    last: float

    @property
    def rate(self) -> float:
        """Messages a second between the first and the last."""
        return (self.accepted - 1) / (self.last - self.first) if self.last > self.first else 0.0


class Sink:
    """`with Sink("smtp", delay_ms=5) as sink:`"""

    def __init__(self, kind: str, *, certificate: str = "", **manners: Any) -> None:
        self._command = [sys.executable, "-m", "benchmarks.sinks", kind]
        if certificate:
            self._command += ["--certificate", certificate]
        self._manners = manners
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        # In a session of its own: Ctrl+C is for us, who then close its stdin.
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.port = self._read()["port"]
        self.behave(**self._manners)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            end(self._process, signal.SIGTERM)  # type: ignore[arg-type]
            self._process = None

    def behave(self, **manners: Any) -> None:
        """From now on like this (`manners.py`)."""
        self._ask("behave", manners=manners)

    def reset(self) -> None:
        """Forget what came so far."""
        self._ask("reset")

    def arrivals(self) -> Arrivals:
        """What came so far."""
        summary = self._ask("summary")
        return Arrivals(
            **{name: summary[name] if name in {"first", "last"} else int(summary[name]) for name in summary}
        )

    def moments(self) -> dict[str, float]:
        """When each tag came first."""
        return self._ask("arrivals")

    def wait_for(
        self, accepted: int, seconds: float, tell: Callable[[int], None] = lambda _: None, idle: float = 30
    ) -> Arrivals:
        """Wait until so many came. ServerError after that time, or when nothing came for `idle` seconds."""
        deadline, moved, before = time.monotonic() + seconds, time.monotonic(), -1
        while (now := self.arrivals()).accepted < accepted:
            if now.accepted != before:
                moved, before = time.monotonic(), now.accepted
            if time.monotonic() > min(deadline, moved + idle):
                raise ServerError(f"the sink has {now.accepted} of {accepted} messages, and no more come")
            tell(now.accepted)
            time.sleep(0.1)
        tell(now.accepted)
        return now

    def _ask(self, do: str, **more: Any) -> dict[str, Any]:
        if self._process is None or self._process.stdin is None:
            raise ServerError("the sink does not run")
        self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        if self._process is None or self._process.stdout is None:
            raise ServerError("the sink does not run")
        line = self._process.stdout.readline()
        if not line:
            raise ServerError("the sink has ended")
        found: dict[str, Any] = json.loads(line)
        return found
