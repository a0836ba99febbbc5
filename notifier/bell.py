"""The doorbell: tells the workers that something is due. Losing a ring costs seconds, never a notification."""

import atexit
import logging
import time
from collections.abc import Sequence

from django.conf import settings
from django.db import connection, transaction

from notifier.coalescing import Coalesced
from notifier.tasks import deliver

log = logging.getLogger(__name__)

SILENCE = 5.0
"""Seconds without ringing after a ring that failed: the workers look by themselves meanwhile."""

GAP = 0.05
"""Seconds between two rings of a process. A publish costs 0.5 ms of processor, a third of a POST: for whoever asks
meanwhile it is rung once, together."""

_silent_until = 0.0


def ring_after_commit(ids: Sequence[int]) -> None:
    """Have it rung once the transaction is committed; a bell that fails never harms what was stored.

    It is rung beside the request, so no client waits for a broker. With `CELERY_TASK_ALWAYS_EAGER` the first round of
    these runs right here, before the request is answered.
    """
    if not (connection.in_atomic_block or settings.CELERY_TASK_ALWAYS_EAGER):
        _ringer.ask()  # it is committed; to ask Django for that costs a fortieth of a POST
        return
    # Lambdas, not partials: Django 5.2's robust callbacks stumble over a failing partial.
    if settings.CELERY_TASK_ALWAYS_EAGER:
        transaction.on_commit(lambda: ring(ids), robust=True)
    else:
        transaction.on_commit(_ringer.ask, robust=True)


def ring(ids: Sequence[int]) -> bool:
    """Ring now; ends after about a second even where the broker hangs. False: the bell was not heard.

    With `CELERY_TASK_ALWAYS_EAGER` the first round of these runs right here.
    """
    global _silent_until  # noqa: PLW0603 - one bell a process
    if time.monotonic() < _silent_until:
        return False
    try:
        deliver.apply_async(kwargs={"ids": list(ids)} if settings.CELERY_TASK_ALWAYS_EAGER else {})
    except Exception as error:  # noqa: BLE001 - brokers fail in many ways, and none of them is the client's business
        _silent_until = time.monotonic() + SILENCE
        log.warning("The broker does not answer; the workers will find out by themselves. %s", type(error).__name__)
        return False
    return True


def rest(seconds: float) -> bool:
    """Wait until everything asked for has been rung. False: it took longer."""
    return _ringer.rest(seconds)


def _ring_for_all() -> float:
    ring([])
    return GAP


_ringer = Coalesced(_ring_for_all, "bell")
# A command that sends and ends at once is heard too; a frozen broker holds it up for no longer than a ring takes.
atexit.register(rest, 1.5)
