"""The doors to delivery: whatever is due, or just these.

One dispatcher works per process; the messages it has on their way wait for providers without it.
"""

import os
import time
from collections.abc import Callable, Sequence
from threading import Event, Lock

from notifier.dispatcher import Dispatcher
from notifier.models import Notification
from notifier.states import Status

PATIENCE = 90.0
"""Seconds to wait for a worker that took a message first."""

_turn = Lock()
_bell = Event()
_working: Dispatcher | None = None


def deliver_due(stop: Callable[[], bool] = lambda: False) -> None:
    """Deliver what is due until nothing is, or `stop()` says so: then what is in flight ends, the rest is given back.

    One thread of a process does it; who calls meanwhile returns at once, and that thread looks again at once.
    """
    global _working  # noqa: PLW0603 - one a process
    _bell.set()
    if (working := _working) is not None:
        working.look()
    while _bell.is_set() and _turn.acquire(blocking=False):
        try:
            _bell.clear()
            _working = Dispatcher(stop=stop)
            _working.run()
        finally:
            _working = None
            _turn.release()


def deliver(ids: Sequence[int]) -> None:
    """Deliver these, as far as they are due and in nobody's hands, and return when their first round is over."""
    Dispatcher(ids=ids).run()


def first_round(ids: Sequence[int]) -> dict[int, Notification]:
    """Deliver these, and return them by their ids once no worker has one of them in its hands any more. A worker that
    took one first is waited for, but not for ever."""
    deliver(ids)
    give_up = time.monotonic() + PATIENCE
    while True:
        rows = Notification.objects.in_bulk(ids)
        if time.monotonic() > give_up or all(row.status != Status.SENDING for row in rows.values()):
            return rows
        time.sleep(0.1)


def _forget() -> None:
    """A forked child must not wait for a turn that a thread of its parent has: nobody would ever give it back here."""
    global _turn, _bell, _working
    _turn, _bell, _working = Lock(), Event(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
