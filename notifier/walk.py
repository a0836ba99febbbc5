"""A notification's row as the chain reads it, and what the chain says of it."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings

from notifier.chain import Move, Policy, Try, next_move
from notifier.models import Attempt, Notification
from notifier.states import OnUnknown, Outcome


def as_try(attempt: Attempt) -> Try:
    """The attempt as the chain reads it."""
    return Try(
        step=attempt.step,
        round=attempt.round,
        outcome=Outcome(attempt.outcome),
        started_at=attempt.started_at,
        ended_at=attempt.started_at + timedelta(milliseconds=attempt.duration_ms),
        code=attempt.code,
        temporary=bool(attempt.temporary),
        retry_after=attempt.retry_after,
        receipt=attempt.receipt,
    )


def policy_of(row: Notification) -> Policy:
    """How patient the walk of this row is."""
    return Policy(
        expires_at=row.expires_at,
        round=row.round,
        first_round=row.first_round,
        on_unknown=OnUnknown(row.on_unknown),
        step_retry=settings.STEP_RETRY_SECONDS,
        round_delays=settings.RETRY_DELAYS,
        jitter=random.uniform(0.8, 1.2),  # noqa: S311 - spreads load, keeps no secret
    )


def move_of(row: Notification, tries: Sequence[Try], now: datetime) -> Move:
    """Where the row goes from here."""
    return next_move(row.chain, tries, now, policy_of(row))


def missed(row: Notification, step: int, now: datetime) -> Attempt:
    """The attempt that says that no receipt came in time. Not stored."""
    return Attempt(
        notification_id=row.pk,
        round=row.round,
        step=step,
        channel=row.chain[step].channel,
        outcome=Outcome.FAILED,
        temporary=False,
        code="deadline_missed",
        detail="No receipt came in the time of this step.",
        started_at=now,
    )
