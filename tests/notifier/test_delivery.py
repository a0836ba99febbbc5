"""From a due row to the person: one channel after the other, every try on record."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django.fixtures import Settings

from channels.base import Receipt
from channels.email import SmtpAccount
from channels.errors import (
    ChannelError,
    InvalidRecipientError,
    MisconfiguredError,
    PermanentError,
    RateLimitedError,
    RepeatedError,
    TemporaryError,
    UnknownOutcomeError,
)
from notifier import vault
from notifier.delivery import deliver
from notifier.models import Attempt, Notification
from notifier.states import Outcome, Status
from tests.conftest import FakeRegistry
from tests.notifier.rows import change, let_lease_lapse, make_due, person, stored, story
from tests.servers.base import wait_until

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)
DOWN = TemporaryError("The server does not answer.", code="unreachable")


def delivered(row: Notification) -> Notification:
    """The row after its first, or its next, pass."""
    deliver([row.pk])
    row.refresh_from_db()
    return row


def all_down(fakes: FakeRegistry) -> None:
    for fake in fakes.values():
        fake.always = DOWN


# --- The chain -------------------------------------------------------------------------------------------------------
FALLBACKS = {
    # what fails -> the attempts
    "nothing": ([], ["accepted"]),
    "e-mail": (["email"], ["unreachable", "accepted"]),
    "e-mail and SMS": (["email", "sms"], ["unreachable", "unreachable", "accepted"]),
}


@pytest.mark.parametrize(("down", "expected"), FALLBACKS.values(), ids=FALLBACKS)
def test_where_a_channel_fails_the_next_one_carries_the_message(
    down: list[str], expected: list[str], fakes: FakeRegistry
) -> None:
    for name in down:
        fakes[name].always = DOWN
    row = delivered(stored())
    assert row.status == Status.SENT
    assert story(row) == list(zip(["email", "sms", "telegram"], expected, strict=False))
    assert sum(len(fake.sent) for fake in fakes.values()) == 1


def test_each_channel_gets_the_persons_address_the_text_and_the_same_reference(fakes: FakeRegistry) -> None:
    for name in fakes:
        delivered(stored(name, recipient=person(), key="00000000-0000-4000-8000-000000000001", html="<p>Hello"))
    seen = {name: fake.sent[0][0] for name, fake in fakes.items()}
    assert {name: message.to for name, message in seen.items()} == {
        "email": "ann@example.com",
        "sms": "+12025550123",
        "telegram": "4711",
    }
    assert {message.text for message in seen.values()} == {"Hello, Ann"}
    assert {message.reference for message in seen.values()} == {"00000000000040008000000000000001"}
    assert (seen["email"].subject, seen["email"].html) == ("Hello", "<p>Hello")


def test_when_all_are_down_the_next_round_is_in_the_table(fakes: FakeRegistry) -> None:
    all_down(fakes)
    row = delivered(stored())
    assert (row.status, row.round, row.claim_token, row.handover_step) == (Status.QUEUED, 1, None, None)
    assert row.due_at is not None
    assert 23 * SECOND < row.due_at - timezone.now() < 37 * SECOND
    assert story(row) == [(name, "unreachable") for name in ("email", "sms", "telegram")]

    make_due(row)
    fakes["sms"].always = None
    assert delivered(row).status == Status.SENT
    assert story(row)[3:] == [("email", "unreachable"), ("sms", "accepted")]
    assert list(row.attempts.values_list("round", flat=True)) == [0, 0, 0, 1, 1]


def test_a_provider_that_names_a_pause_is_asked_again_after_it(fakes: FakeRegistry) -> None:
    fakes["email"].fail_next(RateLimitedError("Slow down.", retry_after=timedelta(seconds=200)))
    row = delivered(stored("email"))
    assert row.due_at is not None
    assert 195 * SECOND < row.due_at - timezone.now() < 205 * SECOND
    assert row.attempts.get().retry_after == 200 * SECOND


def test_a_pause_beyond_all_measure_is_stored_and_ends_with_the_notification(fakes: FakeRegistry) -> None:
    fakes["email"].fail_next(RateLimitedError("Slow down.", retry_after=timedelta.max))
    row = delivered(stored("email"))
    assert (row.status, row.due_at) == (Status.QUEUED, row.expires_at)


def test_when_no_step_is_left_it_has_failed_and_says_why(fakes: FakeRegistry) -> None:
    fakes["email"].fail_next(InvalidRecipientError("550 no such user"))
    fakes["sms"].fail_next(PermanentError("blocked by the operator", code="blocked"))
    row = delivered(stored("email", "sms", "telegram", to={"email": "ann@example.com", "phone": "+12025550123"}))
    assert (row.status, row.failure_code) == (Status.FAILED, "blocked")
    assert story(row) == [("email", "invalid_address"), ("sms", "blocked"), ("telegram", "no_address")]


def test_what_expired_is_not_sent(fakes: FakeRegistry) -> None:
    row = delivered(stored(expires_at=Now() - SECOND))
    assert (row.status, row.due_at, story(row)) == (Status.EXPIRED, None, [])
    assert not fakes["email"].sent


def test_what_is_due_later_or_final_is_left_alone(fakes: FakeRegistry) -> None:
    later = stored(due_at=Now() + timedelta(hours=1))
    done = delivered(stored())
    before = Notification.objects.values().get(pk=done.pk)
    deliver([later.pk, done.pk])
    assert Notification.objects.values().get(pk=done.pk) == before
    assert len(fakes["email"].sent) == 1


# --- What is on record -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("error", "outcome", "temporary", "code"),
    [
        (TemporaryError("why"), Outcome.FAILED, True, "provider_error"),
        (TemporaryError("why", code="mailbox_full"), Outcome.FAILED, True, "mailbox_full"),
        (RateLimitedError("why"), Outcome.FAILED, True, "rate_limited"),
        (PermanentError("why"), Outcome.FAILED, False, "rejected"),
        (InvalidRecipientError("why"), Outcome.FAILED, False, "invalid_address"),
        (MisconfiguredError("why"), Outcome.FAILED, True, "misconfigured"),
        (MisconfiguredError("why", code="tls_failed"), Outcome.FAILED, True, "tls_failed"),
        (UnknownOutcomeError("why"), Outcome.UNKNOWN, None, "outcome_unknown"),
        (PermanentError("why", code="a_code_of_its_own"), Outcome.FAILED, False, "provider_error"),
    ],
)
def test_an_error_becomes_an_attempt(
    error: Exception, outcome: Outcome, temporary: bool | None, code: str, fakes: FakeRegistry
) -> None:
    fakes["email"].fail_next(error)
    attempt = delivered(stored("email")).attempts.get()
    assert (attempt.outcome, attempt.temporary, attempt.code, attempt.detail) == (outcome, temporary, code, "why")


def test_an_accepted_attempt_has_all_that_is_known_of_it(fakes: FakeRegistry) -> None:
    fakes["sms"].answer_next(Receipt(provider_id="sms-77", detail="The text was shortened."))
    before = timezone.now()
    row = delivered(stored("sms"))
    attempt = row.attempts.get()
    assert (attempt.step, attempt.round, attempt.channel, attempt.outcome) == (0, 0, "sms", Outcome.ACCEPTED)
    assert (attempt.temporary, attempt.code, attempt.provider_id) == (None, "", "sms-77")
    assert (attempt.detail, attempt.account) == ("The text was shortened.", "default")
    assert before - SECOND < attempt.started_at < timezone.now() + SECOND
    assert 0 <= attempt.duration_ms < 5000
    assert row.sent_at is not None
    assert row.finished_at is not None


def test_a_provider_cannot_break_the_record_by_its_words(fakes: FakeRegistry) -> None:
    fakes["email"].fail_next(PermanentError("bad\x00 \ud800 words"))
    fakes["sms"].answer_next(Receipt(provider_id="\x00" + "i" * 300, detail="\udfff"))
    row = delivered(stored())
    assert row.status == Status.SENT
    assert list(row.attempts.values_list("detail", "provider_id")) == [("bad ? words", ""), ("?", "i" * 255)]


def test_a_step_that_cannot_be_tried_is_skipped_for_good(fakes: FakeRegistry) -> None:
    del fakes["telegram"]  # the operator took it out of CHANNELS
    row = delivered(stored("telegram", "email", "sms", to={"phone": "+12025550123", "telegram_chat_id": "4711"}))
    assert story(row) == [("telegram", "not_configured"), ("email", "no_address"), ("sms", "accepted")]
    for skip in row.attempts.all()[:2]:
        assert (skip.outcome, skip.temporary, skip.account) == (Outcome.SKIPPED, False, "")
        assert skip.detail


def test_a_channel_without_an_account_is_skipped(fakes: FakeRegistry, settings: Settings) -> None:
    settings.SMTP_HOST = settings.TELEGRAM_BOT_TOKEN = ""
    settings.SMS_PROVIDER = ()
    row = delivered(stored())
    assert (row.status, row.failure_code) == (Status.FAILED, "not_configured")
    assert story(row) == [(name, "not_configured") for name in ("email", "sms", "telegram")]


# --- The request's own account ---------------------------------------------------------------------------------------
OWN = {"user": "ann@example.com", "password": "secret", "host": None, "port": None, "security": None}


def with_own_account(*channels: str, secret: bytes | None = None) -> Notification:
    sealed = vault.seal({**OWN, "from_email": None}) if secret is None else secret or None
    return stored(*channels, own_account=True, credentials=sealed)


def test_only_the_email_channel_uses_the_requests_own_account(fakes: FakeRegistry) -> None:
    fakes["email"].fail_next(DOWN)
    row = delivered(with_own_account())
    assert list(row.attempts.values_list("channel", "account")) == [("email", "request"), ("sms", "default")]

    row = delivered(with_own_account())
    _, account = fakes["email"].sent[0]
    assert isinstance(account, SmtpAccount)
    assert (account.origin, account.user, account.password) == ("request", "ann@example.com", "secret")
    assert account.host == "mail.example.com"
    assert row.credentials is None


@pytest.mark.parametrize("code", ["authentication_failed", "tls_failed", "misconfigured"])
def test_what_an_operator_can_mend_is_temporary_and_a_requests_own_fault_is_not(code: str, fakes: FakeRegistry) -> None:
    fakes["email"].always = MisconfiguredError("535 no", code=code)
    own = delivered(with_own_account("email"))
    assert (own.status, own.failure_code, own.attempts.get().temporary) == (Status.FAILED, code, False)
    default = delivered(stored("email"))
    assert (default.status, default.round, default.attempts.get().temporary) == (Status.QUEUED, 1, True)


@pytest.mark.parametrize(
    ("secret", "code", "temporary"),
    [
        (b"", "not_configured", False),  # wiped: retried by hand without giving them again
        (b"altered", "internal_error", True),  # no key opens it: an operator can bring the key back
    ],
)
def test_without_its_own_account_a_request_never_goes_through_another(
    secret: bytes, code: str, temporary: bool, fakes: FakeRegistry
) -> None:
    row = delivered(with_own_account("email", "sms", secret=secret))
    assert story(row) == [("email", code), ("sms", "accepted")]
    assert row.attempts.all()[0].temporary is temporary
    assert not fakes["email"].sent


def test_a_host_that_is_not_allowed_any_more_is_not_used(fakes: FakeRegistry) -> None:
    secret = vault.seal({**OWN, "host": "mail.elsewhere.example", "port": 587, "from_email": None})
    row = delivered(with_own_account("email", secret=secret))
    assert story(row) == [("email", "not_configured")]
    assert not fakes["email"].sent


# --- Bars, time and unknown ends -------------------------------------------------------------------------------------
def test_a_higher_bar_waits_and_after_the_deadline_the_next_step_has_its_turn(fakes: FakeRegistry) -> None:
    steps = [{"channel": "telegram", "until": "delivered", "within": 60}, {"channel": "sms"}]
    row = delivered(stored(steps=steps))
    assert (row.status, story(row)) == (Status.WAITING, [("telegram", "accepted")])
    assert row.due_at is not None
    assert 30 * SECOND < row.due_at - timezone.now() < 61 * SECOND

    row.attempts.update(started_at=F("started_at") - timedelta(seconds=60))
    make_due(row)
    assert delivered(row).status == Status.SENT
    assert story(row) == [("telegram", "accepted"), ("telegram", "deadline_missed"), ("sms", "accepted")]
    missed = row.attempts.all()[1]
    assert (missed.outcome, missed.temporary) == (Outcome.FAILED, False)


def test_a_step_with_time_is_tried_again_before_the_next_one(fakes: FakeRegistry, settings: Settings) -> None:
    settings.STEP_RETRY_SECONDS = timedelta(milliseconds=30)
    fakes["email"].fail_next(DOWN, DOWN)
    row = delivered(stored(steps=[{"channel": "email", "within": 60}, {"channel": "sms"}]))
    assert row.round == 0
    wait_until(lambda: delivered(row).status == Status.SENT, 30, "the step's next tries")
    assert story(row) == [("email", "unreachable"), ("email", "unreachable"), ("email", "accepted")]
    assert not fakes["sms"].sent


ON_UNKNOWN: list[tuple[str, Status, list[tuple[str, str]]]] = [
    ("next", Status.SENT, [("email", "outcome_unknown"), ("sms", "accepted")]),
    ("retry", Status.SENT, [("email", "outcome_unknown"), ("email", "accepted")]),
    ("stop", Status.FAILED, [("email", "outcome_unknown")]),
]


@pytest.mark.parametrize(("on_unknown", "status", "expected"), ON_UNKNOWN)
def test_what_may_have_arrived_goes_on_as_the_client_said(
    on_unknown: str, status: Status, expected: list[tuple[str, str]], fakes: FakeRegistry, settings: Settings
) -> None:
    settings.STEP_RETRY_SECONDS = timedelta(milliseconds=10)
    fakes["email"].fail_next(UnknownOutcomeError("No answer came."))
    row = stored("email", "sms", on_unknown=on_unknown)
    wait_until(lambda: delivered(row).status == status, 30, f"it is {status}")
    assert story(row) == expected
    assert row.failure_code == ("outcome_unknown" if status is Status.FAILED else "")


def test_a_provider_that_knows_the_text_already_says_that_it_arrived(fakes: FakeRegistry, settings: Settings) -> None:
    settings.STEP_RETRY_SECONDS = timedelta(milliseconds=10)
    fakes["sms"].fail_next(UnknownOutcomeError("No answer came."), RepeatedError("Said before."))
    row = stored("sms", "email", on_unknown="retry")
    wait_until(lambda: delivered(row).status == Status.SENT, 30, "it is sent")
    assert story(row) == [("sms", "outcome_unknown"), ("sms", "accepted")]
    assert not fakes["email"].sent


def test_a_provider_that_knows_the_text_from_another_message_has_not_got_this_one(fakes: FakeRegistry) -> None:
    fakes["sms"].fail_next(RepeatedError("Said before."))
    row = delivered(stored("sms", "email"))
    assert story(row) == [("sms", "rate_limited"), ("email", "accepted")]


@pytest.mark.parametrize(("on_unknown", "status", "expected"), ON_UNKNOWN)
def test_a_worker_that_died_during_the_hand_over_leaves_an_unknown_end(
    on_unknown: str, status: Status, expected: list[tuple[str, str]], fakes: FakeRegistry, settings: Settings
) -> None:
    settings.STEP_RETRY_SECONDS = timedelta(milliseconds=10)
    row = stored("email", "sms", on_unknown=on_unknown)
    died_in(row, handover_step=0)
    wait_until(lambda: delivered(row).status == status, 30, f"it is {status}")
    assert story(row) == expected


def test_a_worker_that_died_before_it_leaves_nothing(fakes: FakeRegistry) -> None:
    row = stored("email", "sms")
    died_in(row, handover_step=None)
    assert delivered(row).status == Status.SENT
    assert story(row) == [("email", "accepted")]


def test_a_worker_that_died_at_a_later_step_leaves_that_one_unknown(fakes: FakeRegistry) -> None:
    row = stored()
    Attempt.objects.create(
        notification=row, step=0, round=0, channel="email", outcome="failed", temporary=True, code="timeout",
        started_at=timezone.now(),
    )  # fmt: skip
    died_in(row, handover_step=1)
    assert delivered(row).status == Status.SENT
    assert story(row) == [("email", "timeout"), ("sms", "outcome_unknown"), ("telegram", "accepted")]


def died_in(row: Notification, *, handover_step: int | None) -> None:
    """As a worker left it whose lease is over now."""
    token = "00000000-0000-4000-8000-00000000dead"
    change(row, status="sending", due_at=None, claim_token=token, lease_until=Now(), handover_step=handover_step)
    let_lease_lapse(row)


# --- A chat that moved -----------------------------------------------------------------------------------------------
def test_a_chat_that_moved_is_remembered_of_a_stored_user(fakes: FakeRegistry) -> None:
    ann = person()
    for row in (stored("telegram", recipient=ann), stored("telegram")):
        fakes["telegram"].answer_next(Receipt(provider_id="5", new_address="-1009"))
        assert delivered(row).status == Status.SENT
    ann.refresh_from_db()
    assert ann.telegram_chat_id == "-1009"


def test_an_error_of_no_kind_may_have_arrived(fakes: FakeRegistry, caplog: pytest.LogCaptureFixture) -> None:
    for error in (ChannelError("of no kind"), ZeroDivisionError("a bug")):
        fakes["email"].fail_next(error)
        row = delivered(stored("email", "sms"))
        assert story(row) == [("email", "internal_error"), ("sms", "accepted")]
        assert row.attempts.all()[0].outcome == Outcome.UNKNOWN
    assert "a bug" in caplog.text
