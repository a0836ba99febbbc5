"""Threads that want the same row at the same moment, a hundred times over: always one winner, always one story."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier, get_ident
from typing import Any

import pytest
from django.db import connection, connections
from django.utils import timezone

from notifier import ledger, receipts
from notifier.chain import AwaitReceipt, Finish, Wait
from notifier.models import Attempt, Notification
from notifier.states import Status
from tests.notifier.rows import FAR, change, in_state, let_lease_lapse, stored

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite in memory is one thread's alone"),
]
THREADS, TIMES = 16, 100


class Crew:
    """Threads that keep their connections, so that a hundred races take no time."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS)

    def race(self, *calls: Callable[[], Any]) -> list[Any]:
        """What these answer when all of them begin at the same moment."""
        assert len(calls) <= THREADS
        start = Barrier(len(calls))

        def run(call: Callable[[], Any]) -> Any:
            connection.ensure_connection()
            start.wait(30)
            return call()

        return [future.result(60) for future in [self._pool.submit(run, call) for call in calls]]

    def go_home(self) -> None:
        together = Barrier(THREADS)

        def close(_: int) -> int:
            together.wait(30)  # so that each thread gets one
            connections.close_all()
            return get_ident()

        assert len(set(self._pool.map(close, range(THREADS)))) == THREADS
        self._pool.shutdown()


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.go_home()


def taken() -> list[int]:
    return [row.pk for row in ledger.claim(limit=10).rows]


def settled(claim: ledger.Claim, row: Notification, move: Any, **fields: Any) -> set[int]:
    values: dict[str, Any] = {"outcome": "accepted", "channel": "email", "step": 0, "round": 0, **fields}
    attempt = Attempt(notification_id=row.pk, started_at=timezone.now(), **values)
    return ledger.settle(claim, [ledger.Settlement(row.pk, [attempt], move)])


def test_of_sixteen_who_claim_one_row_one_gets_it_every_time(crew: Crew) -> None:
    row = stored()
    for _ in range(TIMES):
        assert sorted(crew.race(*[taken] * THREADS)) == [[]] * (THREADS - 1) + [[row.pk]]
        change(row, **in_state(Status.QUEUED))


def test_of_sixteen_who_claim_a_lapsed_row_one_gets_it_every_time(crew: Crew) -> None:
    row = stored()
    taken()
    for _ in range(TIMES):
        let_lease_lapse(row)
        assert sorted(crew.race(*[taken] * THREADS)) == [[]] * (THREADS - 1) + [[row.pk]]


def test_a_row_is_either_cancelled_or_claimed(crew: Crew) -> None:
    row = stored()
    for _ in range(TIMES):
        claimed, cancelled = crew.race(taken, partial(ledger.cancel, row))
        row.refresh_from_db()
        assert (claimed == [row.pk]) is not cancelled
        assert row.status == (Status.CANCELLED if cancelled else Status.SENDING)
        change(row, **in_state(Status.QUEUED))


def test_of_sixteen_retries_one_begins_a_new_life(crew: Crew) -> None:
    row = stored(**in_state(Status.FAILED))
    for life in range(1, TIMES + 1):
        answers = crew.race(*[partial(ledger.retry, row, None)] * THREADS)
        row.refresh_from_db()
        assert (sum(answers), row.status, row.round, row.first_round) == (1, Status.QUEUED, life, life)
        change(row, **in_state(Status.FAILED))


@pytest.mark.parametrize("way", ["sent", "queued", "waiting", "failed"])
def test_an_acknowledgement_that_meets_a_settlement_stops_the_chain_for_good(crew: Crew, way: str) -> None:
    later = timezone.now() + FAR / 2
    moves = {
        "sent": Finish(Status.SENT),
        "queued": Wait(later, 1),
        "waiting": AwaitReceipt(0, later),
        "failed": Finish(Status.FAILED, "rejected"),
    }
    row = stored()
    for done in range(1, TIMES // 4 + 1):
        claim = ledger.claim(limit=1)
        acknowledged, ours = crew.race(partial(receipts.acknowledge, row), partial(settled, claim, row, moves[way]))
        row.refresh_from_db()
        assert (acknowledged, ours, row.status) == (True, {row.pk}, Status.ACKNOWLEDGED)
        assert row.attempts.count() == done
        change(row, **in_state(Status.QUEUED), acknowledged_at=None)


def test_a_receipt_that_meets_its_own_settlement_is_applied_once(crew: Crew) -> None:
    row = stored()
    for nth in range(TIMES // 4):
        claim = ledger.claim(limit=1)
        told = partial(receipts.take, "email", f"message-{nth}", receipts.Kind.DELIVERED)
        crew.race(told, partial(settled, claim, row, Finish(Status.SENT), provider_id=f"message-{nth}"))
        receipts.apply_kept()
        row.refresh_from_db()
        assert row.status == Status.DELIVERED
        assert row.attempts.filter(receipt="delivered").count() == nth + 1
        change(row, **in_state(Status.QUEUED))


def test_sixteen_late_bounces_open_the_chain_again_once(crew: Crew) -> None:
    for nth in range(TIMES // 10):
        row = stored("email", "sms")
        settled(ledger.claim(limit=1), row, Finish(Status.SENT), provider_id=f"bounced-{nth}")
        told = partial(receipts.take, "email", f"bounced-{nth}", receipts.Kind.BOUNCED)
        crew.race(*[told] * THREADS)
        receipts.apply_kept()
        row.refresh_from_db()
        assert row.status == Status.QUEUED
        assert ledger.cancel(row)
