"""A provider that is down costs the first few messages its timeout, and nobody else anything."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from channels.base import Account, Message, Receipt
from channels.email import SmtpAccount
from channels.errors import MisconfiguredError, PermanentError, TemporaryError
from channels.fake import FakeChannel
from notifier import breaker, delivery, vault
from notifier.breaker import Breaker, key_of
from notifier.models import Circuit, Notification
from notifier.states import Outcome, Status
from tests.conftest import FakeRegistry
from tests.notifier.lawful import watched
from tests.notifier.rows import make_due, stored, story
from tests.notifier.test_ledger_races import together
from tests.servers.base import wait_until

threads = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite in memory is one thread's alone")
COUNTED = ["unreachable", "timeout", "tls_failed", "authentication_failed", "provider_error"]
ANSWERS = ["", "rejected", "invalid_address", "mailbox_full", "rate_limited", "misconfigured", "message_too_large"]
SECOND = timedelta(seconds=1)
KEY = "email:default"
DOWN = TemporaryError("No answer.", code="unreachable")
OWN = {"user": "ann@example.com", "password": "canary-1", "host": None, "port": None, "security": None}


@pytest.fixture(autouse=True)
def quick(settings: Settings, db: None) -> Iterator[None]:
    """Three failures open a circuit, for long enough to look at it; every move is one of the contract's table."""
    settings.CIRCUIT_FAILURES, settings.CIRCUIT_SECONDS = 3, 60 * SECOND
    with watched():
        yield


def fail(times: int, code: str = "unreachable", key: str = KEY) -> None:
    Breaker().record([(key, code)] * times)


def let_time_pass() -> None:
    """As if every open circuit's time were over."""
    Circuit.objects.filter(open_until__isnull=False).update(open_until=Now())


def passed(row: Notification) -> Notification:
    delivery.deliver([row.pk])
    row.refresh_from_db()
    return row


# --- What opens it ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", COUNTED)
def test_failures_in_a_row_that_speak_of_the_provider_open_it(code: str) -> None:
    for expected in (True, True, False):
        fail(1, code)
        assert Breaker().allows(KEY) is expected


@pytest.mark.parametrize("code", [*ANSWERS, "outcome_unknown", "internal_error"])
def test_no_other_answer_opens_it(code: str) -> None:
    fail(10, code)
    assert Breaker().allows(KEY)
    assert not Circuit.objects.exists()


@pytest.mark.parametrize("code", ANSWERS)
def test_any_answer_of_the_provider_begins_the_count_anew(code: str) -> None:
    for answers in (["timeout"] * 2, [code, "timeout", "timeout"], ["timeout", code], ["timeout"] * 2):
        one = Breaker()
        assert one.allows(KEY)
        one.record([(KEY, answer) for answer in answers])
    assert Breaker().allows(KEY)
    fail(1)
    assert not Breaker().allows(KEY)


def test_different_failures_count_together() -> None:
    Breaker().record([(KEY, "timeout"), (KEY, "tls_failed"), (KEY, "provider_error")])
    assert not Breaker().allows(KEY)


def test_a_circuit_speaks_of_its_own_account_alone() -> None:
    fail(3)
    one = Breaker()
    assert (one.allows(KEY), one.allows("sms:default"), one.allows("email:request:1")) == (False, True, True)


def test_zero_switches_circuits_off(settings: Settings) -> None:
    fail(3)
    settings.CIRCUIT_FAILURES = 0
    assert Breaker().allows(KEY)
    assert not Breaker().is_open(KEY)
    Circuit.objects.all().delete()
    fail(100)
    assert not Circuit.objects.exists()


# --- The way back ----------------------------------------------------------------------------------------------------
def test_a_probe_is_let_through_when_its_time_is_over_and_no_other() -> None:
    fail(3)
    one, other = Breaker(), Breaker()
    assert not one.allows(KEY)
    assert not other.allows(KEY)
    let_time_pass()
    assert [Breaker().allows(KEY), Breaker().allows(KEY)] == [True, False]
    let_time_pass()  # that probe never came back
    one, other = Breaker(), Breaker()
    assert [one.is_open(KEY), other.is_open(KEY)] == [False, False]  # both saw it half open
    assert sorted([one.allows(KEY), other.allows(KEY), one.allows(KEY), other.allows(KEY)]) == [False] * 3 + [True]


@threads
@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_sends_the_probe() -> None:
    fail(3)
    for _ in range(5):
        let_time_pass()
        workers = [Breaker() for _ in range(16)]
        assert sum(together(*[lambda worker=worker: worker.allows(KEY) for worker in workers])) == 1


@threads
@pytest.mark.django_db(transaction=True)
def test_failures_that_many_workers_meet_at_the_same_time_all_count(settings: Settings) -> None:
    settings.CIRCUIT_FAILURES = 17
    together(*[lambda: fail(1)] * 16)
    assert Circuit.objects.get().failures == 16
    assert Breaker().allows(KEY)
    fail(1)
    assert not Breaker().allows(KEY)


def test_the_probes_success_closes_it() -> None:
    fail(3)
    let_time_pass()
    probing = Breaker()
    assert probing.allows(KEY)
    probing.record([(KEY, "")])
    assert probing.allows(KEY)
    assert Breaker().allows(KEY)
    fail(2)
    assert Breaker().allows(KEY)  # and it counts from the beginning


def test_the_probes_failure_keeps_it_open() -> None:
    fail(3)
    let_time_pass()
    probing = Breaker()
    assert probing.allows(KEY)
    probing.record([(KEY, "timeout")])
    assert not probing.allows(KEY)
    assert not Breaker().allows(KEY)


def test_a_process_sees_within_about_a_second_what_another_one_met(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    one, other = Breaker(), Breaker()
    assert one.allows(KEY)
    other.record([(KEY, "timeout")] * 3)
    assert one.allows(KEY)  # it looked just now
    clock += 1.1
    assert not one.allows(KEY)
    let_time_pass()
    assert other.allows(KEY)
    other.record([(KEY, "")])
    clock += 1.1
    assert one.allows(KEY)


def test_while_all_is_well_nothing_is_written_and_little_is_read(django_assert_num_queries: Any) -> None:
    one = Breaker()
    with django_assert_num_queries(1):
        for _ in range(50):
            assert one.allows(KEY)
            one.record([(KEY, "")])


def test_circuits_that_nobody_uses_are_forgotten() -> None:
    fail(3)
    fail(3, key="sms:default")
    Circuit.objects.filter(key=KEY).update(changed_at=Now() - timedelta(days=1))
    breaker.forget()
    assert Circuit.objects.get().key == "sms:default"


# --- Keys ------------------------------------------------------------------------------------------------------------
def own(**fields: Any) -> SmtpAccount:
    plain = {"origin": "request", "host": "mail.example.com", "port": 587, "security": "starttls", "user": "ann"}
    return SmtpAccount(**{**plain, "password": "canary-1", **fields})


def test_each_own_account_has_its_own_circuit() -> None:
    accounts = [own(), own(user="bob"), own(password="canary-2"), own(host="mail.example.net"), own(port=465)]
    accounts.append(own(origin="organization"))
    keys = [key_of("email", account) for account in accounts] + [key_of("email", Account()), key_of("sms", own())]
    assert len(set(keys)) == len(keys)
    assert key_of("email", own()) == key_of("email", own())


def test_a_key_tells_no_secret(settings: Settings) -> None:
    before = key_of("email", own())
    assert not any(word in before for word in ("canary", "ann", "mail.example.com"))
    settings.SECRET_KEY = "another"
    assert key_of("email", own()) != before  # not a digest that anybody could try passwords against


# --- In a chain ------------------------------------------------------------------------------------------------------
def test_an_open_circuit_is_a_temporary_skip_and_the_next_step_is_tried_at_once(fakes: FakeRegistry) -> None:
    fail(3)
    row = passed(stored("email", "sms"))
    assert (row.status, story(row)) == (Status.SENT, [("email", "circuit_open"), ("sms", "accepted")])
    skip = row.attempts.all()[0]
    assert (skip.outcome, skip.temporary, skip.round) == (Outcome.SKIPPED, True, 0)
    assert skip.detail


def test_a_skipped_step_stays_alive_for_the_next_round(fakes: FakeRegistry) -> None:
    fail(3)
    row = passed(stored("email"))
    assert (row.status, row.round) == (Status.QUEUED, 1)
    let_time_pass()
    make_due(row)
    assert passed(row).status == Status.SENT
    assert story(row) == [("email", "circuit_open"), ("email", "accepted")]
    assert not Circuit.objects.exists()


def test_requests_with_wrong_credentials_open_nobody_elses_circuit(fakes: FakeRegistry) -> None:
    wrong = [MisconfiguredError("535 no", code="authentication_failed") for _ in range(6)]
    fakes["email"].fail_next(*wrong)
    sealed = {"credentials": vault.seal(OWN), "own_account": True}
    rows = [passed(stored("email", **sealed)) for _ in range(4)]
    codes = ["authentication_failed"] * 3 + ["circuit_open"]
    assert [story(row) for row in rows] == [[("email", code)] for code in codes]
    [circuit] = Circuit.objects.all()
    assert circuit.key.startswith("email:request:")

    other = {"credentials": vault.seal({**OWN, "password": "right"}), "own_account": True}
    fakes["email"]._next.clear()
    assert [passed(stored("email", **fields)).status for fields in ({}, other)] == [Status.SENT] * 2


def test_the_persons_faults_open_nothing(fakes: FakeRegistry) -> None:
    fakes["email"].always = PermanentError("550 no such user", code="invalid_address")
    for _ in range(5):
        passed(stored("email"))
    assert not Circuit.objects.exists()


class BlackHole(FakeChannel):
    """A server that swallows everything, and costs each message its timeout."""

    def send(self, message: Message, account: Account) -> Receipt:
        self.sent.append((message, account))
        time.sleep(0.05)
        raise DOWN


def test_a_black_hole_costs_the_first_few_messages_its_timeout_and_the_others_nothing(fakes: FakeRegistry) -> None:
    fakes["email"] = hole = BlackHole("email")
    rows = [stored("email", "sms") for _ in range(10 * FakeChannel.width)]
    delivery.deliver_due()
    assert set(Notification.objects.values_list("status", flat=True)) == {Status.SENT}
    assert len(fakes["sms"].sent) == len(rows)
    assert 3 <= len(hole.sent) <= 2 * FakeChannel.width  # those that were under way, side by side
    costs = [attempt.duration_ms for row in rows for attempt in row.attempts.filter(channel="email")]
    assert sum(cost >= 50 for cost in costs) == len(hole.sent)
    assert sum(costs) < (len(hole.sent) + 1) * 1000
    assert [story(row)[0] for row in rows[-50:]] == [("email", "circuit_open")] * 50


def test_when_the_server_is_back_one_probe_finds_out_and_all_go_its_way_again(
    fakes: FakeRegistry, settings: Settings
) -> None:
    settings.CIRCUIT_SECONDS = timedelta(milliseconds=100)
    fakes["email"].always = DOWN
    for _ in range(3):
        passed(stored("email", "sms"))
    fakes["email"].always = None
    wait_until(lambda: story(passed(stored("email", "sms")))[0] == ("email", "accepted"), 30, "the probe goes through")
    delivery.deliver([stored("email").pk for _ in range(20)])
    assert len(fakes["email"].sent) == 21
