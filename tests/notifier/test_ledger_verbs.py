"""What clients and operators do to a row: cancel, retry, erase, purge."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django.fixtures import Settings

from notifier import erasure, ledger
from notifier.chain import Finish
from notifier.ledger import Settlement
from notifier.models import Attachment, Attempt, Notification, Recipient
from notifier.states import FINAL, OPEN, Outcome, Status
from notifier.tasks import purge
from tests.notifier.rows import in_state, person, stored

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def failed(**fields: Any) -> Notification:
    return stored(**{**in_state(Status.FAILED), **fields})


def note(row: Notification, **fields: Any) -> Attempt:
    """A stored attempt that speaks of a person."""
    values: dict[str, Any] = {
        "step": 0,
        "round": 0,
        "channel": "email",
        "outcome": Outcome.FAILED,
        "temporary": False,
        "code": "invalid_address",
        "detail": "550 no such user: ann@example.com",
        "provider_id": "ann-1",
        "started_at": timezone.now(),
    }
    return Attempt.objects.create(notification=row, **{**values, **fields})


# --- Cancel ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", sorted(Status))
def test_only_what_is_in_nobodys_hands_can_be_cancelled(status: Status) -> None:
    row = stored(**in_state(status))
    possible = status in {Status.QUEUED, Status.WAITING}
    assert ledger.cancel(row) is possible
    row.refresh_from_db()
    assert row.status == (Status.CANCELLED if possible else status)
    assert not possible or (row.due_at is None and row.finished_at is not None)


def test_a_cancelled_row_is_never_worked_on() -> None:
    ledger.cancel(stored())
    assert not ledger.claim(limit=9).rows


# --- Retry -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", sorted(Status))
def test_only_what_failed_can_be_retried(status: Status) -> None:
    row = stored(**in_state(status))
    assert ledger.retry(row, None) is (status is Status.FAILED)
    row.refresh_from_db()
    assert row.status == (Status.QUEUED if status is Status.FAILED else status)


def test_a_retry_begins_a_new_life_in_a_new_round() -> None:
    row = failed(round=4, first_round=2)
    assert ledger.retry(row, b"sealed again")
    row.refresh_from_db()
    assert (row.round, row.first_round) == (5, 5)
    assert (row.failure_code, row.finished_at, bytes(row.credentials or b"")) == ("", None, b"sealed again")
    assert [claimed.pk for claimed in ledger.claim(limit=9).rows] == [row.pk]


def test_a_retry_gives_a_new_lifetime_only_where_the_old_is_over(settings: Settings) -> None:
    settings.NOTIFICATION_TTL = timedelta(hours=2)
    alive, over = failed(), failed(expires_at=Now() - DAY)
    before = alive.expires_at
    for row in (alive, over):
        assert ledger.retry(row, None)
        row.refresh_from_db()
    assert alive.expires_at == before
    assert abs(over.expires_at - timezone.now() - timedelta(hours=2)) < timedelta(minutes=1)


# --- Erase -----------------------------------------------------------------------------------------------------------
TEXT = {
    "subject": "For Ann",
    "message": "Dear Ann",
    "html": "<p>Ann",
    "forms": {"sms": "Ann"},
    "metadata": {"who": "Ann"},
    "reference": "ann-7",
    "callback_url": "https://example.com/ann",
}


@pytest.mark.parametrize("status", sorted(Status))
def test_an_erased_person_leaves_a_countable_row_without_a_word(status: Status) -> None:
    ann, bob = person(), person(email="bob@example.com")
    theirs = stored(recipient=ann, **in_state(status), **TEXT)
    others = stored(recipient=bob, **TEXT)
    for row in (theirs, others):
        note(row)
        Attachment.objects.create(notification=row, filename="ann.pdf", content_type="application/pdf", content=b"Ann")

    erasure.erase(ann)

    theirs.refresh_from_db()
    assert theirs.recipient is None
    assert theirs.status == (Status.CANCELLED if status in OPEN else status)
    assert {name: getattr(theirs, name) for name in TEXT} == {
        **dict.fromkeys(TEXT, ""),
        "forms": None,
        "metadata": {},
    }
    assert list(theirs.attempts.values_list("code", "detail", "provider_id")) == [("invalid_address", "", "")]
    assert not theirs.attachments.exists()
    assert not Recipient.objects.filter(pk=ann.pk).exists()
    others.refresh_from_db()
    assert {name: getattr(others, name) for name in TEXT} == TEXT
    assert others.attachments.count() == others.attempts.exclude(detail="").count() == 1


def test_a_worker_loses_what_is_erased_under_its_lease() -> None:
    ann = person()
    row = stored(recipient=ann)
    claim = ledger.claim(limit=9)
    erasure.erase(ann)
    assert ledger.mark(claim, {0: [row.pk]}) == set()
    detail = Attempt(step=0, round=0, channel="email", outcome="accepted", detail="Ann", started_at=timezone.now())
    detail.notification_id = row.pk
    assert ledger.settle(claim, [Settlement(row.pk, [detail], Finish(Status.SENT))]) == set()
    row.refresh_from_db()
    assert (row.status, row.attempts.count()) == (Status.CANCELLED, 0)


def test_what_was_being_handed_over_for_an_erased_person_stays_on_record() -> None:
    ann = person()
    row = stored("email", "sms", recipient=ann)
    claim = ledger.claim(limit=9)
    ledger.mark(claim, {1: [row.pk]})
    erasure.erase(ann)
    row.refresh_from_db()
    assert (row.status, row.handover_step) == (Status.CANCELLED, None)
    attempt = row.attempts.get()
    assert (attempt.step, attempt.channel, attempt.outcome, attempt.code) == (1, "sms", "unknown", "outcome_unknown")
    assert (attempt.detail, attempt.round, attempt.temporary) == ("", row.round, None)


# --- A chat that moved -----------------------------------------------------------------------------------------------
def test_a_chat_that_moved_is_followed_unless_the_client_changed_it_meanwhile() -> None:
    ann = person(telegram_chat_id="1")
    ledger.follow(ann, "-1002")
    ann.refresh_from_db()
    assert ann.telegram_chat_id == "-1002"
    Recipient.objects.filter(pk=ann.pk).update(telegram_chat_id="7")
    ledger.follow(ann, "-1003")
    ann.refresh_from_db()
    assert ann.telegram_chat_id == "7"


# --- Purge -----------------------------------------------------------------------------------------------------------
def test_what_finished_longer_ago_than_the_retention_is_deleted_with_all_that_belongs_to_it(settings: Settings) -> None:
    settings.RETENTION = 90 * DAY
    old = [stored(**{**in_state(status), "finished_at": Now() - 91 * DAY}) for status in sorted(FINAL)]
    young = [stored(**{**in_state(status), "finished_at": Now() - 89 * DAY}) for status in sorted(FINAL)]
    working = [stored(**in_state(status), created_at=Now() - 400 * DAY) for status in sorted(OPEN)]
    for row in (*old, *young):
        note(row)
        Attachment.objects.create(notification=row, filename="a", content_type="text/plain", content=b"a")

    purge()

    assert set(Notification.objects.values_list("pk", flat=True)) == {row.pk for row in (*young, *working)}
    assert Attempt.objects.count() == Attachment.objects.count() == len(young)


def test_a_purge_goes_in_batches_to_the_end() -> None:
    for _ in range(7):
        stored(**{**in_state(Status.SENT), "finished_at": Now() - 2 * DAY})
    assert erasure.purge(DAY, batch=3) == 7
    assert erasure.purge(DAY, batch=3) == 0
    assert not Notification.objects.exists()


def test_a_row_that_was_retried_is_no_longer_old() -> None:
    row = failed(finished_at=Now() - 100 * DAY, expires_at=Now() - 99 * DAY)
    assert ledger.retry(row, None)
    assert erasure.purge(DAY) == 0
    row.refresh_from_db()
    assert row.status == Status.QUEUED
