"""The ledger's life at random: three workers, clients, providers and the clock do what they can, in any order.

Time passes by moving what the rows say of it into the past, so that a day costs nothing. Whatever happens is compared
with what was there before: nothing may change but what the doer had in his hands.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from queue import SimpleQueue
from typing import Any, ClassVar

import pytest
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from channels.base import Receipt
from channels.errors import PermanentError, TemporaryError, UnknownOutcomeError
from notifier import delivery, erasure, errands, idempotency, intake, ledger, receipts
from notifier.breaker import Breaker
from notifier.errands import Errand, Handover
from notifier.ledger import Claim
from notifier.models import Attempt, Notification, Organization, Recipient
from notifier.states import FINAL, MOVES, Status
from tests.conftest import FakeRegistry
from tests.notifier.rows import EVERYWHERE, organization

Rows = dict[int, dict[str, Any]]
CHANNELS = ["email", "sms", "telegram"]
STEPS = some.lists(
    some.fixed_dictionaries(
        {"channel": some.sampled_from(CHANNELS)},
        optional={
            "until": some.sampled_from(["accepted", "delivered", "acknowledged"]),
            "within": some.sampled_from([0, 6, 60]),
        },
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda step: step["channel"],
)
OWN_ACCOUNT = {"smtp_user": "ann@example.com", "smtp_password": "canary"}
KEYS = some.sampled_from(["", "", "first", "second"])
ENDS: dict[str, Callable[[], Exception] | None] = {
    "accepted": None,
    "temporary": lambda: TemporaryError("busy"),
    "permanent": lambda: PermanentError("no"),
    "unknown": lambda: UnknownOutcomeError("no answer"),
}
MOMENTS = ("due_at", "lease_until", "expires_at", "created_at", "sent_at", "finished_at", "acknowledged_at")
LASTING = ("id", "step", "round", "channel", "outcome", "code")  # of an attempt, whatever comes later

LATER = {
    Status.SENT: {Status.DELIVERED, Status.QUEUED, Status.FAILED},
    Status.DELIVERED: {Status.QUEUED, Status.FAILED},
    Status.FAILED: {Status.DELIVERED},
}
LEFT: dict[str, dict[Status, set[Status]]] = {  # who may move a final row, and where to
    "receipt": LATER,
    "kept receipts": {**LATER, Status.FAILED: {Status.DELIVERED, Status.QUEUED}},  # two of one row: one after the other
    "acknowledge": {old: {Status.ACKNOWLEDGED} for old in LATER},
    "retry": {Status.FAILED: {Status.QUEUED}},
}


@dataclass
class Worker:
    """One process: what it has claimed, and which of its messages are on their way."""

    ready: list[Errand] = field(default_factory=list)
    flying: list[Handover] = field(default_factory=list)

    @property
    def errands(self) -> list[Errand]:
        return [*self.ready, *(handover.errand for handover in self.flying)]


class LedgerMachine(RuleBasedStateMachine):
    """Run it in a test's transaction, with `fakes` as the channels."""

    fakes: ClassVar[FakeRegistry]

    def __init__(self) -> None:
        super().__init__()
        self.before_all = transaction.savepoint()
        self.owner: Organization = organization()
        self.people = [Recipient.objects.create(organization=self.owner, **EVERYWHERE) for _ in range(2)]
        self.workers = [Worker() for _ in range(3)]
        self.known: dict[str, tuple[dict[str, Any], int]] = {}
        self.promised: set[int] = set()
        self.out_there: dict[tuple[int, str, int], int] = {}  # (row, channel, life) -> may have arrived so often
        self.steps_of: dict[tuple[int, int], list[int]] = {}  # (row, round) -> the steps that were handed over
        self.provider_ids: list[tuple[str, str]] = []
        self.rows: Rows = {}
        self.stories: dict[int, list[tuple[Any, ...]]] = {}

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.everything_comes_to_an_end()
        finally:
            transaction.savepoint_rollback(self.before_all)

    # --- Clients -----------------------------------------------------------------------------------------------------
    @precondition(lambda self: len(self.promised) < 5)
    @rule(
        steps=STEPS,
        on_unknown=some.sampled_from(["next", "retry", "stop"]),
        stored=some.booleans(),
        own_account=some.booleans(),
        key=KEYS,
    )
    def post(self, steps: list[Any], on_unknown: str, stored: bool, own_account: bool, key: str) -> None:
        if key in self.known:
            return
        body: dict[str, Any] = {"message": "Hello", "channels": steps, "on_unknown": on_unknown}
        body |= {"user_id": self.people[-1].pk} if stored and self.people else {"to": EVERYWHERE}
        body |= OWN_ACCOUNT if own_account else {}
        rows, replayed = intake.once(self.owner, key, body, lambda: [intake.accept(self.owner, body, ring=False)])
        assert not replayed
        self.promised.add(rows[0].pk)
        if key:
            self.known[key] = (body, rows[0].pk)
        self.look("post", {rows[0].pk})

    @precondition(lambda self: self.known)
    @rule(data=some.data(), same=some.booleans())
    def post_again(self, data: some.DataObject, same: bool) -> None:
        key = data.draw(some.sampled_from(sorted(self.known)))
        body, pk = self.known[key]
        again = body if same else {**body, "message": "Another"}

        def repeat() -> tuple[Sequence[Any], bool]:
            return intake.once(self.owner, key, again, lambda: [intake.accept(self.owner, again, ring=False)])

        if same:
            rows, replayed = repeat()
            assert ([row.pk for row in rows], replayed) == ([pk], True)
        else:
            with pytest.raises(idempotency.KeyReusedError):
                repeat()
        self.look("post", ())

    @precondition(lambda self: self.promised)
    @rule(data=some.data(), verb=some.sampled_from(["cancel", "retry", "acknowledge"]))
    def client_says(self, data: some.DataObject, verb: str) -> None:
        row = self.any_row(data)
        status, life = Status(row.status), row.first_round
        if verb == "cancel":
            assert ledger.cancel(row) is (status in {Status.QUEUED, Status.WAITING})
        elif verb == "retry":
            assert ledger.retry(row, None) is (status is Status.FAILED)
        else:
            assert receipts.acknowledge(row) is (status not in {Status.CANCELLED, Status.EXPIRED})
        self.look(verb, {row.pk})
        assert self.rows[row.pk]["first_round"] == life or verb == "retry"

    @precondition(lambda self: len(self.promised) > 2 and self.people)
    @rule()
    def erase(self) -> None:
        person = self.people.pop()
        theirs = set(Notification.objects.filter(recipient=person).values_list("pk", flat=True))
        erasure.erase(person)
        self.look("erase", theirs)
        for pk in theirs:
            assert self.rows[pk]["status"] in FINAL
            assert (self.rows[pk]["message"], self.rows[pk]["recipient_id"]) == ("", None)
        assert not Attempt.objects.filter(notification__in=theirs).exclude(detail="", provider_id="").exists()

    # --- Workers -----------------------------------------------------------------------------------------------------
    @precondition(lambda self: self.promised)
    @rule(which=some.integers(0, 2), limit=some.integers(1, 3))
    def claim_some(self, which: int, limit: int) -> None:
        self.claim(which, limit)

    def claim(self, which: int, limit: int) -> None:
        self.kept_receipts()
        waiting = {pk for pk, row in self.rows.items() if row["status"] == Status.WAITING}
        receipts.miss_deadlines()
        self.look("settle", waiting)
        claim = ledger.claim(limit=limit)
        taken = {row.pk for row in claim.rows}
        for row in claim.rows:
            before = self.rows[row.pk]
            freed_at = before["lease_until"] if before["status"] == Status.SENDING else before["due_at"]
            assert freed_at is not None
            assert claim.claimed_at is not None
            assert freed_at <= claim.claimed_at, "it was in somebody's hands, or not due"
        self.look("claim", taken)
        assert {pk for pk, row in self.rows.items() if row["claim_token"] == claim.token} == taken
        self.workers[which].ready += [errands.errand_of(row, claim) for row in claim.rows]

    @precondition(lambda self: self.promised)
    @rule(which=some.integers(0, 2), ends=some.lists(some.sampled_from(sorted(ENDS)), min_size=1, max_size=4))
    def pass_through(self, which: int, ends: list[str]) -> None:
        """Nobody disturbs this worker for a while."""
        worker = self.workers[which]
        self.claim(which, limit=3)
        for end in ends:
            for errand in worker.ready[:]:
                worker.ready.remove(errand)
                self._move_along(worker, errand)
            for handover in worker.flying[:]:
                worker.flying.remove(handover)
                self._answer(worker, handover, end)

    @precondition(lambda self: any(worker.ready for worker in self.workers))
    @rule(data=some.data())
    def move_along(self, data: some.DataObject) -> None:
        worker = data.draw(some.sampled_from([one for one in self.workers if one.ready]))
        self._move_along(worker, worker.ready.pop(data.draw(some.integers(0, len(worker.ready) - 1))))

    def _move_along(self, worker: Worker, errand: Errand) -> None:
        pk, claim = errand.row.pk, errand.claim
        move = errands.advance(errand, Breaker())
        handover = move if isinstance(move, Handover) else None
        ours = self.is_ours(pk, claim)
        if handover is None or errand.unwritten:
            written = errand.settlement(None if handover else move)  # type: ignore[arg-type]
            assert ledger.settle(claim, [written]) == ({pk} if ours else set())
            self.look("settle", {pk} if ours else ())
        if handover is None:
            return
        ours = self.is_ours(pk, claim)
        marked = ledger.mark(claim, {handover.step: [pk]})
        assert marked == ({pk} if ours else set())
        self.look("mark", {row for row in self.rows if self.is_ours(row, claim)})
        if marked:
            self.check_hand_over(handover)
            worker.flying.append(handover)

    @precondition(lambda self: any(worker.flying for worker in self.workers))
    @rule(data=some.data(), end=some.sampled_from(sorted(ENDS)))
    def provider_answers(self, data: some.DataObject, end: str) -> None:
        worker = data.draw(some.sampled_from([one for one in self.workers if one.flying]))
        self._answer(worker, worker.flying.pop(data.draw(some.integers(0, len(worker.flying) - 1))), end)

    def _answer(self, worker: Worker, handover: Handover, end: str) -> None:
        fake, error = self.fakes[handover.channel], ENDS[end]
        if error is None:
            self.provider_ids.append((handover.channel, f"message-{len(self.provider_ids)}"))
            fake.answer_next(Receipt(provider_id=self.provider_ids[-1][1]))
        else:
            fake.fail_next(error())
        answers: SimpleQueue[errands.Answer] = SimpleQueue()
        errands.hand_over(handover, answers.put)
        answer = answers.get(timeout=30)
        if end in {"temporary", "permanent"}:
            self.out_there[self.copy_of(handover)] -= 1
        handover.errand.record(answer.attempt)
        self._move_along(worker, handover.errand)

    @precondition(lambda self: self.in_hands())
    @rule(which=some.integers(0, 2), noticed=some.booleans())
    def die(self, which: int, noticed: bool) -> None:
        """Before, during or after its hand-overs: what flies may arrive or not. `noticed`: its leases are over."""
        worker, self.workers[which] = self.workers[which], Worker()
        if noticed:
            self.let_lapse(worker.errands)

    @precondition(lambda self: self.in_hands())
    @rule(which=some.integers(0, 2))
    def fall_asleep(self, which: int) -> None:
        """For longer than a lease; it wakes up late, with an old token."""
        worker = self.workers[which]
        self.let_lapse(worker.errands)

    # --- Providers and the clock -------------------------------------------------------------------------------------
    @precondition(lambda self: self.provider_ids)
    @rule(data=some.data(), kind=some.sampled_from(["delivered", "read", "bounced", "complained"]))
    def receipt(self, data: some.DataObject, kind: str) -> None:
        channel, provider_id = data.draw(some.sampled_from(self.provider_ids))
        receipts.take(channel, provider_id, receipts.Kind(kind))
        told = Attempt.objects.filter(provider_id=provider_id).values_list("notification_id", flat=True)
        self.look("receipt", set(told))

    @precondition(lambda self: self.provider_ids)
    @rule()
    def kept_receipts(self) -> None:
        for channel, provider_id in self.provider_ids:
            receipts.apply_kept(provider_id)
            told = Attempt.objects.filter(provider_id=provider_id, channel=channel)
            self.look("kept receipts", set(told.values_list("notification_id", flat=True)))

    @rule(seconds=some.sampled_from([1, 6, 31, 31, 200, 4000, 90000]))
    def time_passes(self, seconds: int) -> None:
        span = timedelta(seconds=seconds)
        Notification.objects.update(**{name: F(name) - span for name in MOMENTS})
        Attempt.objects.update(started_at=F("started_at") - span)
        for errand in self.in_hands():
            for name in MOMENTS:
                if moment := getattr(errand.row, name):
                    setattr(errand.row, name, moment - span)
            errand.tries = [
                replace(one, started_at=one.started_at - span, ended_at=one.ended_at - span) for one in errand.tries
            ]
        self.look("time", set(self.rows))

    # --- What is always true -----------------------------------------------------------------------------------------
    @invariant()
    def everybody_who_was_promised_is_reachable(self) -> None:
        assert set(self.rows) == self.promised
        audit = ledger.audit()
        assert (audit.astray, audit.accepted) == ([], len(self.promised))
        for row in self.rows.values():
            held = row["lease_until"] is not None and row["claim_token"] is not None
            assert [row["status"] in FINAL, row["due_at"] is not None, held].count(True) == 1

    @invariant()
    def what_has_ended_keeps_no_credentials(self) -> None:
        for row in self.rows.values():
            assert row["status"] not in FINAL or row["credentials"] is None
            assert b"canary" not in bytes(row["credentials"] or b"")

    def look(self, doer: str, touched: Collection[int]) -> None:
        """Compare with what was seen before: only these may have changed, and only as this doer may."""
        rows: Rows = {row["id"]: dict(row) for row in Notification.objects.values()}
        stories: dict[int, list[tuple[Any, ...]]] = {pk: [] for pk in rows}
        for pk, *lasting in Attempt.objects.order_by("id").values_list("notification_id", *LASTING):
            stories[pk].append(tuple(lasting))
        for pk, before in self.rows.items():
            after, old, new = rows[pk], Status(before["status"]), Status(rows[pk]["status"])
            assert stories[pk][: len(self.stories[pk])] == self.stories[pk], "what happened was rewritten"
            if pk not in touched:
                assert (after, stories[pk]) == (before, self.stories[pk]), f"{doer} changed what was not in his hands"
            assert after["round"] >= before["round"]
            assert after["key"] == before["key"]
            if old in FINAL and new is not old:
                assert new in LEFT.get(doer, {}).get(old, set()), f"{doer}: {old} -> {new}"
            elif new is not old and doer != "run":  # that is many moves, one after the other
                erased = doer == "erase" and new is Status.CANCELLED
                assert new in MOVES[old] or erased, f"{doer}: {old} -> {new}"
        self.rows, self.stories = rows, stories

    def check_hand_over(self, handover: Handover) -> None:
        """A message leaves: not out of turn, not by a dead step, and a second time only where the first is unknown."""
        row, step = handover.errand.row, handover.step
        turn = self.steps_of.setdefault((row.pk, row.round), [])
        assert turn == [] or turn[-1] <= step, "an earlier step came after a later one"
        turn.append(step)
        own = list(Attempt.objects.filter(notification=row, step=step, round__gte=row.first_round).order_by("id"))
        assert not [one for one in own if one.outcome in {"failed", "skipped"} and not one.temporary], "it was dead"
        assert not own or own[-1].outcome != "accepted", "it had been accepted"
        unknown = [one for one in own if one.outcome == "unknown"]
        assert len(unknown) <= (1 if row.on_unknown == "retry" else 0), "it may have arrived"
        copy = self.copy_of(handover)
        assert not self.out_there.get(copy) or unknown, "a double, and no unknown attempt on record"
        self.out_there[copy] = self.out_there.get(copy, 0) + 1
        assert handover.message.reference == row.key.hex
        assert row.acknowledged_at is None, "the person had confirmed before it was claimed"
        assert handover.account.origin == ("request" if row.own_account and step_is_mail(handover) else "default")

    def everything_comes_to_an_end(self) -> None:
        """From here on nothing fails: whatever happened, everybody who was promised comes to an end within a day."""
        for _ in range(30):
            Notification.objects.filter(status=Status.SENDING).update(lease_until=Now() - timedelta(seconds=1))
            delivery.deliver_due()
            if not Notification.objects.exclude(status__in=FINAL).exists():
                break
            self.look("run", set(self.rows))
            self.time_passes(3600)
        self.look("run", set(self.rows))
        assert {row["status"] for row in self.rows.values()} <= FINAL
        assert all(row["credentials"] is None for row in self.rows.values())

    # --- Helpers -----------------------------------------------------------------------------------------------------
    def in_hands(self) -> list[Errand]:
        return [errand for worker in self.workers for errand in worker.errands]

    def any_row(self, data: some.DataObject) -> Notification:
        return Notification.objects.get(pk=data.draw(some.sampled_from(sorted(self.promised))))

    def is_ours(self, pk: int, claim: Claim) -> bool:
        """By what the table says."""
        return bool(self.rows[pk]["claim_token"] == claim.token)

    def let_lapse(self, held: Iterable[Errand]) -> None:
        """Of what is still theirs."""
        tokens = {errand.claim.token for errand in held}
        lapsed = Notification.objects.filter(claim_token__in=tokens)
        touched = set(lapsed.values_list("pk", flat=True))
        lapsed.update(lease_until=Now() - timedelta(seconds=1))
        self.look("time", touched)

    @staticmethod
    def copy_of(handover: Handover) -> tuple[int, str, int]:
        row = handover.errand.row
        return row.pk, handover.channel, row.first_round


def step_is_mail(handover: Handover) -> bool:
    return handover.channel == "email"
