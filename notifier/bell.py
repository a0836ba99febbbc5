"""The doorbell: tells the workers that something is due. Losing a ring costs seconds, never a notification."""

import logging
import time
from collections.abc import Sequence

from django.conf import settings
from django.db import transaction

from notifier.tasks import deliver

log = logging.getLogger(__name__)

SILENCE = 5.0
"""Seconds without ringing after a ring that failed: the workers look by themselves meanwhile."""

_silent_until = 0.0


def ring_after_commit(ids: Sequence[int]) -> None:
    """Ring once the transaction is committed; a bell that fails never harms what was stored."""
    # A lambda, not a partial: Django 5.2's robust callbacks stumble over a failing partial.
    transaction.on_commit(lambda: ring(ids), robust=True)


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
