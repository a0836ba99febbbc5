"""Every SQL statement of a notification's life: accept, claim, mark, settle, cancel, retry. Of its end: `erasure`.

The database's clock decides what is due and whose lease ran out. Whoever works on a row holds its claim's token, and
every write repeats it: a worker that wakes up late holds an old one and changes nothing. No transaction stays open
while a provider answers.
"""

import operator
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Case, Count, F, Model, Q, QuerySet, Value, When
from django.db.models.functions import Now

from notifier import callbacks, events, insertion, postgres, wakes
from notifier.chain import AwaitReceipt, Finish, Wait
from notifier.models import (
    AttachedFile,
    Attachment,
    Attempt,
    Notification,
    Organization,
    Recipient,
    TransientAttachment,
)
from notifier.states import DUE, FINAL, OPEN, Status

M = TypeVar("M", Attempt, Attachment, TransientAttachment)

FILES = (Attachment, TransientAttachment)

LEASE = timedelta(seconds=30)
"""How long a silent worker keeps its rows. Renewed while it works: it only bounds how late a dead one's come back."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Rows that are ours until the lease ends, and the database's time when they became ours.

    `attempts` by the rows' ids, without those that have none. `with_files`: the ids of those that have files; these
    may be large, and are loaded when their messages leave (`files_of`).
    """

    token: UUID
    rows: Sequence[Notification] = ()
    attempts: Mapping[int, Sequence[Attempt]] = field(default_factory=dict)
    with_files: Collection[int] = frozenset()
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


def accept(rows: Sequence[insertion.Values], files: Sequence[Sequence[Attachment]] = ()) -> list[insertion.Stored]:
    """Store these notifications, given by their columns, and the `files` of each, in the caller's transaction."""
    made = insertion.insert(rows)
    attach(made, files)
    return made


def attach(made: Sequence[insertion.Stored], files: Sequence[Sequence[Attachment]]) -> None:
    """Store the `files` of each of these."""
    for stored, own in zip(made, files, strict=False):
        for file in own:
            file.notification_id = stored.pk
    if any(files):
        Attachment.objects.bulk_create(file for own in files for file in own)


def claim(
    *,
    limit: int,
    ids: Sequence[int] | None = None,
    token: UUID | None = None,
    lapsed: bool = True,
    above: int | None = None,
) -> Claim:
    """Take up to `limit` due rows, the highest priority and then the longest due first; `ids`: only among these.

    Rows whose lease ran out are due too, unless `lapsed` says not to look for them. Nobody else gets a row of this
    claim before its lease ends. `token`: the caller's own, for several claims that he settles together. `above`: only
    rows of a higher priority than this one.
    """
    token = token or uuid4()
    # Each rank by itself: one look at all would walk over every row of a higher rank that is due only later.
    ranks = sorted((rank for rank in Notification.Rank if above is None or rank > above), reverse=True)
    if not ranks and not lapsed:
        return Claim(token)
    if connection.vendor == "postgresql":
        taken = postgres.claim(token, limit=limit, ids=ids, lapsed=lapsed, ranks=ranks, lease=LEASE)
        taken.sort(key=lambda one: (-one.row.priority, one.row.pk))
        # A late owner may have written attempts between the statement's snapshot and the row's lock.
        tried = _of(Attempt, [one.row.pk for one in taken if one.was_tried or lapsed])
        with_files = {one.row.pk for one in taken if one.has_files}
        return Claim(token, [one.row for one in taken], tried, with_files, taken[0].now if taken else None)
    rows = _claimed(token, limit, ids, lapsed, ranks)
    pks = [row.pk for row in rows]
    with_files = {pk for model in FILES for pk in children_of(model, pks).values_list("notification_id", flat=True)}
    return Claim(token, rows, _of(Attempt, pks), with_files, rows[0].database_now if rows else None)


def files_of(ids: Sequence[int]) -> dict[int, list[AttachedFile]]:
    """The files of these notifications, by their ids."""
    kept, transient = _of(Attachment, ids), _of(TransientAttachment, ids)
    return {pk: [*kept.get(pk, ()), *transient.get(pk, ())] for pk in {*kept, *transient}}


def _claimed(token: UUID, limit: int, ids: Sequence[int] | None, lapsed: bool, ranks: Sequence[int]) -> list[Any]:
    with transaction.atomic():
        taken: list[int] = []
        if lapsed:
            # Not the caller's own: he is late, but has them in his hands still.
            left = Notification.objects.filter(status=Status.SENDING, lease_until__lte=Now()).exclude(claim_token=token)
            taken += locked_ids(left.order_by("lease_until"), limit, ids)
        for rank in ranks:
            # A waiting one is no worker's: `receipts.miss_deadlines` queues it when its time is over.
            due = Notification.objects.filter(status=Status.QUEUED, priority=rank, due_at__lte=Now())
            taken += locked_ids(due.order_by("due_at"), limit - len(taken), ids)
        Notification.objects.filter(pk__among=taken).update(
            status=Status.SENDING, due_at=None, claim_token=token, lease_until=Now() + LEASE
        )
    rows = Notification.objects.filter(pk__among=taken, claim_token=token, status=Status.SENDING)
    return list(rows.select_related("recipient").annotate(database_now=Now()).order_by("-priority", "id"))


def _of(model: type[M], ids: Sequence[int]) -> dict[int, list[M]]:
    """What belongs to these rows, in its order, by their ids."""
    found: dict[int, list[M]] = {}
    for one in children_of(model, ids).order_by("id") if ids else ():
        found.setdefault(one.notification_id, []).append(one)
    return found


def locked_ids(rows: QuerySet[Notification], limit: int, ids: Sequence[int] | None = None) -> list[int]:
    """Their ids, locked against others where the database can; SQLite has one writer at a time anyway."""
    if limit <= 0:
        return []
    if ids is not None:
        rows = rows.filter(pk__among=ids)
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=True)
    return list(rows.values_list("pk", flat=True)[:limit])


def mark(claim: Claim, handed_over: Mapping[int, Sequence[int]]) -> set[int]:
    """Write that these rows (step -> ids) are about to be handed over.

    Returns the ids that may leave; the others have a new owner, were ended or acknowledged. After this
    statement a death of the worker means `unknown` for exactly these rows.
    """
    wanted = {pk: step for step, ids in handed_over.items() for pk in ids}
    if connection.vendor == "postgresql" and len(marked := postgres.mark(claim.token, wanted)) == len(wanted):
        return marked
    with transaction.atomic():
        renew(claim, list(wanted))  # whoever is late, but was not replaced yet, goes on
        ours = _held(claim).filter(acknowledged_at=None)
        for step, ids in handed_over.items():
            ours.filter(pk__among=ids).update(handover_step=step)
        return set(ours.filter(pk__among=list(wanted)).values_list("pk", flat=True))


def renew(claim: Claim, ids: Sequence[int]) -> int:
    """Begin the lease of these anew, as far as the claim's token holds them. Returns how many they are."""
    return _held(claim).filter(pk__among=ids).update(lease_until=Now() + LEASE)


def let_go(claim: Claim, held: Sequence[int]) -> None:
    """Leave what the claim's token holds beyond these, once its lease is over: the answer to a claim was lost."""
    _held(claim).filter(lease_until__lte=Now()).exclude(pk__among=held).update(claim_token=uuid4())


def _held(claim: Claim) -> QuerySet[Notification]:
    return Notification.objects.filter(claim_token=claim.token, status=Status.SENDING)


def settle(claim: Claim, settlements: Sequence[Settlement], *, again: bool = False) -> set[int]:
    """Write how these rows went, all of each at once; the moved ones leave our hands.

    Rows whose lease we lost in the meantime stay as their new owner left them. Returns the ids that were still ours.
    `again`: all this may be written already, and only the answer was lost. No attempt is appended twice.
    """
    if again or connection.vendor != "postgresql":
        return _settle_carefully(claim, settlements, again=again)
    if any(one.calls_back for one in settlements):
        with transaction.atomic():
            settled = _settle_undisturbed(claim, settlements)
            _announce([one for one in settlements if one.notification_id in settled])
    else:
        settled = _settle_undisturbed(claim, settlements)
    wakes.wake_after_commit()
    disturbed = [one for one in settlements if one.notification_id not in settled]
    return settled | _settle_carefully(claim, disturbed) if disturbed else settled


def _settle_undisturbed(claim: Claim, settlements: Sequence[Settlement]) -> set[int]:
    """Those that are ours and that nobody has acknowledged meanwhile."""
    moves = [(_written(move), ids) for move, ids in _grouped(settlements).items()]
    return postgres.settle(claim.token, moves, [attempt for one in settlements for attempt in one.attempts])


def _settle_carefully(claim: Claim, settlements: Sequence[Settlement], *, again: bool = False) -> set[int]:
    with transaction.atomic():
        held_rows = _held(claim).filter(pk__among=[settlement.notification_id for settlement in settlements])
        if connection.features.has_select_for_update:
            held_rows = held_rows.select_for_update()
        held = dict(held_rows.values_list("pk", "acknowledged_at"))
        # An acknowledgement that came meanwhile stops the chain, whatever the worker was about to do.
        stopped = Finish(Status.ACKNOWLEDGED)
        kept = [
            replace(one, move=stopped) if held[pk] else one
            for one in settlements
            if (pk := one.notification_id) in held
        ]
        attempts = [attempt for one in kept for attempt in one.attempts]
        Attempt.objects.bulk_create(_untold(attempts) if again else attempts)
        for move, ids in _grouped(kept).items():
            _held(claim).filter(pk__among=ids).update(**_written(move))
        # A row that goes back to the queue as it came, without an attempt, is no event.
        moved = (one for one in kept if one.move and (one.attempts or not isinstance(one.move, Wait)))
        events.record(one.notification_id for one in moved)
        _announce(kept)
    return set(held)


def _untold(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Those that are not on record: no row has two of one step that began in the same microsecond and ended alike."""
    gist = operator.attrgetter("notification_id", "step", "started_at", "outcome")
    stored = set(map(gist, children_of(Attempt, [attempt.notification_id for attempt in attempts])))
    return [attempt for attempt in attempts if gist(attempt) not in stored]


def _grouped(settlements: Sequence[Settlement]) -> dict[Wait | AwaitReceipt | Finish | None, list[int]]:
    """Rows that go the same way, so that a healthy batch is one statement."""
    groups: dict[Wait | AwaitReceipt | Finish | None, list[int]] = {}
    for one in settlements:
        groups.setdefault(one.move, []).append(one.notification_id)
    return groups


def _announce(settled: Sequence[Settlement]) -> None:
    callbacks.announce(
        one.notification_id for one in settled if one.calls_back and isinstance(one.move, AwaitReceipt | Finish)
    )


def place(row: Notification, move: Wait | AwaitReceipt | Finish) -> None:
    """Move a row that nobody has in his hands. The caller has locked it in his transaction."""
    Notification.objects.filter(pk=row.pk).exclude(status=Status.SENDING).update(**_written(move))
    if not (isinstance(move, Wait) and row.status == Status.QUEUED):
        events.record([row.pk])
    if row.callback_url and not isinstance(move, Wait):
        callbacks.announce([row.pk])


_OUT_OF_HANDS: dict[str, Any] = {"claim_token": None, "lease_until": None, "handover_step": None}
ENDED: dict[str, Any] = {**_OUT_OF_HANDS, "due_at": None, "credentials": None, "finished_at": Now()}


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
            return {**ENDED, **sent, "status": status, "failure_code": code if status is Status.FAILED else ""}
        case _:
            return {"handover_step": None}


def overdue_by() -> timedelta:
    """For how long the oldest due row has been due; zero when none is."""
    # Of each rank by itself, which is one look into `ledger_due`: of all at once would sort the whole backlog, 100,000
    # rows at every question of a load balancer.
    oldest = Notification.objects.filter(status__in=sorted(DUE)).order_by("due_at").values_list("due_at", Now())
    firsts = [oldest.filter(priority=rank).first() for rank in Notification.Rank]
    waits: list[timedelta] = [now - due_at for due_at, now in filter(None, firsts)]
    return max([timedelta(0), *waits])


def cancel(notification: Notification) -> bool:
    """Stop it. False: a worker has it, or it is final already."""
    with transaction.atomic():
        stopped = _moved(notification, DUE, {**ENDED, "status": Status.CANCELLED})
        if stopped:
            events.record([notification.pk])
        if stopped and notification.callback_url:
            callbacks.announce([notification.pk])
    return stopped


def retry(notification: Notification, credentials: bytes | None) -> bool:
    """Queue a failed one again with every step alive, with a new lifetime where the old is over. False: not failed."""
    lifetime = Case(When(expires_at__lte=Now(), then=Now() + Value(settings.NOTIFICATION_TTL)), default=F("expires_at"))
    again: dict[str, Any] = {
        "status": Status.QUEUED,
        "failure_code": "",
        "due_at": Now(),
        "finished_at": None,
        "expires_at": lifetime,
        "round": F("round") + 1,
        "first_round": F("round") + 1,
        "credentials": credentials,
    }
    with transaction.atomic():
        revived = _moved(notification, [Status.FAILED], again)
        if revived:
            events.record([notification.pk])
    return revived


def _moved(notification: Notification, sources: Iterable[Status], values: dict[str, Any]) -> bool:
    """The row itself decides a race: the update happens only from one of these statuses."""
    return bool(Notification.objects.filter(pk=notification.pk, status__in=list(sources)).update(**values))


def follow(recipient: Recipient, moved_to: str) -> None:
    """The provider says that this person's Telegram chat moved for good. A newer change by the client stays."""
    Recipient.objects.filter(pk=recipient.pk, telegram_chat_id=recipient.telegram_chat_id).update(
        telegram_chat_id=moved_to
    )


def children_of(model: type[Model], ids: Sequence[int]) -> QuerySet[Any]:
    """The rows of this table that belong to these notifications."""
    return model._default_manager.filter(notification_id__among=ids)


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
    # One statement, so that the sums agree also while the service is at work. In two halves, since the first reads one
    # index, and only the second, of few rows, the table: of 5,000,000 rows 0.7 s, and 2.5 s in one.
    by_word = rows.order_by().values_list("status")
    open_ones = by_word.filter(status__in=sorted(OPEN))
    counted = by_word.annotate(count=Count("pk"), found=Value(0)).union(
        open_ones.filter(due | leased).annotate(count=Value(0), found=Count("pk")), all=True
    )
    by_status: dict[str, int] = {}
    live = 0
    for status, count, found in counted:
        by_status[status] = by_status.get(status, 0) + count
        live += found
    finished = sum(count for status, count in by_status.items() if status in FINAL)
    astray = []
    if live + finished < sum(by_status.values()):
        astray = list(rows.filter(status__in=sorted(OPEN)).exclude(due | leased).values_list("pk", flat=True))
    return Audit(by_status, finished, live, astray)


def of(organization: Organization) -> QuerySet[Notification]:
    """The notifications of one organization: where every view begins."""
    return Notification.objects.filter(organization=organization)
