"""Real threads with real connections: whoever comes at the same time, one wins."""

from collections.abc import Callable
from functools import partial
from threading import Barrier, Thread
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, connections, transaction
from django.db.models.functions import Now
from django.utils import timezone

from notifier import erasure, ledger, receipts
from notifier.chain import Finish
from notifier.ledger import Settlement
from notifier.models import Attempt, Notification
from notifier.states import Status
from tests.notifier.rows import change, in_state, let_lease_lapse, person, stored

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite in memory is one thread's alone"),
]
THREADS, TIMES = 16, 5


def together(*calls: Callable[[], Any]) -> list[Any]:
    """What these answer when all of them begin at the same moment."""
    answers: list[Any] = [None] * len(calls)
    start = Barrier(len(calls))

    def run(index: int) -> None:
        try:
            connection.ensure_connection()
            start.wait(30)
            answers[index] = calls[index]()
        except BaseException as error:  # noqa: BLE001 - shown by the caller
            answers[index] = error
        finally:
            connections.close_all()

    running = [Thread(target=run, args=[index]) for index in range(len(calls))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    assert not [answer for answer in answers if isinstance(answer, BaseException)]
    return answers


def taken(limit: int = 10) -> list[int]:
    return [row.pk for row in ledger.claim(limit=limit).rows]


def test_of_many_workers_that_want_one_row_one_gets_it() -> None:
    row = stored()
    for _ in range(TIMES):
        assert sorted(together(*[taken] * THREADS)) == [[]] * (THREADS - 1) + [[row.pk]]
        change(row, **in_state(Status.QUEUED))


def test_of_many_workers_one_takes_back_a_lapsed_row() -> None:
    row = stored()
    for _ in range(TIMES):
        taken()
        let_lease_lapse(row)
        assert sorted(together(*[taken] * THREADS)) == [[]] * (THREADS - 1) + [[row.pk]]
        change(row, **in_state(Status.QUEUED))


def test_many_workers_share_many_rows_and_none_twice() -> None:
    rows = {stored().pk for _ in range(THREADS * 5)}
    shares = together(*[lambda: taken(5)] * THREADS)
    found = [pk for share in shares for pk in share]
    assert len(found) == len(set(found))
    assert set(found) | set(taken(1000)) == rows


def test_of_dispatchers_that_claim_again_and_again_each_takes_what_no_other_has() -> None:
    rows = [stored(priority=number % 3) for number in range(THREADS * 6)]
    ledger.claim(limit=THREADS * 2)
    Notification.objects.filter(status=Status.SENDING).update(lease_until=Now() - ledger.LEASE)

    def work() -> list[int]:
        token = uuid4()
        found: list[int] = []
        while claimed := ledger.claim(limit=3, token=token, lapsed=len(found) % 2 == 0).rows:
            found += [row.pk for row in claimed]
            ledger.mark(ledger.Claim(token), {0: [row.pk for row in claimed]})
        return found

    shares = together(*[work] * THREADS)
    found = [pk for share in shares for pk in share]
    assert len(found) == len(set(found))
    left = ledger.claim(limit=1000).rows  # whoever looked last did not look for these
    assert {row.pk for row in left}.isdisjoint(found)
    assert {row.pk for row in left} | set(found) == {row.pk for row in rows}
    for share in shares:
        assert len(set(Notification.objects.filter(pk__in=share).values_list("claim_token"))) == min(len(share), 1)


def test_settlements_and_confirmations_at_the_same_time_leave_every_row_settled_and_told_once() -> None:
    for _ in range(TIMES):
        rows = [stored() for _ in range(20)]
        claim = ledger.claim(limit=20)
        ends = [
            Settlement(
                row.pk,
                [Attempt(
                    notification_id=row.pk, step=0, round=0, channel="email", outcome="accepted",
                    started_at=timezone.now(),
                )],
                Finish(Status.SENT),
            )
            for row in rows
        ]  # fmt: skip
        confirm = [partial(receipts.acknowledge, row) for row in rows[::3]]
        settled, *confirmed = together(partial(ledger.settle, claim, ends), *confirm)
        assert settled == {row.pk for row in rows}
        assert all(confirmed)
        for number, row in enumerate(rows):
            row.refresh_from_db()
            assert row.status == (Status.SENT if number % 3 else Status.ACKNOWLEDGED)
            assert row.attempts.count() == 1


def test_a_cancel_and_a_claim_at_the_same_time_have_one_winner() -> None:
    for _ in range(TIMES):
        row = stored()
        claimed, cancelled = together(taken, partial(ledger.cancel, row))
        row.refresh_from_db()
        assert (claimed == [row.pk]) is not cancelled
        assert row.status == (Status.CANCELLED if cancelled else Status.SENDING)


def test_a_retry_wins_once() -> None:
    row = stored(**in_state(Status.FAILED))
    answers = together(*[lambda: ledger.retry(row, None)] * THREADS)
    row.refresh_from_db()
    assert (sum(answers), row.round, row.first_round) == (1, 1, 1)


def test_a_settlement_and_the_next_owner_at_the_same_time_write_one_story() -> None:
    for _ in range(TIMES):
        row = stored()
        late = ledger.claim(limit=1)
        let_lease_lapse(row)
        attempt = Attempt(step=0, round=0, channel="email", outcome="accepted", started_at=timezone.now())
        attempt.notification = row
        end = Settlement(row.pk, [attempt], Finish(Status.SENT))
        settled, claimed = together(partial(ledger.settle, late, [end]), taken)
        row.refresh_from_db()
        assert bool(settled) is not bool(claimed)
        assert row.status == (Status.SENT if settled else Status.SENDING)
        assert row.attempts.count() == len(settled)


def test_an_erasure_and_a_settlement_at_the_same_time_leave_no_word() -> None:
    for _ in range(TIMES):
        ann = person()
        row = stored(recipient=ann)
        claim = ledger.claim(limit=1)
        attempt = Attempt(step=0, round=0, channel="email", outcome="accepted", detail="Ann", started_at=timezone.now())
        attempt.notification = row
        end = Settlement(row.pk, [attempt], Finish(Status.SENT))
        together(partial(ledger.settle, claim, [end]), partial(erasure.erase, ann))
        row.refresh_from_db()
        assert row.status in {Status.SENT, Status.CANCELLED}
        assert (row.message, row.recipient) == ("", None)
        assert not row.attempts.exclude(detail="").exists()


def test_a_purge_and_a_retry_at_the_same_time_lose_no_promise() -> None:
    for _ in range(TIMES):
        row = stored(**{**in_state(Status.FAILED), "finished_at": Now() - ledger.LEASE})
        retried, _deleted = together(partial(ledger.retry, row, None), lambda: erasure.purge(ledger.LEASE / 2))
        assert Notification.objects.filter(pk=row.pk, status=Status.QUEUED).exists() is retried


def test_a_claim_does_not_wait_for_a_row_that_somebody_holds() -> None:
    held, free = stored(), stored()
    with transaction.atomic():
        Notification.objects.select_for_update().get(pk=held.pk)
        assert together(taken) == [[free.pk]]
