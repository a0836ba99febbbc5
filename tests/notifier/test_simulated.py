"""Simulated providers in the ledger: their receipts, their circuits, and workers that die."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from channels.base import Message
from channels.errors import TemporaryError
from channels.simulated import Fate, Later, SimulatedAccount, SimulatedChannel, fate_of
from notifier import callbacks, delivery, ledger, receipts, tasks
from notifier.chain import Wait
from notifier.ledger import Settlement
from notifier.models import Circuit, Notification, Receipt
from notifier.provider_accounts import account_for
from notifier.states import Status
from tests.channels.http_peer import HttpPeer
from tests.notifier.lawful import watched
from tests.notifier.rows import let_lease_lapse, make_due, stored, story
from tests.trap import Trap, sprung

SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def trap(monkeypatch: pytest.MonkeyPatch, settings: Settings, db: None) -> Iterator[Trap]:
    """Nothing may leave; every move is one of the contract's table."""
    with sprung(monkeypatch, settings) as made, watched():
        yield made


def rehearsal(*channels: str, to: str = "user@example.com", **fields: Any) -> Notification:
    """A notification that came with a test key; by e-mail unless said otherwise."""
    return stored(*(channels or ("email",)), test=True, to={"email": to, "phone": "+12025550123"}, **fields)


def passed(row: Notification) -> Notification:
    delivery.deliver([row.pk])
    row.refresh_from_db()
    return row


def come_true() -> None:
    """As if what was foretold were due."""
    Receipt.objects.update(not_before=Now())
    tasks.apply_receipts()


# --- The channel -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("channel", "to", "fate"),
    [
        ("email", " Delivered@SIMULATOR.test ", Fate.DELIVERED),
        ("email", "delivered@simulator.test.example.com", None),
        ("email", "nobody@simulator.test", None),
        ("sms", "12015550105", Fate.UNKNOWN),
        ("sms", "+12015550106", None),
        ("telegram", "103", Fate.GREYLISTED),
        ("telegram", "-100", None),
        ("sms", "103", None),
        ("push", "delivered@simulator.test", None),
    ],
)
def test_who_is_a_test_recipient(channel: str, to: str, fate: Fate | None) -> None:
    assert fate_of(channel, to) is fate


def test_the_id_is_known_beforehand_and_each_notifications_own() -> None:
    ids = set()
    for name in ("email", "sms"):
        for reference in ("a1", "b2"):
            message, channel = Message(to="user@example.com", text="Hello", reference=reference), SimulatedChannel(name)
            later = channel.later(message)
            assert later is not None
            assert channel.send(message, SimulatedAccount()).provider_id == later.provider_id
            ids.add(later.provider_id)
    assert len(ids) == 4


def test_its_account_holds_nothing_of_the_real_one() -> None:
    row = rehearsal(own_account=True, credentials=b"sealed")
    for channel, origin in (("email", "request"), ("sms", "default"), ("telegram", "default")):
        assert account_for(channel, row) == SimulatedAccount(origin=origin)  # type: ignore[arg-type]
    row.credentials = None
    assert account_for("email", row) is None


# --- Receipts --------------------------------------------------------------------------------------------------------
def test_what_is_foretold_comes_true_two_seconds_later() -> None:
    before = timezone.now()
    row = passed(rehearsal())
    foretold = Receipt.objects.get().not_before
    assert before + 2 * SECOND <= foretold <= timezone.now() + 2 * SECOND
    for passes, status in ((-3600 * SECOND, Status.SENT), (3602 * SECOND, Status.DELIVERED)):
        Receipt.objects.update(not_before=F("not_before") - passes)
        tasks.apply_receipts()
        row.refresh_from_db()
        assert row.status == status
    assert not Receipt.objects.exists()


def test_another_receipt_is_not_held_up() -> None:
    first, second = passed(rehearsal()), passed(rehearsal())
    receipts.take("email", first.attempts.get().provider_id, receipts.Kind.READ)
    for row, status in ((first, Status.DELIVERED), (second, Status.SENT)):
        row.refresh_from_db()
        assert row.status == status


@pytest.mark.parametrize("fate", ["delivered", "bounced"])
def test_what_is_foretold_twice_happens_once(fate: str) -> None:
    row = rehearsal("email", "sms", to=f"{fate}@simulator.test")
    for _ in range(2):
        receipts.foretell([Later("email", f"simulated-email-{row.key.hex}", Fate(fate))])
    passed(row)
    assert Receipt.objects.count() == 3
    come_true()
    row.refresh_from_db()
    more = [("email", "bounced")] if fate == "bounced" else []
    assert story(row) == [("email", "accepted"), *more]
    assert row.status == ("queued" if more else "delivered")
    assert not Receipt.objects.exists()


def test_a_worker_that_dies_before_the_hand_over_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    row, mark = rehearsal(), ledger.mark

    def dies(*_: Any) -> set[int]:
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger, "mark", dies)
    with pytest.raises(KeyboardInterrupt):
        delivery.deliver([row.pk])
    assert Receipt.objects.count() == 1  # before the mark: there is no moment at which a taken one has none
    come_true()
    monkeypatch.setattr(ledger, "mark", mark)
    let_lease_lapse(row)
    assert passed(row).status == Status.SENT
    come_true()
    row.refresh_from_db()
    assert (row.status, story(row)) == (Status.DELIVERED, [("email", "accepted")])
    assert not Receipt.objects.exists()


def test_a_worker_that_dies_after_it_loses_nothing() -> None:
    row = rehearsal("email", "sms")
    claim = ledger.claim(limit=1, ids=[row.pk])
    receipts.foretell([Later("email", f"simulated-email-{row.key.hex}", Fate.DELIVERED)])
    ledger.mark(claim, {0: [row.pk]})
    let_lease_lapse(row)
    assert passed(row).status == Status.SENT
    assert story(row) == [("email", "outcome_unknown"), ("sms", "accepted")]
    come_true()
    row.refresh_from_db()
    assert row.status == Status.DELIVERED


def test_one_that_bounced_bounces_again_after_a_retry() -> None:
    row = passed(rehearsal(to="bounced@simulator.test"))
    come_true()
    row.refresh_from_db()
    for _ in range(2):
        assert (row.status, row.failure_code) == (Status.FAILED, "bounced")
        assert ledger.retry(row, None)
        assert passed(row).status == Status.SENT
        come_true()
        row.refresh_from_db()
    assert story(row) == [("email", "accepted"), ("email", "bounced")] * 3


def test_a_message_that_nobody_took_has_no_receipt() -> None:
    for fate in ("rejected", "greylisted", "timeout", "unknown"):
        passed(rehearsal(to=f"{fate}@simulator.test"))
    assert not Receipt.objects.exists()


def test_a_live_message_costs_no_statement_more(monkeypatch: pytest.MonkeyPatch, trap: Trap) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("foretold")

    monkeypatch.setattr(receipts, "foretell", never)
    row = passed(stored("email"))
    assert story(row) == [("email", "unreachable")]
    assert trap.caught
    trap.caught.clear()


def test_clients_hear_of_every_step(peer: HttpPeer, trap: Trap) -> None:
    trap.friends.add(int(peer.url.rpartition(":")[2]))
    row = passed(rehearsal(to="bounced@simulator.test", callback_url=f"{peer.url}/hook"))
    come_true()
    assert row.status == Status.SENT
    callbacks.deliver_due()
    assert [request.json["type"] for request in peer.requests] == ["notification.sent", "notification.failed"]


# --- Greylisting -----------------------------------------------------------------------------------------------------
def test_greylisting_is_read_from_the_attempts() -> None:
    """So it holds over workers, and each notification has a first try of its own."""
    rows = [rehearsal(to="greylisted@simulator.test") for _ in range(2)]
    assert [story(passed(row)) for row in rows] == [[("email", "rejected")]] * 2
    rows[1].attempts.all().delete()
    for row in rows:
        make_due(row)
        passed(row)
    assert story(rows[0]) == [("email", "rejected"), ("email", "accepted")]
    assert story(rows[1]) == [("email", "rejected")]


def test_each_step_has_a_first_try_of_its_own() -> None:
    to = {"email": "greylisted@simulator.test", "phone": "+12015550103"}
    row = passed(stored("email", "sms", test=True, to=to))
    assert story(row) == [("email", "rejected"), ("sms", "rejected")]
    make_due(row)
    assert story(passed(row))[2:] == [("email", "accepted")]


def test_a_skip_is_no_try() -> None:
    row = rehearsal(to="greylisted@simulator.test")
    claim = ledger.claim(limit=1, ids=[row.pk])
    skip = row.attempts.model(
        notification_id=row.pk,
        step=0,
        round=0,
        channel="email",
        outcome="skipped",
        temporary=True,
        code="circuit_open",
        started_at=claim.now(),
    )
    ledger.settle(claim, [Settlement(row.pk, [skip], Wait(claim.now(), 1))])
    row.refresh_from_db()
    assert story(passed(row)) == [("email", "circuit_open"), ("email", "rejected")]


def test_inside_the_steps_own_time_it_is_tried_again(settings: Settings) -> None:
    settings.STEP_RETRY_SECONDS = 0 * SECOND
    steps = [{"channel": "email", "within": 60}, {"channel": "sms"}]
    row = passed(rehearsal(to="greylisted@simulator.test", steps=steps))
    while row.status == Status.QUEUED:
        make_due(row)
        passed(row)
    assert story(row) == [("email", "rejected"), ("email", "accepted")]


# --- Circuits --------------------------------------------------------------------------------------------------------
def test_its_failures_open_no_circuit(settings: Settings, trap: Trap) -> None:
    settings.CIRCUIT_FAILURES = 3
    tests = [rehearsal(to="timeout@simulator.test") for _ in range(9)]
    tests += [rehearsal(to="timeout@simulator.test", own_account=True, credentials=b"sealed") for _ in range(9)]
    delivery.deliver_due()
    for row in tests:
        make_due(row)
    delivery.deliver_due()
    assert [story(row) for row in tests] == [[("email", "timeout")] * 2] * 18
    assert not Circuit.objects.exists()
    live = passed(stored("email"))
    assert story(live) == [("email", "unreachable")]  # it was let through, to a provider that is down
    trap.caught.clear()


def test_an_open_circuit_is_not_theirs(settings: Settings) -> None:
    until = Now() + settings.CIRCUIT_SECONDS
    Circuit.objects.create(key="email:default", failures=9, open_until=until)
    assert story(passed(rehearsal())) == [("email", "accepted")]
    assert story(passed(stored("email"))) == [("email", "circuit_open")]
    circuit = Circuit.objects.get()  # and their success closes none
    assert (circuit.key, circuit.failures) == ("email:default", 9)


# --- What operators see ----------------------------------------------------------------------------------------------
def test_the_admin_tells_tests_from_the_rest(admin_client: Client) -> None:
    test = rehearsal(subject="a rehearsal")
    stored("email", subject="the real thing")
    assert "?test__exact=1" in admin_client.get("/admin/notifier/notification/").content.decode()
    page = admin_client.get("/admin/notifier/notification/", {"test__exact": 1}).content.decode()
    assert ("a rehearsal" in page, "the real thing" in page) == (True, False)
    form = admin_client.get(f"/admin/notifier/notification/{test.pk}/change/").content.decode()
    assert 'class="form-row field-priority field-on_unknown field-own_account field-test"' in form


def test_a_channel_of_somebody_elses_is_simulated_too() -> None:
    message = Message(to="device-7", text="Hello", reference="a1")
    assert SimulatedChannel("push").send(message, SimulatedAccount()).provider_id == "simulated-push-a1"
    with pytest.raises(TemporaryError):
        SimulatedChannel("sms").send(Message(to="+12015550103", text="Hello", reference="a1"), SimulatedAccount())
