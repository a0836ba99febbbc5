"""Thin Celery tasks: each calls one function and decides nothing. No payload, no secret, no result."""

import time
from collections.abc import Sequence

from celery import shared_task
from django.conf import settings

from notifier import breaker, callbacks, delivery, idempotency, ledger, receipts, work

BELL_SECONDS = 10.0
"""How long one ring may keep a worker busy: a long backlog is taken in several, so that a stop is never far away."""


@shared_task(name="notifier.deliver", ignore_result=True)
def deliver(ids: Sequence[int] | None = None) -> None:
    """Work on what is due. `ids` only in eager mode: the first round of just these."""
    if ids is not None:
        delivery.deliver(ids)
        return
    end = time.monotonic() + BELL_SECONDS
    delivery.deliver_due(stop=lambda: work.stopping.is_set() or time.monotonic() > end)


@shared_task(name="notifier.call_back", ignore_result=True)
def call_back() -> None:
    """Tell clients what they want to hear of."""
    callbacks.deliver_due(stop=work.stopping.is_set)


@shared_task(name="notifier.apply_receipts", ignore_result=True)
def apply_receipts() -> None:
    """Apply the receipts that came too early."""
    receipts.apply_kept()


@shared_task(name="notifier.purge", ignore_result=True)
def purge() -> None:
    """Delete what has had its time."""
    ledger.purge(settings.RETENTION)
    idempotency.forget()
    breaker.forget()
