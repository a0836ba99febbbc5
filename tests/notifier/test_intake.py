"""`notifier.send(...)`: from Python into the ledger, or a refusal with nothing stored."""

import os
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from threading import Semaphore
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks
from pytest_django.fixtures import Settings

import notifier
from channels.errors import TemporaryError
from notifier import bell, send
from notifier.celery import app
from notifier.intake import InvalidNotificationError, accept_many
from notifier.models import Notification, Organization
from notifier.states import Status
from tests.conftest import FakeRegistry
from tests.notifier.rows import person, story
from tests.servers.base import wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _bell_that_was_never_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "_silent_until", 0.0)


def test_it_is_offered_by_the_package() -> None:
    assert notifier.send is send
    with pytest.raises(AttributeError, match="no attribute 'receive'"):
        notifier.receive  # noqa: B018


@pytest.mark.parametrize(
    ("to", "stored"),
    [
        ("ann@example.com", {"email": "ann@example.com"}),
        ("ann@EXAMPLE.com", {"email": "ann@example.com"}),
        ({"phone": "+1 202 555 0123"}, {"phone": "+12025550123"}),
        ({"telegram_chat_id": 4711, "language": "de"}, {"telegram_chat_id": "4711", "language": "de"}),
    ],
)
def test_to_is_an_address_or_what_the_api_takes(to: str | Mapping[str, Any], stored: dict[str, str]) -> None:
    row = send(to=to, message="Hello")
    row.refresh_from_db()
    assert (row.to, row.recipient) == (stored, None)


def test_a_stored_user_is_named_by_id() -> None:
    ann = person()
    row = send(user_id=ann.pk, message="Hello")
    assert (row.recipient, row.to) == (ann, None)
    assert row.address("sms") == ann.phone


def test_what_is_stored_is_what_comes_back() -> None:
    row = send(to="ann@example.com", message="Hello", reference="7", metadata={"a": 1}, priority="high")
    found = Notification.objects.get(pk=row.pk)
    for field in Notification._meta.concrete_fields:
        assert getattr(row, field.attname) == getattr(found, field.attname), field.name
    assert (found.status, found.organization.slug, found.priority) == (Status.QUEUED, "default", 2)
    assert abs(found.expires_at - timezone.now() - timedelta(hours=24)) < timedelta(minutes=1)


def test_it_is_of_the_organization_that_was_named() -> None:
    other = Organization.objects.create(slug="other", name="Other")
    for named in ("other", other):
        assert send(to="ann@example.com", message="Hello", organization=named).organization == other
    with pytest.raises(InvalidNotificationError, match="nobody"):
        send(to="ann@example.com", message="Hello", organization="nobody")
    assert Notification.objects.count() == 2


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nobody": ({"message": "Hello"}, "user_id"),
    "two addressees": ({"to": "ann@example.com", "user_id": 1, "message": "Hello"}, "user_id"),
    "nothing to say": ({"to": "ann@example.com"}, "message"),
    "no address": ({"to": "ann", "message": "Hello"}, "to"),
    "an empty person": ({"to": {}, "message": "Hello"}, "to"),
    "no such user": ({"user_id": 10**9, "message": "Hello"}, "user_id"),
    "a misspelt field": ({"to": "ann@example.com", "message": "Hello", "smtp_pasword": "x"}, "smtp_pasword"),
    "half of the credentials": ({"to": "ann@example.com", "message": "Hello", "smtp_user": "ann"}, "smtp_password"),
    "an unknown channel": ({"to": "ann@example.com", "message": "Hello", "channels": ["fax"]}, "channels"),
    "a channel twice": ({"to": "ann@example.com", "message": "Hello", "channels": ["sms", "sms"]}, "channels"),
    "an unknown template": ({"to": "ann@example.com", "template": "nothing"}, "template"),
    "a NUL in an object": ({"to": "ann@example.com", "message": "Hello", "metadata": {"a": ["\\", "\0"]}}, "metadata"),
    "a NUL in a name": ({"to": "ann@example.com", "message": "Hello", "metadata": {"\\\0": 1}}, "metadata"),
    "no JSON": ({"to": "ann@example.com", "template": "welcome", "context": {"name": Decimal(1)}}, "context"),
    "a line break in the subject": ({"to": "ann@example.com", "message": "Hello", "subject": "a\nb"}, "subject"),
}


@pytest.mark.parametrize(("body", "field"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_the_field_and_stores_nothing(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidNotificationError) as refused:
        send(**body)
    assert isinstance(refused.value, ValueError)
    assert field in refused.value.errors
    assert not Notification.objects.exists()


def test_what_only_looks_like_a_nul_is_stored() -> None:
    told = {"a": "\\u0000", "b": "\\\\u0000"}
    assert Notification.objects.get(pk=send(to="ann@example.com", message="Hello", metadata=told).pk).metadata == told


def test_another_organizations_user_does_not_exist() -> None:
    stranger = person(organization=Organization.objects.create(slug="other", name="Other"))
    with pytest.raises(InvalidNotificationError):
        send(user_id=stranger.pk, message="Hello")
    assert not Notification.objects.exists()


def test_a_refusal_never_repeats_the_password() -> None:
    with pytest.raises(InvalidNotificationError) as refused:
        send(to="ann@example.com", message="Hello", smtp_password="canary-7d1f")
    assert "canary" not in f"{refused.value!r} {refused.value} {refused.value.errors}"


def test_many_are_stored_together_or_not_at_all(organization: Organization) -> None:
    good, bad = {"to": {"email": "ann@example.com"}, "message": "Hello"}, {"to": {"email": "ann"}, "message": "Hello"}
    with pytest.raises(Exception, match="email"):
        accept_many(organization, [good, bad, good])
    assert not Notification.objects.exists()
    rows = accept_many(organization, [good] * 3)
    assert len({row.pk for row in rows}) == Notification.objects.count() == 3


# --- Defaults --------------------------------------------------------------------------------------------------------
SUBJECTS = {
    "Hello": "Hello",
    "\n  \n  Hello, Ann  \nHow are you?": "Hello, Ann",
    "Line\tone": "Line one",
    "Цена 10\u00a0000\u2009₽": "Цена 10 000 ₽",
    "\u200b\u2060\nHello\x07": "Hello",
    "می\u200cخواهم 👩\u200d👧": "می\u200cخواهم 👩\u200d👧",
    "x" * 200: "x" * 77 + "…",
    "a" + " word" * 40: "a" + " word" * 15 + "…",
    "x" * 78: "x" * 78,
    "Привет, Аня\r\nКак дела?": "Привет, Аня",
}


@pytest.mark.parametrize(("message", "subject"), SUBJECTS.items())
def test_the_subject_is_the_first_line_that_says_something(message: str, subject: str) -> None:
    row = send(to="ann@example.com", message=message)
    assert (row.subject, row.message) == (subject, message)


@pytest.mark.parametrize(
    ("own", "wanted", "expected"),
    [
        ([], None, ["email", "sms", "telegram"]),
        (["telegram", "email"], None, ["telegram", "email"]),
        (["telegram", "email"], ["sms"], ["sms"]),
    ],
)
def test_the_requests_chain_comes_before_the_persons_and_that_before_the_default(
    own: list[str], wanted: list[str] | None, expected: list[str]
) -> None:
    row = send(user_id=person(channels=own).pk, message="Hello", channels=wanted)
    assert [step.channel for step in row.chain] == expected


def test_a_later_moment_is_when_it_is_due_and_its_life_begins_then(settings: Settings) -> None:
    settings.NOTIFICATION_TTL = timedelta(hours=1)
    later = timezone.now().replace(microsecond=0) + timedelta(days=2)
    row = send(to="ann@example.com", message="Hello", send_at=later.isoformat())
    row.refresh_from_db()
    assert (row.due_at, row.send_at, row.expires_at) == (later, later, later + timedelta(hours=1))


# --- The bell --------------------------------------------------------------------------------------------------------
@pytest.fixture
def eager(settings: Settings) -> Iterator[None]:
    """What CELERY_TASK_ALWAYS_EAGER=1 does."""
    settings.CELERY_TASK_ALWAYS_EAGER = app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


def test_in_eager_mode_the_first_round_runs_right_after_the_commit(
    eager: None, fakes: FakeRegistry, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    fakes["email"].fail_next(TemporaryError("busy"))
    with django_capture_on_commit_callbacks() as callbacks:
        row = send(to={"email": "ann@example.com", "phone": "+12025550123"}, message="Hello")
        assert story(row) == []
    for callback in callbacks:
        callback()
    row.refresh_from_db()
    assert (row.status, story(row)) == (Status.SENT, [("email", "provider_error"), ("sms", "accepted")])


def test_in_eager_mode_a_first_round_is_one_round(
    eager: None, fakes: FakeRegistry, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    for fake in fakes.values():
        fake.always = TemporaryError("busy")
    with django_capture_on_commit_callbacks(execute=True):
        row = send(to="ann@example.com", message="Hello", channels=["email"])
    row.refresh_from_db()
    assert (row.status, row.round, row.attempts.count()) == (Status.QUEUED, 1, 1)


def test_a_bell_that_fails_harms_nothing_and_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    rings: list[dict[str, Any]] = []

    def broken(**arguments: Any) -> None:
        rings.append(arguments)
        raise OSError("no broker at redis://:secret@127.0.0.1")

    monkeypatch.setattr("notifier.tasks.deliver.apply_async", broken)
    with django_capture_on_commit_callbacks(execute=True):
        rows = [send(to="ann@example.com", message="Hello") for _ in range(3)]
    assert bell.rest(30)
    assert Notification.objects.filter(pk__in=[row.pk for row in rows], status=Status.QUEUED).count() == 3
    assert rings == [{"kwargs": {}}]  # no id, no text, no secret; and only once
    monkeypatch.setattr(bell, "_silent_until", 0.0)
    assert bell.ring([1]) is False
    assert len(rings) == 2


def test_a_transaction_that_is_rolled_back_rings_for_nobody(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    rings: list[dict[str, Any]] = []
    monkeypatch.setattr("notifier.tasks.deliver.apply_async", lambda **arguments: rings.append(arguments))
    with django_capture_on_commit_callbacks(execute=True) as callbacks, transaction.atomic():
        send(to="ann@example.com", message="Hello")
        transaction.set_rollback(True)
    assert bell.rest(30)
    assert (callbacks, rings) == ([], [])
    assert not Notification.objects.exists()


class SlowBroker:
    """Each ring begins, and ends when the test says so."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.go_on = Semaphore(0)

    def apply_async(self, **_: object) -> None:
        """In `deliver`'s place."""
        self.begun += 1
        assert self.go_on.acquire(timeout=60)
        self.ended += 1


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowBroker]:
    """A broker that takes its time."""
    assert bell.rest(30)
    slow = SlowBroker()
    monkeypatch.setattr("notifier.tasks.deliver.apply_async", slow.apply_async)
    yield slow
    slow.go_on.release(100)
    assert bell.rest(30)


def ask() -> None:
    """As after a commit."""
    with transaction.atomic():
        bell.ring_after_commit([1])


@pytest.mark.django_db(transaction=True)
def test_whoever_asks_during_a_ring_is_given_another_one_together(broker: SlowBroker) -> None:
    ask()
    wait_until(lambda: broker.begun == 1, 30, "it rings")
    for _ in range(50):
        ask()
    assert not bell.rest(0.05)
    broker.go_on.release()
    wait_until(lambda: broker.begun == 2, 30, "it rings again for those who asked meanwhile")
    assert not bell.rest(0.05)
    broker.go_on.release()
    assert bell.rest(30)
    assert (broker.begun, broker.ended) == (2, 2)


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_hangs_keeps_no_request_waiting(broker: SlowBroker) -> None:
    began = time.monotonic()
    rows = [send(to="ann@example.com", message="Hello") for _ in range(20)]
    assert time.monotonic() - began < 20
    assert Notification.objects.filter(pk__in=[row.pk for row in rows]).count() == 20
    assert broker.begun <= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a prefork worker")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_rings_by_itself(broker: SlowBroker) -> None:
    bell._ringer.ask()
    wait_until(lambda: broker.begun == 1, 30, "the parent's thread runs")
    pid = os.fork()
    if pid == 0:
        broker.go_on.release(2)
        bell._ringer.ask()
        os._exit(0 if bell.rest(30) and broker.begun == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
