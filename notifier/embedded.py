"""The embedded mode: without a broker the web process works the ledger itself.

Worker and beat run as threads over Celery's in-memory transport: nothing else to start. What is open when the process
ends is in the ledger, and taken up at the next start.
"""

import logging
from threading import Event, Thread
from typing import Any

from celery import beat
from django.conf import settings

from notifier.celery import app
from notifier.work import stopping

log = logging.getLogger(__name__)


class EmbeddedWork:
    """Worker and beat of one process."""

    def __init__(self) -> None:
        self._worker: Any = None
        self._beat: Any = None
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin; returns when the worker takes work. Does nothing where a broker is configured: real workers do it."""
        if not settings.EMBEDDED or self._thread:
            return
        stopping.clear()
        ready = Event()
        self._worker = app.WorkController(
            app=app,
            pool_cls="threads",
            concurrency=settings.CELERY_WORKER_CONCURRENCY,
            ready_callback=lambda _consumer: ready.set(),
        )
        self._beat = beat.Service(app, scheduler_cls=beat.Scheduler)
        self._thread = Thread(target=self._worker.start, name="embedded-worker", daemon=True)
        self._thread.start()
        Thread(target=self._beat.start, name="embedded-beat", daemon=True).start()
        if not ready.wait(10):
            log.warning("The embedded worker is slow to start.")

    def stop(self) -> None:
        """End both: messages in flight come home, the rest goes back to the ledger."""
        if self._thread is None:
            return
        stopping.set()
        self._beat.stop(wait=False)  # it may be asleep, with nothing in its hands
        self._worker.stop()
        self._thread.join(timeout=5)
        self._thread = None
