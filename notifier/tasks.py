"""Thin Celery tasks: each calls one function and decides nothing. No payload, no secret, no result.

Each looks at its database connection first: Celery is told to keep them, and so never does.
"""

import logging
import time
from collections.abc import Sequence

from celery import shared_task
from django.conf import settings

from notifier import breaker, callbacks, delivery, erasure, events, idempotency, receipts, retention, work
from notifier.connections import look_at_the_connection

log = logging.getLogger(__name__)

CHILD_SECONDS = 10.0
"""How long one ring may keep a child of a prefork pool busy: no word of a stop reaches it there."""


@shared_task(name="notifier.deliver", ignore_result=True)
def deliver(ids: Sequence[int] | None = None) -> None:
    """Work on what is due. `ids` only in eager mode: the first round of just these."""
    look_at_the_connection()
    if ids is not None:
        delivery.deliver(ids)
    elif work.is_child():
        end = time.monotonic() + CHILD_SECONDS
        delivery.deliver_due(stop=lambda: time.monotonic() > end)
    else:
        delivery.deliver_due(stop=work.stopping.is_set)


@shared_task(name="notifier.call_back", ignore_result=True)
def call_back() -> None:
    """Tell clients what they want to hear of."""
    look_at_the_connection()
    callbacks.deliver_due(stop=work.stopping.is_set)


@shared_task(name="notifier.apply_receipts", ignore_result=True)
def apply_receipts() -> None:
    """Apply the receipts that came too early, and go on where none came in time, however busy delivery is."""
    look_at_the_connection()
    receipts.apply_kept(seconds=receipts.LONGEST_LOOK)
    receipts.miss_deadlines()


@shared_task(name="notifier.purge", ignore_result=True)
def purge() -> None:
    """Delete what has had its time. Where one table cannot be cleared now, the others are all the same."""
    look_at_the_connection()
    for clear in (
        idempotency.forget,
        breaker.forget,
        events.forget,
        lambda: erasure.purge(settings.RETENTION),
        lambda: retention.purge(settings.RETENTION),
    ):
        try:
            clear()
        except Exception:
            log.exception("Old rows could not be deleted.")
