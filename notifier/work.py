"""What a worker does by itself: every few seconds it looks whether something is due, bell or no bell.

So a dead beat, a lost ring or a dead broker costs seconds of delay and nothing else.
"""

import logging
import os
from threading import Event, Thread
from typing import Any

from celery import bootsteps
from celery.signals import worker_init, worker_shutting_down
from django.db import close_old_connections, connection

from notifier import collector

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
LOOKS = ("notifier.deliver", "notifier.apply_receipts", *["notifier.call_back"] * 4)
"""What is looked after, each by a thread of its own: a slow callback never stands in a message's way."""

_main_pid = 0

stopping = Event()
"""Set when this worker is to end: no new message leaves, those in flight end, the rest is given back."""


class LedgerLoop(bootsteps.StartStopStep):
    """The worker's own look at the ledger, in a thread of its main process."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._threads: list[Thread] = []
        self._end = Event()

    def start(self, parent: Any) -> None:
        """Begin to look."""
        collector.spare_what_stays()
        self._end.clear()
        # By name: this module is imported before the models are ready, and so before the tasks.
        self._threads = [
            Thread(target=self._look, args=[parent.app.tasks[name]], name=f"look-{name}", daemon=True) for name in LOOKS
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, parent: Any) -> None:
        """End the looking, with the messages in flight brought home."""
        stopping.set()
        self._end.set()
        for thread in self._threads:
            thread.join()
        self._threads = []

    terminate = stop

    def _look(self, task: Any) -> None:
        while not self._end.is_set():
            try:
                close_old_connections()
                task()
            except Exception:
                log.exception("Looking after the ledger failed; trying again.")
                connection.close()
            self._end.wait(LOOK_SECONDS)
        connection.close()


def is_child() -> bool:
    """Whether this process is a child of a worker's prefork pool."""
    return _main_pid not in {0, os.getpid()}


@worker_init.connect
def _begin(**_: Any) -> None:
    global _main_pid  # noqa: PLW0603 - one worker a process
    _main_pid = os.getpid()
    stopping.clear()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    stopping.set()
