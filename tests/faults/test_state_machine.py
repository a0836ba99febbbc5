"""The ledger at random, on the run's own database: whatever comes in whatever order, every promise is kept."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from pytest_django.fixtures import Settings

from notifier import delivery, ledger, receipts
from notifier.chain import Wait
from notifier.models import Attempt, Notification
from notifier.states import FINAL, Status
from tests.conftest import FakeRegistry
from tests.faults.ledger_machine import LedgerMachine
from tests.notifier.rows import change, let_lease_lapse, stored, story

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(900)]
THOROUGH = settings(
    max_examples=60 if connection.vendor == "postgresql" else 30,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    phases=[Phase.generate],  # to make a finding shorter takes minutes: add Phase.shrink by hand
    suppress_health_check=list(HealthCheck),
)
ONE_FINDING = settings(THOROUGH, max_examples=150, print_blob=False)


@pytest.fixture
def machine(fakes: FakeRegistry, settings: Settings) -> type[LedgerMachine]:
    """Bound to this test's channels."""
    settings.CIRCUIT_FAILURES = 0  # what a circuit skips depends on the clock
    return type("Machine", (LedgerMachine,), {"fakes": fakes, "TestCase": None})


def test_a_life_at_random_keeps_every_promise(machine: type[LedgerMachine]) -> None:
    run_state_machine_as_test(machine, settings=THOROUGH)


# --- A machine that finds nothing would be no proof ------------------------------------------------------------------
_settle, _claim, _mark, _written = ledger.settle, ledger.claim, ledger.mark, ledger._written


def settle_without_the_token(claim: ledger.Claim, settlements: Any) -> set[int]:
    row = Notification.objects.get(pk=settlements[0].notification_id)
    return _settle(replace(claim, token=row.claim_token or claim.token), settlements)


def claim_what_others_have(**wanted: Any) -> ledger.Claim:
    Notification.objects.filter(status=Status.SENDING).update(lease_until=Now())
    return _claim(**wanted)


def mark_nothing(claim: ledger.Claim, handed_over: Any) -> set[int]:
    ours = _mark(claim, handed_over)
    Notification.objects.filter(pk__in=ours).update(handover_step=None)
    return ours


def settle_without_the_attempts(claim: ledger.Claim, settlements: Any) -> set[int]:
    return _settle(claim, [replace(one, attempts=[]) for one in settlements])


def cancel_whatever_it_is(row: Notification) -> bool:
    return ledger._moved(row, list(Status), {**ledger.ENDED, "status": Status.CANCELLED})


def retry_whatever_it_is(row: Notification, credentials: bytes | None) -> bool:
    again = {"status": Status.QUEUED, "failure_code": "", "due_at": Now(), "finished_at": None}
    return ledger._moved(row, FINAL, again)


def put_off_beyond_the_end(move: Any) -> dict[str, Any]:
    values = _written(move)
    return (
        {**values, "due_at": timezone.now() + ledger.LEASE * 10**6} if values.get("status") == Status.QUEUED else values
    )


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("settle", settle_without_the_token),
        ("claim", claim_what_others_have),
        ("mark", mark_nothing),
        ("settle", settle_without_the_attempts),
        ("cancel", cancel_whatever_it_is),
        ("retry", retry_whatever_it_is),
        ("_written", put_off_beyond_the_end),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_ledger_that_breaks_a_promise_is_found_out(
    machine: type[LedgerMachine], monkeypatch: pytest.MonkeyPatch, name: str, broken: Callable[..., Any]
) -> None:
    monkeypatch.setattr(ledger, name, broken)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=ONE_FINDING)


# --- What the machine, or thinking about it, has found ---------------------------------------------------------------
@pytest.mark.parametrize("handed_over", [False, True])
def test_what_was_acknowledged_under_a_worker_that_died_is_not_sent(fakes: FakeRegistry, handed_over: bool) -> None:
    row = stored("email", "sms")
    claim = ledger.claim(limit=1)
    if handed_over:
        ledger.mark(claim, {0: [row.pk]})
    assert receipts.acknowledge(row)
    let_lease_lapse(row)
    delivery.deliver_due()
    row.refresh_from_db()
    assert (row.status, story(row)) == (Status.ACKNOWLEDGED, [("email", "outcome_unknown")] * handed_over)
    assert fakes["email"].sent == fakes["sms"].sent == []


def test_a_receipt_that_comes_after_the_end_of_its_time_leaves_nothing_astray() -> None:
    row = stored(steps=[{"channel": "email", "until": "delivered"}, {"channel": "sms"}])
    claim = ledger.claim(limit=1)
    taken = Attempt(notification=row, step=0, round=0, channel="email", outcome="accepted", provider_id="late",
                    started_at=timezone.now())  # fmt: skip
    again = Wait(timezone.now(), 1)
    ledger.settle(claim, [ledger.Settlement(row.pk, [taken], again)])
    change(row, expires_at=Now() - ledger.LEASE, due_at=Now() - 2 * ledger.LEASE)
    receipts.take("email", "late", receipts.Kind.DELIVERED)
    row.refresh_from_db()
    assert (row.status, ledger.audit().astray) == (Status.QUEUED, [])
