"""The life of a row in the ledger: claimed, marked, settled by its owner and by nobody else."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from notifier import ledger, vault
from notifier.chain import AwaitReceipt, Finish, Wait
from notifier.ledger import Claim, Settlement
from notifier.models import Attempt, Notification
from notifier.states import FINAL, Outcome, Status
from tests.notifier.rows import change, in_state, let_lease_lapse, stored, story

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)
LOW, NORMAL, HIGH = Notification.Rank.LOW, Notification.Rank.NORMAL, Notification.Rank.HIGH


def attempt(row: Notification, **fields: Any) -> Attempt:
    """An accepted try of the first step, not stored yet."""
    values: dict[str, Any] = {
        "notification_id": row.pk,
        "step": 0,
        "round": row.round,
        "channel": "email",
        "outcome": Outcome.ACCEPTED,
        "started_at": timezone.now(),
    }
    return Attempt(**{**values, **fields})


def finish(claim: Claim, row: Notification, move: Any = None) -> set[int]:
    """Settle it with one accepted attempt."""
    return ledger.settle(claim, [Settlement(row.pk, [attempt(row)], move or Finish(Status.SENT))])


# --- Claim -----------------------------------------------------------------------------------------------------------
def test_the_highest_priority_goes_first_then_what_is_due_for_longest() -> None:
    due = {
        name: stored(priority=priority, due_at=Now() - since * SECOND)
        for name, priority, since in [
            ("low, old", LOW, 3600),
            ("normal, young", NORMAL, 1),
            ("high, young", HIGH, 1),
            ("normal, old", NORMAL, 60),
            ("high, old", HIGH, 2),
        ]
    }
    names = {row.pk: name for name, row in due.items()}
    order = [names[ledger.claim(limit=1).rows[0].pk] for _ in due]
    assert order == ["high, old", "high, young", "normal, old", "normal, young", "low, old"]
    assert not ledger.claim(limit=1).rows


def test_a_claim_is_bounded_and_has_its_highest_priority_first() -> None:
    stored(priority=LOW), stored(priority=HIGH), stored()
    claim = ledger.claim(limit=2)
    assert [row.priority for row in claim.rows] == [HIGH, NORMAL]
    assert not ledger.claim(limit=0).rows


def test_a_claim_among_some_takes_no_other() -> None:
    wanted, other = stored(), stored(priority=HIGH)
    assert [row.pk for row in ledger.claim(limit=9, ids=[wanted.pk]).rows] == [wanted.pk]
    assert [row.pk for row in ledger.claim(limit=9).rows] == [other.pk]
    assert not ledger.claim(limit=9, ids=[]).rows


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.QUEUED, Status.WAITING}))
def test_what_is_final_or_in_a_workers_hands_is_not_claimed(status: Status) -> None:
    stored(**in_state(status))
    assert not ledger.claim(limit=9).rows


def test_what_is_due_later_is_not_claimed() -> None:
    stored(due_at=Now() + timedelta(minutes=1))
    assert not ledger.claim(limit=9).rows


def test_a_claimed_row_has_a_token_a_lease_and_no_due_date() -> None:
    row = stored()
    claim = ledger.claim(limit=9)
    row.refresh_from_db()
    assert (row.status, row.due_at, row.claim_token) == (Status.SENDING, None, claim.token)
    assert row.lease_until is not None
    assert claim.claimed_at is not None
    assert abs(row.lease_until - claim.claimed_at - ledger.LEASE) < SECOND


def test_a_waiting_row_is_never_claimed_not_even_at_its_deadline() -> None:
    stored(**{**in_state(Status.WAITING), "due_at": Now() - SECOND})
    assert not ledger.claim(limit=9).rows


def test_a_claim_knows_the_databases_time_and_counts_on_by_itself() -> None:
    stored()
    claim = ledger.claim(limit=1)
    assert claim.claimed_at is not None
    assert timedelta(0) <= claim.now() - claim.claimed_at < SECOND
    with pytest.raises(ValueError, match="no time"):
        ledger.claim(limit=1).now()


def test_the_databases_clock_decides_not_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    due, later = stored(), stored(due_at=Now() + timedelta(hours=1))
    right = timezone.now()
    for hours in (-48, 48):
        wrong = right + timedelta(hours=hours)
        monkeypatch.setattr(timezone, "now", lambda wrong=wrong: wrong)
        claim = ledger.claim(limit=9)
        assert [row.pk for row in claim.rows] == [due.pk]
        assert abs(claim.now() - wrong) > timedelta(hours=47)
        ledger.settle(claim, [Settlement(due.pk, [], Wait(claim.now() - SECOND, 0))])
    later.refresh_from_db()
    assert later.status == Status.QUEUED


# --- Lease and token -------------------------------------------------------------------------------------------------
def test_a_lapsed_lease_is_taken_back_and_another_worker_goes_on() -> None:
    row = stored()
    first = ledger.claim(limit=9)
    assert not ledger.claim(limit=9).rows
    let_lease_lapse(row)
    second = ledger.claim(limit=9)
    assert [claimed.pk for claimed in second.rows] == [row.pk]
    assert second.token != first.token


def test_a_worker_that_wakes_up_late_changes_nothing() -> None:
    row = stored()
    late = ledger.claim(limit=9)
    let_lease_lapse(row)
    owner = ledger.claim(limit=9)
    before = Notification.objects.values().get(pk=row.pk)

    assert ledger.mark(late, {0: [row.pk]}) == set()
    assert not ledger.renew(late, [row.pk])
    assert finish(late, row) == set()
    assert Notification.objects.values().get(pk=row.pk) == before
    assert story(row) == []

    assert finish(owner, row) == {row.pk}
    after = Notification.objects.values().get(pk=row.pk)
    assert finish(late, row, Finish(Status.FAILED, "rejected")) == set()
    assert Notification.objects.values().get(pk=row.pk) == after
    assert story(row) == [("email", "accepted")]


def test_a_settlement_writes_only_the_rows_that_are_still_ours() -> None:
    ours, lost = stored(), stored()
    claim = ledger.claim(limit=9)
    let_lease_lapse(lost)
    ledger.claim(limit=9)
    settled = ledger.settle(
        claim, [Settlement(row.pk, [attempt(row), attempt(row)], Finish(Status.SENT)) for row in (ours, lost)]
    )
    assert settled == {ours.pk}
    assert Attempt.objects.filter(notification=ours).count() == 2
    assert not Attempt.objects.filter(notification=lost).exists()


def test_a_lapsed_lease_is_still_ours_while_nobody_took_the_row() -> None:
    row = stored()
    claim = ledger.claim(limit=9)
    let_lease_lapse(row)
    assert ledger.mark(claim, {1: [row.pk]}) == {row.pk}
    row.refresh_from_db()
    assert row.handover_step == 1
    assert not ledger.claim(limit=9).rows  # marking began the lease anew


def test_marking_says_which_step_of_which_rows_is_handed_over() -> None:
    rows = [stored() for _ in range(4)]
    claim = ledger.claim(limit=9)
    ids = [row.pk for row in rows]
    assert ledger.mark(claim, {0: ids[:2], 2: ids[2:3]}) == set(ids[:3])
    for row, step in zip(rows, [0, 0, 2, None], strict=True):
        row.refresh_from_db()
        assert row.handover_step == step


# --- Settle ----------------------------------------------------------------------------------------------------------
def test_a_row_that_stays_in_our_hands_keeps_its_attempts_and_its_claim() -> None:
    row = stored()
    claim = ledger.claim(limit=9)
    ledger.mark(claim, {0: [row.pk]})
    ledger.settle(claim, [Settlement(row.pk, [attempt(row)], None)])
    row.refresh_from_db()
    assert (row.status, row.claim_token, row.handover_step) == (Status.SENDING, claim.token, None)
    assert story(row) == [("email", "accepted")]


def test_where_a_row_goes_from_a_workers_hands() -> None:
    until = timezone.now().replace(microsecond=0) + timedelta(minutes=1)
    moves: dict[Status, Any] = {
        Status.QUEUED: Wait(until, 3),
        Status.WAITING: AwaitReceipt(0, until),
        Status.SENT: Finish(Status.SENT),
        Status.FAILED: Finish(Status.FAILED, "rejected"),
        Status.EXPIRED: Finish(Status.EXPIRED),
    }
    rows = {status: stored() for status in moves}
    claim = ledger.claim(limit=9)
    ledger.mark(claim, {0: [row.pk for row in rows.values()]})
    ledger.settle(claim, [Settlement(rows[status].pk, [], move) for status, move in moves.items()])
    for status, row in rows.items():
        row.refresh_from_db()
        final = status in FINAL
        assert row.status == status
        assert (row.claim_token, row.lease_until, row.handover_step) == (None, None, None)
        assert row.due_at == (None if final else until)
        assert (row.finished_at is not None) == final
        assert (row.sent_at is not None) == (status in {Status.SENT, Status.WAITING})
        assert row.failure_code == ("rejected" if status is Status.FAILED else "")
        assert row.round == (3 if status is Status.QUEUED else 0)


def test_a_settlement_costs_the_same_whatever_its_size(django_assert_num_queries: Any) -> None:
    for size in (2, 20):
        rows = [stored() for _ in range(size)]
        claim = ledger.claim(limit=size)
        settlements = [Settlement(row.pk, [attempt(row)], Finish(Status.SENT)) for row in rows]
        # One statement; where there are no such: savepoint, lock, attempts, rows, read and write the events, release.
        with django_assert_num_queries(1 if connection.vendor == "postgresql" else 7):
            ledger.settle(claim, settlements)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_credentials_are_wiped_at_every_final_status(status: Status) -> None:
    row = stored(own_account=True, credentials=vault.seal({"user": "ann", "password": "secret"}))
    if status is Status.CANCELLED:
        assert ledger.cancel(row)
    else:
        claim = ledger.claim(limit=9)
        code = "rejected" if status is Status.FAILED else ""
        ledger.settle(claim, [Settlement(row.pk, [], Finish(status, code))])
    row.refresh_from_db()
    assert (row.status, row.credentials, row.own_account) == (status, None, True)


@pytest.mark.parametrize("move", [Wait(timezone.now(), 1), AwaitReceipt(0, timezone.now())])
def test_credentials_are_kept_while_there_is_work_to_do(move: Wait | AwaitReceipt) -> None:
    row = stored(own_account=True, credentials=b"sealed")
    finish(ledger.claim(limit=9), row, move)
    row.refresh_from_db()
    assert bytes(row.credentials or b"") == b"sealed"


# --- Due -------------------------------------------------------------------------------------------------------------
def test_the_oldest_due_row_says_how_late_we_are() -> None:
    assert ledger.overdue_by() == timedelta(0)
    stored(due_at=Now() + timedelta(hours=1))
    assert ledger.overdue_by() == timedelta(0)
    stored(due_at=Now() - timedelta(minutes=5))
    stored(due_at=Now() - timedelta(minutes=2), priority=HIGH)
    stored(**in_state(Status.SENT))
    assert timedelta(minutes=5) <= ledger.overdue_by() < timedelta(minutes=6)


def test_a_row_in_a_workers_hands_is_not_overdue() -> None:
    change(stored(due_at=Now() - timedelta(minutes=5)), **{**in_state(Status.SENDING), "claim_token": uuid4()})
    assert ledger.overdue_by() == timedelta(0)
