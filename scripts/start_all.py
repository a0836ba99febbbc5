#!/usr/bin/env python3
"""Web, worker and beat as children of one foreground process; only web where no broker is configured.

Their lines come out with [web], [worker], [beat] before them. SIGTERM or Ctrl+C ends all of them cleanly. A child that
ends by itself takes the others with it and makes the exit code non-zero, so that a supervisor starts everything again.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WINDOWS = os.name == "nt"
if sys.platform == "win32":
    NEW_GROUP, ASK_TO_STOP = subprocess.CREATE_NEW_PROCESS_GROUP, signal.CTRL_BREAK_EVENT
else:
    NEW_GROUP, ASK_TO_STOP = 0, signal.SIGTERM
SETTINGS = {**os.environ, "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", "notifier.settings")}
CELERY = ("-m", "celery", "-A", "notifier")
GRACE = 90.0  # seconds for the work in hand, once we were told to stop
EMBEDDED = "from django.conf import settings; print('embedded' if settings.EMBEDDED else 'broker')"
# Windows tells a process group of its own to stop by Ctrl+Break, which Celery does not know: hand it on as Ctrl+C.
ON_WINDOWS = """
import runpy, signal, sys
signal.signal(signal.SIGBREAK, lambda *_: signal.raise_signal(signal.SIGINT))
sys.path.insert(0, "")
del sys.argv[0]
if sys.argv[0] == "-m":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Child:
    """One program, in a process group of its own: otherwise a terminal's Ctrl+C reaches it twice, which means "now"."""

    def __init__(self, name: str, arguments: tuple[str, ...], ended: "queue.SimpleQueue[str]") -> None:
        self.name = name
        command = [sys.executable, "-c", ON_WINDOWS, *arguments] if WINDOWS else [sys.executable, *arguments]
        self.process = subprocess.Popen(  # noqa: S603
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=not WINDOWS,
            creationflags=NEW_GROUP,
        )
        self._copier = threading.Thread(target=self._copy_output, daemon=True)
        self._copier.start()
        threading.Thread(target=self._tell_the_end, args=(ended,), daemon=True).start()

    def _copy_output(self) -> None:
        """Line by line. Goes on reading when nobody reads us any more: a full pipe would hold the child up."""
        prefix = f"[{self.name}] ".encode()
        for line in self.process.stdout or ():
            write(prefix + line)

    def _tell_the_end(self, ended: "queue.SimpleQueue[str]") -> None:
        self.process.wait()
        ended.put(self.name)

    def stop(self) -> None:
        """Ask it once to finish what it has in hand and end."""
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.process.send_signal(ASK_TO_STOP)

    def last_words(self) -> None:
        """Wait, not for long, until its last lines are out."""
        self._copier.join(timeout=2.0)

    def kill(self) -> None:
        """End it, and what it started, now."""
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                self.process.kill()
            else:
                os.killpg(self.process.pid, signal.SIGKILL)

    @property
    def ended_cleanly(self) -> bool:
        """Whether it ended as one does that was asked to."""
        return self.process.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM) or WINDOWS


_printing = threading.Lock()


def write(line: bytes) -> None:
    """A whole line at a time, whoever writes."""
    with _printing, contextlib.suppress(OSError, ValueError):
        sys.stdout.buffer.write(line if line.endswith(b"\n") else line + b"\n")
        sys.stdout.buffer.flush()


def say(text: str) -> None:
    """A line of our own."""
    write(f"[start_all] {text}".encode())


def has_broker() -> bool:
    """Whether the settings name a broker. Wrong settings end the start here, with their own sentence."""
    answer = subprocess.run(  # noqa: S603
        [sys.executable, "-c", EMBEDDED], cwd=ROOT, env=SETTINGS, stdout=subprocess.PIPE, timeout=60, check=False
    )
    if answer.returncode != 0:
        raise SystemExit(answer.returncode)
    return not answer.stdout.strip().endswith(b"embedded")


def listen() -> "queue.SimpleQueue[str]":
    """A queue of what happens: a signal puts in its own name, a child that ends its."""
    events: queue.SimpleQueue[str] = queue.SimpleQueue()  # the one that a signal handler may put into
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _frame: events.put(signal.Signals(number).name))
    return events


def next_event(events: "queue.SimpleQueue[str]", seconds: float) -> str:
    """What happens next; "" if nothing does. In short turns, since Windows runs no handler while a thread waits."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(queue.Empty):
            return events.get(timeout=min(left, 0.5))
    return ""


def stop_all(children: dict[str, Child], events: "queue.SimpleQueue[str]") -> bool:
    """Stop what still runs; another Ctrl+C, or the end of the grace period, kills. Whether all of it ended cleanly."""
    running = {name for name, child in children.items() if child.process.poll() is None}
    asked, deadline = set(running), time.monotonic() + GRACE
    for name in running:
        children[name].stop()
    while running:
        event = next_event(events, deadline - time.monotonic())
        running.discard(event)
        if event in ("", "SIGINT"):
            say(f"killing what is still busy: {', '.join(sorted(running))}")
            for name in running:
                children[name].kill()
                children[name].process.wait()
            break
    return all(children[name].ended_cleanly for name in asked)


def main(arguments: list[str]) -> int:
    """Start, wait, stop. The arguments are those of `manage.py serve`."""
    events = listen()
    programs: dict[str, tuple[str, ...]] = {"web": ("manage.py", "serve", *arguments)}
    if has_broker():
        programs |= {"worker": (*CELERY, "worker"), "beat": (*CELERY, "beat")}
    else:
        say("no broker is configured: the web process does the work of worker and beat itself")
    children = {name: Child(name, program, events) for name, program in programs.items()}
    event = ""
    while not event:
        event = next_event(events, 3600.0)
    if event in children:
        code = children[event].process.returncode
        children[event].last_words()
        say(f"{event} ended by itself with exit code {code}: stopping the others")
        stop_all(children, events)
        code = code if 0 < code < 256 else 1
    else:
        say("stopping")
        code = 0 if stop_all(children, events) else 1
    for child in children.values():
        child.last_words()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
