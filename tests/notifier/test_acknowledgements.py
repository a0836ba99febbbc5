"""The person confirmed: the chain stops for good."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from channels.errors import PermanentError
from notifier import ledger, receipts
from notifier.chain import AwaitReceipt, Finish, Wait
from notifier.ledger import Claim, Settlement
from notifier.states import Status
from tests.conftest import FakeRegistry
from tests.notifier.rows import change, in_state, stored, story
from tests.notifier.test_receipts import accepted, in_hands, passed

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("watch")]
DAY = timedelta(days=1)


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.SENDING}))
def test_a_person_confirms_whatever_was_neither_cancelled_nor_expired(status: Status) -> None:
    row = stored(**in_state(status))
    possible = status not in {Status.CANCELLED, Status.EXPIRED}
    for _ in range(2):  # once more is fine
        assert receipts.acknowledge(row) is possible
    row.refresh_from_db()
    assert row.status == (Status.ACKNOWLEDGED if possible else status)
    assert (row.due_at, row.failure_code) == (None, "")
    assert row.acknowledged_at is not None or not possible


@pytest.mark.parametrize(
    "move", [Finish(Status.SENT), AwaitReceipt(0, timezone.now() + DAY), Wait(timezone.now(), 1), None]
)
def test_a_confirmation_while_it_is_sent_counts_at_the_settlement(move: Any, fakes: FakeRegistry) -> None:
    row = stored()
    claim = in_hands(row)
    assert receipts.acknowledge(row) is receipts.acknowledge(row) is True
    row.refresh_from_db()
    assert (row.status, row.acknowledged_at is not None) == (Status.SENDING, True)
    ledger.settle(claim, [Settlement(row.pk, [accepted(row)], move)])
    assert passed(row).status == Status.ACKNOWLEDGED
    assert (story(row), row.due_at) == ([("email", "accepted")], None)
    assert not any(fake.sent for fake in fakes.values())


def test_a_confirmation_that_comes_while_a_step_fails_keeps_the_next_one_back(
    fakes: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = stored()
    fakes["email"].fail_next(PermanentError("no"))
    settle = ledger.settle

    def late(claim: Claim, settlements: Any, **how: Any) -> set[int]:
        receipts.acknowledge(row)  # between the provider's answer and what is written of it
        return settle(claim, settlements, **how)

    monkeypatch.setattr(ledger, "settle", late)
    assert passed(row).status == Status.ACKNOWLEDGED
    assert (story(row), fakes["sms"].sent) == ([("email", "rejected")], [])


@pytest.mark.parametrize("began", [True, False])
def test_a_confirmation_outlives_the_worker_that_had_the_row(fakes: FakeRegistry, *, began: bool) -> None:
    row = stored()
    claim = ledger.claim(limit=1)
    if began:
        ledger.mark(claim, {0: [row.pk]})
    receipts.acknowledge(row)
    change(row, lease_until=Now())
    assert passed(row).status == Status.ACKNOWLEDGED
    assert story(row) == ([("email", "outcome_unknown")] if began else [])
    assert not any(fake.sent for fake in fakes.values())
