"""Whole batches in one statement: what a claim brings, which of many may leave, and how many go their ways at once."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from notifier import erasure, ledger, receipts
from notifier.chain import AwaitReceipt, Finish, Wait
from notifier.ledger import Settlement
from notifier.models import Attachment, Notification
from notifier.states import Outcome, Status
from tests.notifier.rows import let_lease_lapse, person, stored, story
from tests.notifier.test_ledger import attempt

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)
LOW, NORMAL, HIGH = Notification.Rank.LOW, Notification.Rank.NORMAL, Notification.Rank.HIGH


# --- Claim -----------------------------------------------------------------------------------------------------------
def test_a_claim_brings_the_person_the_attempts_in_their_order_and_the_files() -> None:
    ann = person()
    rows = [stored(recipient=ann), stored(), stored()]
    first = ledger.claim(limit=9)
    tried = [attempt(rows[0], outcome=Outcome.SKIPPED, temporary=True, code=f"code {n}") for n in range(3)]
    ledger.settle(first, [Settlement(row.pk, [], Wait(first.now() - SECOND, 1)) for row in rows[1:]])
    ledger.settle(first, [Settlement(rows[0].pk, tried, Wait(first.now() - SECOND, 1))])
    Attachment.objects.create(notification=rows[1], filename="b.txt", content_type="text/plain", content=b"b\x00")
    Attachment.objects.create(notification=rows[1], filename="a.txt", content_type="text/plain", content=b"a")

    for lapsed in (False, True):
        claim = ledger.claim(limit=9, lapsed=lapsed)
        assert [(row.pk, row.recipient) for row in claim.rows] == [
            (rows[0].pk, ann), (rows[1].pk, None), (rows[2].pk, None)
        ]  # fmt: skip
        assert {pk: [one.code for one in found] for pk, found in claim.attempts.items()} == {
            rows[0].pk: ["code 0", "code 1", "code 2"]
        }
        assert set(claim.with_files) == {rows[1].pk}
        files = ledger.files_of([row.pk for row in rows])
        assert {pk: [(one.filename, bytes(one.content)) for one in found] for pk, found in files.items()} == {
            rows[1].pk: [("b.txt", b"b\x00"), ("a.txt", b"a")]
        }
        ledger.settle(claim, [Settlement(row.pk, [], Wait(claim.now() - SECOND, 1)) for row in rows])


def test_a_claimed_row_is_as_a_query_would_give_it() -> None:
    row = stored(
        recipient=person(name="Ann"), template="welcome", forms={"a": [1, None]}, metadata={"b": "\u00fc"},
        own_account=True, credentials=b"\x00sealed", send_at=Now(), reference="r", html="<p>%s {} '",
    )  # fmt: skip
    claimed = ledger.claim(limit=1).rows[0]
    read = Notification.objects.select_related("recipient").get(pk=row.pk)
    for field in Notification._meta.concrete_fields:
        assert getattr(claimed, field.attname) == getattr(read, field.attname), field.attname
    assert claimed.recipient is not None
    assert claimed.recipient.name == "Ann"
    assert not claimed.get_deferred_fields()


def test_a_claim_above_a_priority_takes_only_what_is_higher() -> None:
    rows = {priority: stored(priority=priority) for priority in (LOW, NORMAL, HIGH)}
    for lapsed in (True, False):
        assert not ledger.claim(limit=9, above=HIGH, lapsed=lapsed).rows
    assert [row.pk for row in ledger.claim(limit=9, above=NORMAL).rows] == [rows[HIGH].pk]
    assert [row.pk for row in ledger.claim(limit=9, above=LOW).rows] == [rows[NORMAL].pk]


def test_a_claim_looks_for_lapsed_leases_where_it_is_asked_to_and_never_takes_the_callers_own() -> None:
    row = stored()
    ours = ledger.claim(limit=9)
    let_lease_lapse(row)
    assert not ledger.claim(limit=9, lapsed=False).rows
    assert not ledger.claim(limit=9, token=ours.token).rows
    assert not ledger.claim(limit=9, ids=[row.pk + 1]).rows
    assert [found.pk for found in ledger.claim(limit=9, ids=[row.pk]).rows] == [row.pk]


# --- Mark and renew --------------------------------------------------------------------------------------------------
def test_only_what_is_ours_and_not_confirmed_may_leave() -> None:
    ann = person()
    free, confirmed, erased, lapsed, taken = rows = [stored(), stored(), stored(recipient=ann), stored(), stored()]
    claim = ledger.claim(limit=9)
    let_lease_lapse(taken)
    other = ledger.claim(limit=9)
    receipts.acknowledge(confirmed)
    erasure.erase(ann)
    let_lease_lapse(lapsed)
    assert ledger.mark(claim, {1: [row.pk for row in rows]}) == {free.pk, lapsed.pk}
    for row in rows:
        row.refresh_from_db()
    assert (taken.claim_token, taken.handover_step) == (other.token, None)
    assert (erased.status, erased.handover_step) == (Status.CANCELLED, None)
    assert [row.handover_step for row in (free, lapsed)] == [1, 1]


def test_only_what_is_in_hand_is_renewed_and_what_nobody_knows_of_can_be_found() -> None:
    known, forgotten = stored(), stored()
    claim = ledger.claim(limit=9)
    for row in (known, forgotten):
        let_lease_lapse(row)
    assert ledger.renew(claim, [known.pk]) == 1
    ledger.let_go(claim, [known.pk])
    assert [row.pk for row in ledger.claim(limit=9, token=claim.token).rows] == [forgotten.pk]
    known.refresh_from_db()
    assert known.claim_token == claim.token

    ledger.let_go(claim, [])  # while its lease lasts it is his who has it
    known.refresh_from_db()
    assert known.claim_token == claim.token


# --- Settle ----------------------------------------------------------------------------------------------------------
def test_the_attempts_of_many_rows_keep_their_order() -> None:
    rows = [stored() for _ in range(5)]
    claim = ledger.claim(limit=9)
    moves: list[Any] = [None, Finish(Status.SENT), Wait(claim.now(), 1), None, Finish(Status.FAILED, "timeout")]
    settlements = [
        Settlement(
            row.pk,
            [attempt(row, outcome=Outcome.SKIPPED, temporary=True, code=f"{n}", step=9 - n) for n in range(9)],
            move,
        )
        for row, move in zip(reversed(rows), moves, strict=True)
    ]
    assert ledger.settle(claim, settlements) == {row.pk for row in rows}
    for row in rows:
        assert [code for _, code in story(row)] == [f"{n}" for n in range(9)]


def test_of_a_batch_the_confirmed_one_is_stopped_and_the_others_go_their_way() -> None:
    rows = [stored(callback_url="https://example.com/hook") for _ in range(5)]
    claim = ledger.claim(limit=9)
    receipts.acknowledge(rows[1]), receipts.acknowledge(rows[3])
    until = claim.now() + SECOND
    moves: list[Any] = [Finish(Status.SENT), Finish(Status.SENT), AwaitReceipt(0, until), Wait(until, 1), None]
    settled = ledger.settle(
        claim,
        [Settlement(row.pk, [attempt(row)], move, calls_back=True) for row, move in zip(rows, moves, strict=True)],
    )
    assert settled == {row.pk for row in rows}
    ends = ["sent", "acknowledged", "waiting", "acknowledged", "sending"]
    for row, end in zip(rows, ends, strict=True):
        row.refresh_from_db()
        assert (row.status, story(row)) == (end, [("email", "accepted")])
        assert list(row.callbacks.values_list("event", flat=True)) == (
            [] if end == "sending" else [f"notification.{end}"]
        )


def test_a_settlement_that_is_written_again_appends_nothing_twice() -> None:
    rows = [stored(callback_url="https://example.com/hook") for _ in range(3)]
    claim = ledger.claim(limit=9)
    moves: list[Any] = [None, Finish(Status.SENT), Wait(claim.now() + SECOND, 1)]
    settlements = [
        Settlement(row.pk, [attempt(row)], move, calls_back=True) for row, move in zip(rows, moves, strict=True)
    ]
    for again in (False, True, True):
        ledger.settle(claim, settlements, again=again)
    assert [story(row) for row in rows] == [[("email", "accepted")]] * 3
    assert [row.callbacks.count() for row in rows] == [0, 1, 0]

    fresh = Settlement(rows[0].pk, [attempt(rows[0], outcome=Outcome.UNKNOWN, code="outcome_unknown")], None)
    assert ledger.settle(claim, [fresh], again=True) == {rows[0].pk}  # nothing of it had been written
    assert len(story(rows[0])) == 2
