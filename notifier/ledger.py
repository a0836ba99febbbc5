"""Every SQL statement of a notification's life: accept, claim, mark, settle, cancel, retry, erase, purge.

The database's clock decides what is due and whose lease ran out. Whoever works on a row holds its claim's token, and
every write repeats it: a worker that wakes up late holds an old one and changes nothing. No transaction stays open
while a provider answers.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Case, Count, F, Model, Q, QuerySet, Value, When
from django.db.models.functions import Now

from notifier import callbacks
from notifier.chain import AwaitReceipt, Finish, Wait
from notifier.models import Attachment, Attempt, Callback, Notification, Organization, Receipt, Recipient
from notifier.states import DUE, FINAL, OPEN, Status

LEASE = timedelta(seconds=30)
"""How long a silent worker keeps its rows. Renewed while it works: it only bounds how late a dead one's come back."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Rows that are ours until the lease ends, and the database's time when they became ours."""

    token: UUID
    rows: Sequence[Notification] = ()
    claimed_at: datetime | None = None
    _monotonic: float = field(default_factory=time.monotonic)

    def now(self) -> datetime:
        """The database's time by our own stopwatch, without asking it again."""
        if self.claimed_at is None:
            raise ValueError("An empty claim has no time.")
        return self.claimed_at + timedelta(seconds=time.monotonic() - self._monotonic)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What happened to one claimed row: the attempts to append, and where it goes. `move` None: still in our hands.

    `calls_back`: somebody wants to hear of it.
    """

    notification_id: int
    attempts: Sequence[Attempt]
    move: Wait | AwaitReceipt | Finish | None
    calls_back: bool = False


def accept(rows: Sequence[Notification], attachments: Sequence[Attachment] = ()) -> None:
    """Store these notifications, and the files that go with them, in the caller's transaction. Sets their ids."""
    if len(rows) == 1:
        rows[0].save(force_insert=True)
    else:
        Notification.objects.bulk_create(rows, batch_size=500)
    if attachments:
        Attachment.objects.bulk_create(attachments)


def claim(*, limit: int, ids: Sequence[int] | None = None) -> Claim:
    """Take up to `limit` due rows, the highest priority and then the longest due first; `ids`: only among these.

    Rows whose lease ran out are due too. Nobody else gets a row of this claim before its lease ends.
    """
    token = uuid4()
    with transaction.atomic():
        lapsed = Notification.objects.filter(status=Status.SENDING, lease_until__lte=Now()).order_by("lease_until")
        # A waiting one is no worker's: `receipts.miss_deadlines` queues it when its time is over.
        due = Notification.objects.filter(status=Status.QUEUED, due_at__lte=Now()).order_by("-priority", "due_at")
        taken = _locked_ids(lapsed, limit, ids)
        taken += _locked_ids(due, limit - len(taken), ids)
        if not taken:
            return Claim(token)
        Notification.objects.filter(pk__in=taken).update(
            status=Status.SENDING, due_at=None, claim_token=token, lease_until=Now() + LEASE
        )
    rows = list(
        Notification.objects.filter(claim_token=token, status=Status.SENDING)
        .select_related("recipient", "organization")
        .prefetch_related("attempts", "attachments")
        .annotate(database_now=Now())
        .order_by("-priority", "id")
    )
    return Claim(token, rows, rows[0].database_now if rows else None)


def _locked_ids(rows: QuerySet[Notification], limit: int, ids: Sequence[int] | None = None) -> list[int]:
    """Their ids, locked against others where the database can; SQLite has one writer at a time anyway."""
    if limit <= 0:
        return []
    if ids is not None:
        rows = rows.filter(pk__in=ids)
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=True)
    return list(rows.values_list("pk", flat=True)[:limit])


def mark(claim: Claim, handed_over: dict[int, Sequence[int]]) -> set[int]:
    """Write that these rows (step -> ids) are about to be handed over, and renew the claim's lease.

    Returns the ids that may leave; the others have a new owner, were ended or acknowledged. After this
    statement a death of the worker means `unknown` for exactly these rows.
    """
    with transaction.atomic():
        ours = renew(claim)
        for step, ids in handed_over.items():
            ours.filter(pk__in=ids, acknowledged_at=None).update(handover_step=step)
        wanted = [pk for ids in handed_over.values() for pk in ids]
        return set(ours.filter(pk__in=wanted, acknowledged_at=None).values_list("pk", flat=True))


def renew(claim: Claim) -> QuerySet[Notification]:
    """Begin the claim's lease anew. Returns the rows that are still ours."""
    ours = Notification.objects.filter(claim_token=claim.token, status=Status.SENDING)
    ours.update(lease_until=Now() + LEASE)
    return ours


def settle(claim: Claim, settlements: Sequence[Settlement]) -> set[int]:
    """Write how these rows went, in one transaction; the moved ones leave our hands.

    Rows whose lease we lost in the meantime stay as their new owner left them. Returns the ids that were still ours.
    """
    with transaction.atomic():
        ours = Notification.objects.filter(claim_token=claim.token, status=Status.SENDING)
        held_rows = ours.filter(pk__in=[settlement.notification_id for settlement in settlements])
        if connection.features.has_select_for_update:
            held_rows = held_rows.select_for_update()
        held = dict(held_rows.values_list("pk", "acknowledged_at"))
        kept = [settlement for settlement in settlements if settlement.notification_id in held]
        Attempt.objects.bulk_create(attempt for settlement in kept for attempt in settlement.attempts)
        # An acknowledgement that came meanwhile stops the chain, whatever the worker was about to do.
        moves = {
            one.notification_id: Finish(Status.ACKNOWLEDGED) if held[one.notification_id] else one.move for one in kept
        }
        for move, ids in _grouped(moves).items():
            ours.filter(pk__in=ids).update(**_written(move))
        callbacks.announce(
            one.notification_id
            for one in kept
            if one.calls_back and isinstance(moves[one.notification_id], AwaitReceipt | Finish)
        )
    return set(held)


def place(row: Notification, move: Wait | AwaitReceipt | Finish) -> None:
    """Move a row that nobody has in his hands. The caller has locked it in his transaction."""
    Notification.objects.filter(pk=row.pk).exclude(status=Status.SENDING).update(**_written(move))
    if row.callback_url and not isinstance(move, Wait):
        callbacks.announce([row.pk])


def _grouped(moves: Mapping[int, Wait | AwaitReceipt | Finish | None]) -> dict[Any, list[int]]:
    """Rows that go the same way, so that a healthy batch is one statement."""
    groups: dict[Any, list[int]] = {}
    for pk, move in moves.items():
        groups.setdefault(move, []).append(pk)
    return groups


_OUT_OF_HANDS: dict[str, Any] = {"claim_token": None, "lease_until": None, "handover_step": None}
_ENDED: dict[str, Any] = {**_OUT_OF_HANDS, "due_at": None, "credentials": None, "finished_at": Now()}


def _written(move: Wait | AwaitReceipt | Finish | None) -> dict[str, Any]:
    match move:
        case Wait(until, round_):
            # A late receipt re-opens what had ended.
            again = {"finished_at": None, "failure_code": ""}
            return {**_OUT_OF_HANDS, **again, "status": Status.QUEUED, "due_at": until, "round": round_}
        case AwaitReceipt(_, until):
            return {**_OUT_OF_HANDS, "status": Status.WAITING, "due_at": until, "sent_at": Now()}
        case Finish(status, code):
            sent = {"sent_at": Now()} if status is Status.SENT else {}
            return {**_ENDED, **sent, "status": status, "failure_code": code if status is Status.FAILED else ""}
        case _:
            return {"handover_step": None}


def overdue_by() -> timedelta:
    """For how long the oldest due row has been due; zero when none is."""
    oldest = (
        Notification.objects.filter(status__in=DUE)
        .annotate(database_now=Now())
        .order_by("due_at")
        .values_list("due_at", "database_now")
        .first()
    )
    return max(oldest[1] - oldest[0], timedelta(0)) if oldest and oldest[0] else timedelta(0)


def cancel(notification: Notification) -> bool:
    """Stop it. False: a worker has it, or it is final already."""
    with transaction.atomic():
        stopped = _moved(notification, DUE, {**_ENDED, "status": Status.CANCELLED})
        if stopped and notification.callback_url:
            callbacks.announce([notification.pk])
    return stopped


def retry(notification: Notification, credentials: bytes | None) -> bool:
    """Queue a failed one again with every step alive, with a new lifetime where the old is over. False: not failed."""
    lifetime = Case(When(expires_at__lte=Now(), then=Now() + Value(settings.NOTIFICATION_TTL)), default=F("expires_at"))
    return _moved(
        notification,
        [Status.FAILED],
        {
            "status": Status.QUEUED,
            "failure_code": "",
            "due_at": Now(),
            "finished_at": None,
            "expires_at": lifetime,
            "round": F("round") + 1,
            "first_round": F("round") + 1,
            "credentials": credentials,
        },
    )


def _moved(notification: Notification, sources: Iterable[Status], values: dict[str, Any]) -> bool:
    """The row itself decides a race: the update happens only from one of these statuses."""
    return bool(Notification.objects.filter(pk=notification.pk, status__in=list(sources)).update(**values))


def follow(recipient: Recipient, moved_to: str) -> None:
    """The provider says that this person's Telegram chat moved for good. A newer change by the client stays."""
    Recipient.objects.filter(pk=recipient.pk, telegram_chat_id=recipient.telegram_chat_id).update(
        telegram_chat_id=moved_to
    )


def erase(recipient: Recipient) -> None:
    """Forget a person: their row, and of their notifications every address, text and file. Open ones end.

    The notifications stay countable. A worker that has one in its hands loses it: it was ended under its lease.
    """
    with transaction.atomic():
        # Locked, so that whoever accepts one for this person at this moment comes before, or finds nobody.
        Recipient.objects.select_for_update().filter(pk=recipient.pk).first()
        theirs = Notification.objects.filter(recipient=recipient)
        # First, so that no worker can settle one any more and add an attempt after the others lost their words.
        theirs.filter(status__in=OPEN).update(**_ENDED, status=Status.CANCELLED)
        Attachment.objects.filter(notification__in=theirs).delete()
        Callback.objects.filter(notification__in=theirs).delete()
        tried = Attempt.objects.filter(notification__in=theirs)
        Receipt.objects.filter(provider_id__in=tried.exclude(provider_id="").values("provider_id")).delete()
        tried.update(detail="", provider_id="")
        theirs.update(subject="", message="", html="", context=None, metadata={}, reference="", callback_url="")
        recipient.delete()


def purge(before: timedelta, *, batch: int = 1000) -> int:
    """Delete notifications that finished longer than `before` ago, with their attempts, a batch a transaction."""
    deleted = 0
    while True:
        with transaction.atomic():
            old = Notification.objects.filter(status__in=FINAL, finished_at__lte=Now() - before).order_by("id")
            ids = _locked_ids(old, batch)  # locked: one that is retried at this moment must not vanish
            for model in (Attempt, Attachment, Callback):
                _children(model, ids).delete()
            Notification.objects.filter(pk__in=ids).delete()
        deleted += len(ids)
        if len(ids) < batch:
            return deleted


def _children(model: type[Model], ids: Sequence[int]) -> QuerySet[Any]:
    return model._default_manager.filter(notification_id__in=ids)


@dataclass(frozen=True, slots=True)
class Audit:
    """What the ledger holds. `astray`: open rows that no claim would ever find; there must be none."""

    by_status: Mapping[str, int]
    finished: int
    live: int
    astray: Sequence[int]

    @property
    def accepted(self) -> int:
        """All rows."""
        return sum(self.by_status.values())


def audit(slug: str | None = None) -> Audit:
    """Count the rows; live are those that a claim finds, now or when their time comes. `slug`: one organization's."""
    rows = Notification.objects.all() if slug is None else Notification.objects.filter(organization__slug=slug)
    # A row that is due only after it has expired, or is leased for longer than any lease lasts, waits for ever.
    due = Q(status__in=sorted(DUE)) & (Q(due_at__lte=F("expires_at")) | Q(due_at__lte=Now()))
    leased = Q(status=Status.SENDING, lease_until__lte=Now() + 2 * LEASE)
    # One statement, so that the sums agree also while the service is at work.
    found = Count("pk", filter=due | leased)
    counted = list(rows.order_by().values_list("status").annotate(Count("pk"), found=found))
    by_status = {status: count for status, count, _ in counted}
    finished = sum(count for status, count, _ in counted if status in FINAL)
    live = sum(reachable for status, _, reachable in counted if status in OPEN)
    astray = []
    if live + finished < sum(by_status.values()):
        astray = list(rows.filter(status__in=sorted(OPEN)).exclude(due | leased).values_list("pk", flat=True))
    return Audit(by_status, finished, live, astray)


def of(organization: Organization) -> QuerySet[Notification]:
    """The notifications of one organization: where every view begins."""
    return Notification.objects.filter(organization=organization)
