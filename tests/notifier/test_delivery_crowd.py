"""Many messages, several workers: each message leaves once, in the right order, and none waits for a stranger."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Event, Thread

import pytest
from django.db import connection, connections
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from channels.base import Account, Message, Receipt
from channels.errors import TemporaryError
from channels.fake import FakeChannel
from notifier import delivery
from notifier.models import Notification
from notifier.states import Status
from tests.conftest import FakeRegistry
from tests.notifier.rows import stored
from tests.servers.base import wait_until

threads = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite in memory is one thread's alone")
LOW, HIGH = Notification.Rank.LOW, Notification.Rank.HIGH


class GatedChannel(FakeChannel):
    """Messages that say "slow" wait until the gate opens; `begun` counts who came to it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.gate = Event()
        self.begun: list[str] = []

    def send(self, message: Message, account: Account) -> Receipt:
        self.begun.append(message.text)
        if message.text == "slow":
            assert self.gate.wait(90)
        return super().send(message, account)


@contextmanager
def meanwhile(*calls: Callable[[], None]) -> Iterator[None]:
    """Each of these in a thread of its own, with a database connection of its own, until the block is over."""
    errors: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            errors.append(error)
        finally:
            connections.close_all()

    running = [Thread(target=run, args=[call]) for call in calls]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        for thread in running:
            thread.join(60)
    assert not errors
    assert not any(thread.is_alive() for thread in running)


def status_of(row: Notification) -> str:
    return Notification.objects.values_list("status", flat=True).get(pk=row.pk)


def times_sent(fake: FakeChannel) -> Counter[str]:
    return Counter(message.reference for message, _ in fake.sent)


@pytest.mark.django_db
def test_many_in_one_go_leave_once_each(fakes: FakeRegistry, settings: Settings) -> None:
    settings.CIRCUIT_FAILURES = 0  # so many failures in a row are not the theme here
    keys = {stored("email", "sms").key.hex for _ in range(300)}
    fakes["email"].fail_next(*(TemporaryError("busy") for _ in range(40)))
    delivery.deliver_due()
    assert set(Notification.objects.values_list("status", flat=True)) == {Status.SENT}
    assert times_sent(fakes["email"]) + times_sent(fakes["sms"]) == dict.fromkeys(keys, 1)
    assert len(fakes["sms"].sent) == 40


@pytest.mark.django_db
def test_a_backlog_that_ends_without_leaving_is_worked_off_too(fakes: FakeRegistry) -> None:
    for _ in range(3 * FakeChannel.width):
        stored("email", to={"phone": "+12025550123"})
    delivery.deliver_due()
    assert set(Notification.objects.values_list("status", "failure_code")) == {(Status.FAILED, "no_address")}


@pytest.mark.django_db
def test_the_highest_priority_leaves_first(fakes: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes["email"].width = 1
    for priority in (LOW, Notification.Rank.NORMAL, HIGH):
        stored("email", priority=priority, message=priority.label)
    delivery.deliver_due()
    assert [message.text for message, _ in fakes["email"].sent] == ["high", "normal", "low"]


@threads
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rings", [False, True])
def test_high_overtakes_a_backlog_of_low(fakes: FakeRegistry, rings: bool) -> None:
    fakes["email"] = channel = GatedChannel("email")
    for _ in range(12 * channel.width):
        stored("email", priority=LOW, message="slow")
    with meanwhile(delivery.deliver_due):
        wait_until(lambda: len(channel.begun) == channel.width, 30, "the first ones are in flight")
        urgent = stored("email", priority=HIGH, message="urgent")
        if rings:
            delivery.deliver_due()
        wait_until(lambda: status_of(urgent) == Status.SENDING, 30, "it is at hand")
        channel.gate.set()
    # Behind those in flight, and at most those that took their places while it was just being claimed.
    assert channel.begun.index("urgent") <= 2 * channel.width
    assert len(channel.begun) == 12 * channel.width + 1


@threads
@pytest.mark.django_db(transaction=True)
def test_what_was_answered_is_written_while_others_still_wait_for_theirs(fakes: FakeRegistry) -> None:
    fakes["email"] = channel = GatedChannel("email")
    for _ in range(FakeChannel.width - 1):
        stored("email", message="slow")
    quick = [stored("email", message="quick") for _ in range(2)]
    for _ in range(FakeChannel.width):
        stored("email", message="slow")
    with meanwhile(delivery.deliver_due):
        try:
            for row in quick:
                wait_until(lambda row=row: status_of(row) == Status.SENT, 30, "a quick one is settled")  # type: ignore[misc]
        finally:
            channel.gate.set()


@threads
@pytest.mark.django_db(transaction=True)
def test_two_dispatchers_send_each_message_once(fakes: FakeRegistry) -> None:
    rows = [stored("email") for _ in range(120)]
    ids = [row.pk for row in rows]
    with meanwhile(lambda: delivery.deliver(ids), lambda: delivery.deliver(ids)):
        delivery.deliver_due()
    delivery.deliver_due()
    assert times_sent(fakes["email"]) == {row.key.hex: 1 for row in rows}
    assert set(Notification.objects.values_list("status", flat=True)) == {Status.SENT}


@threads
@pytest.mark.django_db(transaction=True)
def test_who_rings_while_another_delivers_is_not_kept_and_not_forgotten(fakes: FakeRegistry) -> None:
    fakes["email"] = channel = GatedChannel("email")
    first = stored("email", message="slow")
    with meanwhile(delivery.deliver_due):
        wait_until(lambda: channel.begun == ["slow"], 30, "the first one is in flight")
        second = stored("email", message="quick")
        delivery.deliver_due()  # returns at once
        assert status_of(first) == Status.SENDING
        channel.gate.set()
    assert (status_of(first), status_of(second)) == (Status.SENT, Status.SENT)


@threads
@pytest.mark.django_db(transaction=True)
def test_a_message_that_takes_longer_than_a_lease_stays_ours(
    fakes: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.ledger.LEASE", timedelta(seconds=2))  # renewed with 4/3 s to spare
    monkeypatch.setattr("notifier.dispatcher.LOOK", 0.02)
    fakes["email"] = channel = GatedChannel("email")
    row = stored("email", message="slow")
    with meanwhile(delivery.deliver_due):
        wait_until(lambda: channel.begun == ["slow"], 30, "it is in flight")
        leases: set[datetime | None] = set()
        while len(leases) < 4:  # renewed three times: the first one would be over
            row.refresh_from_db()
            leases.add(row.lease_until)
            delivery.deliver([row.pk])
        channel.gate.set()
    assert (status_of(row), channel.begun) == (Status.SENT, ["slow"])


@threads
@pytest.mark.django_db(transaction=True)
def test_a_slow_account_with_a_long_backlog_holds_up_nobody_else(fakes: FakeRegistry) -> None:
    fakes["email"] = channel = GatedChannel("email")
    slow = [stored("email", message="slow") for _ in range(20 * channel.width)]
    others = [stored("sms", message=f"{number}") for number in range(5)]
    with meanwhile(delivery.deliver_due):
        try:
            wait_until(lambda: len(fakes["sms"].sent) == len(others), 30, "the others have left")
            assert {status_of(row) for row in slow} == {Status.QUEUED, Status.SENDING}
        finally:
            channel.gate.set()
    Notification.objects.filter(status=Status.QUEUED).update(due_at=Now())
    delivery.deliver_due()
    assert {status_of(row) for row in slow} == {Status.SENT}
    assert times_sent(fakes["email"]) == {row.key.hex: 1 for row in slow}
