"""What providers and people say later: delivered, bounced, read, acknowledged; and what it means that nothing came.

A receipt is stored first and applied then, so that one that comes too early is not lost: before its attempt is written,
or while a worker has its notification in its hands. `apply_kept` is called again and again until it finds its place.
"""

import logging
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from django.conf import settings
from django.db import Error, connection, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from channels.simulated import Later
from notifier import ledger, walk
from notifier.chain import AwaitReceipt, Finish, Miss, Move, Send, Wait, failure_code
from notifier.models import Attempt, Notification, Receipt
from notifier.states import MOVES, Outcome, Status

log = logging.getLogger(__name__)

KEPT = timedelta(days=1)
"""How long a receipt waits for its attempt: providers also tell of messages that are not ours."""

LATER = timedelta(seconds=2)
"""After how long a simulated provider says what became of a message."""

BATCH = 100

LONGEST_LOOK = 2.0
"""Seconds in which a worker's own thread applies one batch after the other, before it looks after other things."""


class Kind(StrEnum):
    """What a receipt says."""

    DELIVERED = "delivered"
    READ = "read"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    BLOCKED = "blocked"


ARRIVED = frozenset({Kind.DELIVERED, Kind.READ})


def take(channel: str, provider_id: str, kind: Kind, detail: str = "") -> None:
    """Store what a provider says of a message that it took, and apply it as soon as nobody has its notification."""
    if not provider_id:
        return  # it names no message; attempts without an id are not meant
    Receipt.objects.create(channel=channel, provider_id=provider_id[:255], kind=kind, detail=detail)
    apply_kept(provider_id)


def foretell(said: Iterable[Later]) -> None:
    """Store what simulated providers are going to say of messages that they are about to take, to be applied then.

    What is foretold twice is applied once; of a message that they never take it means nothing.
    """
    Receipt.objects.bulk_create(
        Receipt(
            channel=one.channel,
            provider_id=one.provider_id[:255],
            kind=Kind(one.kind),
            detail=one.detail,
            not_before=Now() + LATER,
        )
        for one in said
    )


def apply_kept(provider_id: str = "", *, seconds: float = 0) -> None:
    """Apply the receipts that wait, as far as they can be: a batch, and more as long as there are `seconds` left.

    `provider_id`: only those of this message.
    """
    kept = Receipt.objects.filter(provider_id=provider_id[:255]) if provider_id else Receipt.objects.all()
    kept = kept.filter(not_before__lte=Now())
    if not kept.exists():
        return  # of a table that is mostly empty PostgreSQL knows nothing: it could read all attempts to find that out
    # Those that can be: others, and the strangers among them, would stand in their way for a day.
    kept = kept.filter(Exists(_meant.exclude(notification__status=Status.SENDING)))
    end = time.monotonic() + seconds
    while _apply_first_of(kept) == BATCH and time.monotonic() < end:
        pass  # a bulk of tests brings thousands at the same moment
    Receipt.objects.filter(received_at__lte=Now() - KEPT).delete()


def _apply_first_of(kept: QuerySet[Receipt]) -> int:
    """Apply the oldest of these. Returns how many are done with."""
    done = 0
    for receipt in kept.order_by("id")[:BATCH]:
        try:
            with transaction.atomic():
                # Locked, since another worker may be about to apply it too.
                if not Receipt.objects.select_for_update().filter(pk=receipt.pk).first():
                    done += 1
                elif _apply(receipt):
                    Receipt.objects.filter(pk=receipt.pk).delete()
                    done += 1
        except Error:
            raise
        except Exception:
            log.exception("A receipt cannot be applied; it is kept.", extra={"channel": receipt.channel})
    return done


def acknowledge(notification: Notification) -> bool:
    """The person confirmed: the chain stops for good. False: it was cancelled or has expired."""
    with transaction.atomic():
        row = _locked(Notification.objects.filter(pk=notification.pk)).get()
        if row.status in {Status.CANCELLED, Status.EXPIRED}:
            return False
        if row.acknowledged_at is None:
            # While a worker has it, it is only noted: the settlement sees it.
            Notification.objects.filter(pk=row.pk).update(acknowledged_at=Now())
            if Status.ACKNOWLEDGED in MOVES[Status(row.status)] and row.status != Status.SENDING:
                ledger.place(row, Finish(Status.ACKNOWLEDGED))
        return True


def miss_deadlines() -> None:
    """Spend the steps whose receipt did not come in time; their notifications go on, or end."""
    waiting = Notification.objects.filter(status=Status.WAITING, due_at__lte=Now())
    if not waiting.exists():
        return
    apply_kept()  # one that came in time, while a worker had its notification, must not be missed
    with transaction.atomic():
        for row in _locked(waiting.order_by("due_at"))[:BATCH]:
            try:
                _reconsider(row)
            except Error:
                raise
            except Exception:
                log.exception("A deadline cannot be dealt with.", extra={"notification_id": row.pk})
                _put_off(row)


def _put_off(row: Notification) -> None:
    """Nobody can read it: it must not stand in the others' way for ever."""
    if _now(row) >= row.expires_at:
        ledger.place(row, Finish(Status.EXPIRED))
    else:
        later = min(_now(row) + settings.RETRY_DELAYS[-1], row.expires_at)
        Notification.objects.filter(pk=row.pk).update(due_at=later)


def _locked(rows: QuerySet[Notification]) -> QuerySet[Notification]:
    """These rows, locked where the database can, with their attempts and the database's time."""
    if connection.features.has_select_for_update:
        rows = rows.select_for_update(of=("self",)) if connection.features.has_select_for_update_of else rows
    return rows.prefetch_related("attempts").annotate(database_now=Now())


# "Not empty" is said for the index's sake, which holds no empty ones: PostgreSQL cannot know that a receipt's never is,
# and read every attempt for 1,000 receipts of strangers (of 1,000,000 attempts 1.2 s, so 3 ms).
_meant = Attempt.objects.filter(
    provider_id=OuterRef("provider_id"), channel=OuterRef("channel"), outcome=Outcome.ACCEPTED
).exclude(provider_id="")


def _apply(receipt: Receipt) -> bool:
    """Whether it found its place. In the caller's transaction."""
    attempt = (
        Attempt.objects.filter(provider_id=receipt.provider_id, channel=receipt.channel, outcome=Outcome.ACCEPTED)
        .order_by("-id")
        .first()
    )
    if attempt is None:
        return False
    row = _locked(Notification.objects.filter(pk=attempt.notification_id)).get()
    if row.status == Status.SENDING:
        return False
    known = next(one.receipt for one in row.attempts.all() if one.pk == attempt.pk)
    if receipt.kind == known or (known, receipt.kind) == (Kind.READ, Kind.DELIVERED):
        return True  # providers repeat themselves, and not always in order
    Attempt.objects.filter(pk=attempt.pk).update(receipt=receipt.kind)
    if receipt.kind in ARRIVED:
        _arrived(row, attempt, receipt.kind)
    else:
        _came_back(row, attempt, receipt)
    return True


def _arrived(row: Notification, attempt: Attempt, kind: str) -> None:
    """The person has it: enough for a bar of `delivered`, and more than `sent` or `failed` said."""
    if row.status in {Status.SENT, Status.FAILED}:
        ledger.place(row, Finish(Status.DELIVERED))
        return
    if row.status not in {Status.WAITING, Status.QUEUED}:
        return
    next(one for one in row.attempts.all() if one.pk == attempt.pk).receipt = kind
    move = _move(row)
    if move == Finish(Status.DELIVERED):
        # A queued row is ended by the worker that takes it up, now.
        ledger.place(row, move if row.status == Status.WAITING else Wait(_now(row), row.round))


def _came_back(row: Notification, attempt: Attempt, receipt: Receipt) -> None:
    """It did not arrive after all: that kills the step, and re-opens an unexpired chain that has steps left."""
    Attempt.objects.create(
        notification=row,
        step=attempt.step,
        round=row.round,
        channel=attempt.channel,
        outcome=Outcome.FAILED,
        temporary=False,
        code=receipt.kind,
        detail=receipt.detail or "The provider says that it did not arrive after all.",
        account=attempt.account,
        provider_id="",
        started_at=_now(row),
    )
    row = _locked(Notification.objects.filter(pk=row.pk)).get()
    if row.status in {Status.SENT, Status.DELIVERED, Status.WAITING}:
        _reconsider(row)
    elif row.status == Status.FAILED:
        code = failure_code([walk.as_try(one) for one in row.attempts.all() if one.round >= row.first_round])
        Notification.objects.filter(pk=row.pk).update(failure_code=code)


def _reconsider(row: Notification) -> None:
    """Ask the chain again about a locked row in nobody's hands, and put it there."""
    move = _move(row)
    while isinstance(move, Miss):
        missed = walk.missed(row, move.step, _now(row))
        missed.save()
        row = _locked(Notification.objects.filter(pk=row.pk)).get()
        move = _move(row)
    if isinstance(move, Send):
        move = Wait(_now(row), row.round)  # a worker sends it, at once
    if row.status == Status.WAITING and isinstance(move, AwaitReceipt):
        return  # for another step's receipt, as before
    if row.status in {Status.SENT, Status.DELIVERED}:
        if move in {Finish(Status.SENT), Finish(Status.DELIVERED)}:
            return  # another step has it all the same
        if move == Finish(Status.EXPIRED):
            move = Finish(Status.FAILED, failure_code([walk.as_try(one) for one in row.attempts.all()]))
    ledger.place(row, move)


def _move(row: Notification) -> Move:
    return walk.move_of(row, [walk.as_try(one) for one in row.attempts.all()], _now(row))


def _now(row: Notification) -> datetime:
    return row.database_now  # type: ignore[attr-defined,no-any-return]
