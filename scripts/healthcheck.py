#!/usr/bin/env python3
"""Is this container well? Exit code 0 or 1, for Docker's health checks.

`healthcheck.py web` asks /health/live. `healthcheck.py process [PID]` (worker, beat; PID 1 by default) sees whether the
process still moves: both wake up every few seconds even with nothing to do, a frozen or deadlocked one never does.
"""

import http.client
import os
import sys
import time
from pathlib import Path

PATIENCE = 12.0  # seconds; beat sleeps at most 5


def host_header() -> str:
    """A name that the service answers to: DJANGO_ALLOWED_HOSTS may not name the loopback address."""
    first = os.environ.get("DJANGO_ALLOWED_HOSTS", "").split(",")[0].strip().lstrip(".")
    return first if first not in ("", "*") else "localhost"


def web_is_well() -> bool:
    """Whether the web server answers."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 8000), timeout=4)
    try:
        connection.request("GET", "/health/live", headers={"Host": host_header()})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def switches(pid: int) -> int:
    """How often the threads of this process went to sleep or were made to wait, so far; 0: no such process."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = status.read_text(encoding="utf-8").splitlines()
        total += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return total


def process_is_well(pid: int, patience: float = PATIENCE) -> bool:
    """Whether any of its threads woke up while we looked."""
    try:
        before, deadline = switches(pid), time.monotonic() + patience
        while before and time.monotonic() < deadline:
            time.sleep(0.25)
            if switches(pid) > before:
                return True
    except (OSError, ValueError):
        pass  # it ended meanwhile
    return False


def main(arguments: list[str]) -> int:
    """0: well, 1: not."""
    kind = arguments[0] if arguments else "web"
    well = process_is_well(int(arguments[1]) if arguments[1:] else 1) if kind == "process" else web_is_well()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
