"""What a worker does by itself: every few seconds it looks whether something is due, bell or no bell.

So a dead beat, a lost ring or a dead broker costs seconds of delay and nothing else.
"""

import logging
from threading import Event, Thread
from typing import Any

from celery import bootsteps
from celery.signals import worker_init, worker_shutting_down
from django.db import close_old_connections, connection

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0

stopping = Event()
"""Set when this worker is to end: no new message leaves, those in flight end, the rest is given back."""


class LedgerLoop(bootsteps.StartStopStep):
    """The worker's own look at the ledger, in a thread of its main process."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._thread: Thread | None = None
        self._end = Event()

    def start(self, parent: Any) -> None:
        """Begin to look."""
        self._end.clear()
        self._thread = Thread(target=self._look, args=[parent.app], name="ledger-loop", daemon=True)
        self._thread.start()

    def stop(self, parent: Any) -> None:
        """End the looking, with the messages in flight brought home."""
        stopping.set()
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    terminate = stop

    def _look(self, app: Any) -> None:
        deliver = app.tasks["notifier.deliver"]  # by name: this module is imported before the models are ready
        while not self._end.is_set():
            try:
                close_old_connections()
                deliver()
            except Exception:
                log.exception("Looking for due notifications failed; trying again.")
                connection.close()
            self._end.wait(LOOK_SECONDS)
        connection.close()


@worker_init.connect
def _begin(**_: Any) -> None:
    stopping.clear()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    stopping.set()
