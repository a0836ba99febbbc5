"""The doors to delivery: whatever is due, or just these.

One dispatcher works per process; the messages it has on their way wait for providers without it.
"""

import os
from collections.abc import Callable, Sequence
from threading import Event, Lock

from notifier.dispatcher import Dispatcher

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


def _forget() -> None:
    """A forked child must not wait for a turn that a thread of its parent has: nobody would ever give it back here."""
    global _turn, _bell, _working
    _turn, _bell, _working = Lock(), Event(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
