"""Delivery when something breaks that should not: one message at most is the worse for it."""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.models.functions import Now
from django.utils import timezone

from channels.base import Account, Message, Receipt
from channels.errors import TemporaryError, UnknownOutcomeError
from channels.fake import FakeChannel
from notifier import delivery, errands, ledger, rendering
from notifier.models import Notification
from notifier.states import Status
from tests.conftest import FakeRegistry
from tests.notifier.rows import change, let_lease_lapse, person, stored, story
from tests.servers.base import wait_until


class WatchedChannel(FakeChannel):
    """Calls `on_send` first, in the thread that sends."""

    def __init__(self, name: str, on_send: Callable[[Message], Any]) -> None:
        super().__init__(name)
        self.on_send = on_send

    def send(self, message: Message, account: Account) -> Receipt:
        self.on_send(message)
        return super().send(message, account)


class SilentChannel(FakeChannel):
    """A channel of somebody's own, with a bug: it returns nothing."""

    def send(self, message: Message, account: Account) -> Any:
        super().send(message, account)


# --- Bugs ------------------------------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_a_channel_that_returns_nothing_may_have_sent_and_the_others_go_on(fakes: FakeRegistry) -> None:
    fakes["email"] = SilentChannel("email")
    rows = [stored("email", "sms"), stored("sms")]
    delivery.deliver_due()
    assert story(rows[0]) == [("email", "internal_error"), ("sms", "accepted")]
    assert rows[0].attempts.all()[0].outcome == "unknown"
    assert story(rows[1]) == [("sms", "accepted")]


@pytest.mark.django_db
def test_what_cannot_be_prepared_has_not_left_and_may_be_tried_again(
    fakes: FakeRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = rendering.message_for

    def stumble(channel: str, row: Notification, address: str) -> Message:
        if channel == "email" and row.message == "stumble":
            raise ZeroDivisionError("a bug in preparing")
        return prepared(channel, row, address)

    monkeypatch.setattr(errands, "message_for", stumble)
    bad, good = stored("email", message="stumble"), stored("email")
    delivery.deliver_due()
    bad.refresh_from_db()
    assert (bad.status, bad.round, story(bad)) == (Status.QUEUED, 1, [("email", "internal_error")])
    attempt = bad.attempts.get()
    assert (attempt.outcome, attempt.temporary) == ("failed", True)
    assert "ZeroDivisionError" not in attempt.detail
    assert "a bug in preparing" in caplog.text
    assert story(good) == [("email", "accepted")]


UNREADABLE: dict[str, dict[str, Any]] = {
    "a step without its channel": {"steps": [{"chanel": "email"}]},
    "a bar of a later version": {"steps": [{"channel": "email", "until": "read"}]},
    "no list": {"steps": 7},
    "an unknown way of a later version": {"on_unknown": "later"},
}


@pytest.mark.django_db
@pytest.mark.parametrize("fields", UNREADABLE.values(), ids=UNREADABLE)
def test_a_row_that_nobody_can_read_stands_in_nobodys_way(fields: dict[str, Any], fakes: FakeRegistry) -> None:
    bad, good = stored(**fields, priority=Notification.Rank.HIGH), stored("email")
    delivery.deliver_due()
    assert story(good) == [("email", "accepted")]
    bad.refresh_from_db()
    assert (bad.status, story(bad)) == (Status.QUEUED, [("", "internal_error")])
    assert bad.due_at is not None
    assert bad.due_at > timezone.now() + timedelta(minutes=1)

    change(bad, due_at=Now(), expires_at=Now())
    delivery.deliver_due()
    bad.refresh_from_db()
    assert bad.status == Status.EXPIRED


@pytest.mark.django_db
def test_a_row_that_nobody_can_read_stays_unknown_where_it_may_have_arrived(fakes: FakeRegistry) -> None:
    row = stored(steps=[{"chanel": "email"}])
    ledger.mark(ledger.claim(limit=1), {0: [row.pk]})
    let_lease_lapse(row)
    delivery.deliver_due()
    assert list(row.attempts.values_list("step", "outcome", "code")) == [(0, "unknown", "internal_error")]


# --- The database ----------------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("statement", ["claim", "mark", "settle", "follow"])
def test_a_database_that_is_away_for_a_moment_costs_nothing(
    statement: str, fakes: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = getattr(ledger, statement), [OperationalError("gone"), OperationalError("gone")]
    pauses: list[float] = []

    def unsteady(*arguments: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(*arguments, **named)

    monkeypatch.setattr(ledger, statement, unsteady)
    monkeypatch.setattr("notifier.dispatcher.time.sleep", pauses.append)
    fakes["telegram"].answer_next(Receipt(new_address="-1009"))
    row = stored("telegram", recipient=person())
    delivery.deliver_due()
    row.refresh_from_db()
    assert (row.status, story(row), len(pauses)) == (Status.SENT, [("telegram", "accepted")], 2)
    assert row.address("telegram") == "-1009"


@pytest.mark.django_db(transaction=True)
def test_no_transaction_stays_open_while_a_channel_sends(fakes: FakeRegistry) -> None:
    dispatchers = connections[DEFAULT_DB_ALIAS]
    seen: list[str] = []

    def look(message: Message) -> None:
        # It may be claiming more at this very moment, but it cannot be waiting for us with a transaction open.
        wait_until(lambda: not dispatchers.in_atomic_block, 30, "the dispatcher's transaction is over")
        wait_until(lambda: not somebody_idles_in_a_transaction(), 30, "PostgreSQL sees none either")
        seen.append(message.to)

    for name in ("email", "sms"):
        fakes[name] = WatchedChannel(name, look)
    fakes["email"].always = TemporaryError("busy")
    row = stored("email", "sms")
    delivery.deliver_due()
    assert story(row) == [("email", "provider_error"), ("sms", "accepted")]
    assert seen == ["ann@example.com", "+12025550123"]


def somebody_idles_in_a_transaction() -> bool:
    """Whether PostgreSQL sees a connection to our database that does nothing with a transaction open."""
    fresh = connections.create_connection(DEFAULT_DB_ALIAS)
    if fresh.vendor != "postgresql":
        return False
    try:
        with fresh.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND state LIKE 'idle in transaction%%'"
            )
            return bool(cursor.fetchone()[0])
    finally:
        fresh.close()


# --- The end of a worker ---------------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_a_stop_brings_home_what_is_in_flight_and_gives_back_the_rest(fakes: FakeRegistry) -> None:
    stopping = Event()
    fakes["email"] = WatchedChannel("email", lambda _message: stopping.set())
    rows = [stored("email", "sms") for _ in range(3 * FakeChannel.width)]
    delivery.deliver_due(stop=stopping.is_set)

    sent = {message.reference for message, _ in fakes["email"].sent}
    assert 0 < len(sent) <= FakeChannel.width
    for row in rows:
        row.refresh_from_db()
        if row.key.hex in sent:
            assert (row.status, story(row)) == (Status.SENT, [("email", "accepted")])
        else:
            assert (row.status, row.claim_token, row.round, story(row)) == (Status.QUEUED, None, 0, [])

    delivery.deliver_due()
    assert set(Notification.objects.values_list("status", flat=True)) == {Status.SENT}
    assert len(fakes["email"].sent) == len(rows)


@pytest.mark.django_db
def test_a_stop_between_two_channels_keeps_what_is_known(fakes: FakeRegistry) -> None:
    stopping = Event()
    fakes["email"] = WatchedChannel("email", lambda _message: stopping.set())
    fakes["email"].always = UnknownOutcomeError("No answer came.")
    row = stored("email", "sms")
    delivery.deliver_due(stop=stopping.is_set)
    row.refresh_from_db()
    assert (row.status, story(row), fakes["sms"].sent) == (Status.QUEUED, [("email", "outcome_unknown")], [])
    delivery.deliver_due()
    assert story(row) == [("email", "outcome_unknown"), ("sms", "accepted")]


@pytest.mark.django_db
def test_nothing_is_sent_after_a_stop(fakes: FakeRegistry) -> None:
    row = stored()
    delivery.deliver_due(stop=lambda: True)
    assert (story(row), fakes["email"].sent) == ([], [])


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
def test_a_forked_child_has_a_turn_of_its_own() -> None:
    assert delivery._turn.acquire(blocking=False)
    try:
        child = os.fork()
        if child == 0:
            os._exit(0 if delivery._turn.acquire(blocking=False) else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        delivery._turn.release()


@pytest.mark.django_db
def test_every_try_carries_the_same_reference(fakes: FakeRegistry) -> None:
    seen: list[str] = []
    fakes["email"] = WatchedChannel("email", lambda message: seen.append(message.reference))
    fakes["email"].fail_next(TemporaryError("busy"), UnknownOutcomeError("No answer came."), TemporaryError("busy"))
    row = stored("email", on_unknown="retry")
    for nth in range(3):
        change(row, due_at=Now(), round=nth)
        delivery.deliver([row.pk])
    assert seen == [row.key.hex] * 3
