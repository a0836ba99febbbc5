"""Nothing of a person is kept longer than it must be: by age, and when the person is to be forgotten."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection, models
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from accounts.models import Registration
from notifier import erasure, idempotency, retention, tasks
from notifier.celery import app as celery_app
from notifier.models import (
    ApiKey,
    Attachment,
    Attempt,
    Callback,
    Circuit,
    Event,
    IdempotencyKey,
    Notification,
    Organization,
    Receipt,
    Recipient,
    TransientAttachment,
)
from notifier.states import Outcome, Status
from tests.notifier.rows import in_state, organization, person, stored

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
ANN = {
    "email": "ann.canary@example.com",
    "phone": "+12025550177",
    "telegram_chat_id": "48151623",
    "name": "Ann Canary",
    "external_id": "crm-canary-7",
}
WORDS = "Your canary results are in"

KEPT_UNTIL_SOMEBODY_DELETES_THEM = {
    "notifier.Organization",
    "notifier.Membership",
    "notifier.Recipient",  # until the person is erased
    "notifier.EmailSettings",
    "notifier.SmsSettings",
    "notifier.TelegramSettings",
    "deadlines.Deadline",
    "deadlines.DigestSettings",
    "auth.User",
    "auth.Group",
    "auth.Permission",
    "contenttypes.ContentType",
}


def dump() -> str:
    """Every row of every table, as text."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608 - our own tables
            found += [_plain(value) for row in cursor.fetchall() for value in row]
    return "\n".join(found)


def _plain(value: object) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return bytes(value).decode("latin-1") if isinstance(value, bytes | memoryview) else str(value)


def aged(row: models.Model, **values: Any) -> None:
    """Write what no door lets through: a time that is long gone."""
    type(row)._default_manager.filter(pk=row.pk).update(**values)


# --- One old row of everything ---------------------------------------------------------------------------------------
def _notification(age: timedelta, trace: str) -> None:
    row = stored(
        to={"email": trace},
        subject=trace,
        message=trace,
        reference=trace,
        **{**in_state(Status.SENT), "finished_at": Now() - age},
    )
    Attempt.objects.create(
        notification=row, step=0, round=0, channel="email", outcome=Outcome.FAILED, temporary=False, code="rejected",
        detail=trace, provider_id=trace, started_at=timezone.now() - age,
    )  # fmt: skip
    Attachment.objects.create(notification=row, filename=trace, content_type="text/plain", content=trace.encode())
    TransientAttachment.objects.create(notification=row, filename=trace, content_type="a/b", content=trace.encode())
    Callback.objects.create(notification=row, event="notification.sent", payload={"to": trace})


def _key(age: timedelta, trace: str, **ended: bool) -> None:
    row = ApiKey.objects.create(organization=organization(), name=trace, prefix=trace[:20], digest=trace.encode()[:32])
    aged(row, created_at=Now() - 2 * age, **{name: Now() - age for name in ended})


def _idempotency(age: timedelta, trace: str) -> None:
    row = IdempotencyKey.objects.create(organization=organization(), key=trace, fingerprint="f")
    aged(row, created_at=Now() - age)


def _receipt(age: timedelta, trace: str) -> None:
    row = Receipt.objects.create(channel="email", provider_id=trace, kind="bounced", detail=trace)
    aged(row, received_at=Now() - age)


def _circuit(age: timedelta, trace: str) -> None:
    aged(Circuit.objects.create(key=trace), changed_at=Now() - age)


def _event(age: timedelta, trace: str) -> None:
    row = Event.objects.create(organization_id=organization().pk, notification_id=1, status=trace[:16])
    aged(row, at=Now() - age)


def _session(age: timedelta, trace: str) -> None:
    Session.objects.create(session_key=trace[:40], session_data=trace, expire_date=timezone.now() - age)


def _history(age: timedelta, trace: str) -> None:
    operator, _ = get_user_model().objects.get_or_create(username="operator")
    row = LogEntry.objects.create(
        user=operator, object_id="1", object_repr=trace, action_flag=CHANGE, change_message=trace
    )
    aged(row, action_time=Now() - age)


def _login(age: timedelta, trace: str) -> None:
    for name in ("AccessAttempt", "AccessFailureLog", "AccessLog"):
        fields = {"username": trace, "ip_address": "203.0.113.7", "user_agent": trace}
        more = {"failures_since_start": 1} if name == "AccessAttempt" else {}
        aged(apps.get_model("axes", name)._default_manager.create(**fields, **more), attempt_time=Now() - age)


def _import(age: timedelta, trace: str) -> None:
    operator, _ = get_user_model().objects.get_or_create(username="operator")
    draft = apps.get_model("deadlines", "ImportDraft")._default_manager
    aged(draft.create(organization=organization(), operator=operator, content=trace.encode()), created_at=Now() - age)


def _digest(age: timedelta, trace: str) -> None:
    owner = Organization.objects.create(slug=trace[:20], name="Served")
    day = timezone.now() - age
    run = apps.get_model("deadlines", "DigestRun")._default_manager
    aged(run.create(organization=owner, date=day.date()), created_at=day)


def _token(age: timedelta, trace: str) -> None:
    row = OutstandingToken.objects.create(jti=trace, token=trace, expires_at=timezone.now() - age)
    BlacklistedToken.objects.create(token=row)


def _registration(age: timedelta, trace: str) -> None:
    user = get_user_model().objects.create(username=trace, is_active=False)
    aged(Registration.objects.create(user=user), created_at=Now() - age)


def _backup(age: timedelta, trace: str) -> None:
    moment = timezone.now() - age
    fields = {"trigger": "command", "status": "failed", "error_code": "x", "error": trace, "path": trace}
    apps.get_model("backups", "Backup")._default_manager.create(started_at=moment, finished_at=moment, **fields)


MAKERS: dict[str, Callable[[timedelta, str], None]] = {
    "notification": _notification,
    "revoked key": lambda age, trace: _key(age, trace, revoked_at=True),
    "expired key": lambda age, trace: _key(age, trace, expires_at=True),
    "idempotency key": _idempotency,
    "receipt": _receipt,
    "circuit": _circuit,
    "event": _event,
    "session": _session,
    "history": _history,
    "login": _login,
    "token": _token,
    "registration": _registration,
    "file to import": _import,
    "backup": _backup,
}


def run_beat() -> None:
    """Those tasks of beat's schedule that delete, each once."""
    celery_app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in celery_app.conf.beat_schedule.values()}
    for name in ("accounts.purge", "notifier.apply_receipts", "notifier.purge"):
        assert name in scheduled
        celery_app.tasks[name]()


@pytest.mark.parametrize("name", MAKERS)
def test_what_had_its_time_is_gone_and_what_has_not_stays(name: str, settings: Settings) -> None:
    settings.RETENTION = 90 * DAY
    MAKERS[name](91 * DAY, "the-old-canary-" + "x" * 30)
    MAKERS[name](-DAY if name in {"session", "token"} else timedelta(minutes=5), "a-young-canary-" + "y" * 30)
    assert "the-old-canary" in dump()
    run_beat()
    assert "the-old-canary" not in dump()
    assert "a-young-canary" in dump()


def test_every_table_is_cleared_by_age_or_kept_on_purpose() -> None:
    """A new table fails here until somebody has decided."""
    for number, make in enumerate((*MAKERS.values(), _digest)):
        make(91 * DAY, f"trace-{number}-" + "x" * 30)
    filled = {model._meta.label for model in apps.get_models() if model._default_manager.exists()}
    run_beat()
    emptied = filled - {model._meta.label for model in apps.get_models() if model._default_manager.exists()}
    every = {model._meta.label for model in apps.get_models() if model._meta.managed}
    undecided = {label for label in every - emptied - KEPT_UNTIL_SOMEBODY_DELETES_THEM if not _is_expiry(label)}
    assert not undecided


def _is_expiry(label: str) -> bool:
    """Beside each attempt, and gone with it."""
    return label == "axes.AccessAttemptExpiration"


def test_a_key_that_lives_and_a_message_under_way_never_grow_old() -> None:
    key = ApiKey.objects.create(organization=organization(), prefix="p", digest=b"d")
    aged(key, created_at=Now() - 1000 * DAY, last_used_at=Now() - 900 * DAY)
    row = stored(created_at=Now() - 1000 * DAY)
    run_beat_purge()
    assert ApiKey.objects.filter(pk=key.pk).exists()
    assert Notification.objects.filter(pk=row.pk).exists()


def run_beat_purge() -> None:
    celery_app.tasks["notifier.purge"]()


def test_beat_clears_every_hour() -> None:
    hourly = [entry["schedule"] for entry in django_settings.CELERY_BEAT_SCHEDULE.values()
              if entry["task"] == "notifier.purge"]  # fmt: skip
    assert hourly == [3600.0]


@pytest.mark.django_db(transaction=True)
def test_it_goes_in_batches_and_each_stays_done() -> None:
    for number in range(7):
        _idempotency(2 * DAY, f"key-{number}")
    statements: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("DELETE"):
            statements.append(sql)
            if len(statements) == 3:
                raise DatabaseError("canceling statement due to statement timeout")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note), pytest.raises(DatabaseError):
        retention.delete_in_batches(IdempotencyKey.objects.order_by("id"), batch=2)
    assert IdempotencyKey.objects.count() == 3
    assert retention.delete_in_batches(IdempotencyKey.objects.order_by("id"), batch=2) == 3


def test_one_table_that_cannot_be_cleared_keeps_no_other_from_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise DatabaseError("canceling statement due to statement timeout")

    monkeypatch.setattr(idempotency, "forget", fail)
    monkeypatch.setattr(erasure, "purge", fail)
    _session(DAY, "s" * 40)
    tasks.purge()
    assert not Session.objects.exists()
    assert caplog.text.count("Old rows could not be deleted.") == 2


# --- A person who is to be forgotten ---------------------------------------------------------------------------------
def everything_of(ann: Recipient, status: Status) -> Notification:
    """A notification with all that may hang on it, each with a word of hers."""
    row = stored(
        recipient=ann, subject=WORDS, message=WORDS, html=WORDS, forms={"sms": WORDS}, reference=ANN["email"],
        metadata={"who": ANN["name"]}, callback_url=f"https://example.com/{ANN['external_id']}", **in_state(status),
    )  # fmt: skip
    Attempt.objects.create(
        notification=row, step=0, round=0, channel="email", outcome=Outcome.ACCEPTED, temporary=None, code="",
        detail=f"250 {ANN['email']}", provider_id=f"<{ANN['email']}>", started_at=timezone.now(),
    )  # fmt: skip
    Attachment.objects.create(notification=row, filename=f"{WORDS}.pdf", content_type="a/b", content=WORDS.encode())
    Callback.objects.create(notification=row, event="notification.sent", payload={"message": WORDS})
    Receipt.objects.create(channel="email", provider_id=f"<{ANN['email']}>", kind="bounced", detail=ANN["email"])
    return row


def canaries() -> list[str]:
    """What of her stands anywhere in the database."""
    text = dump()
    return [word for word in (*ANN.values(), WORDS, "canary") if word in text]


@pytest.fixture
def operator(client: Client) -> Client:
    """An operator who has signed in."""
    client.force_login(get_user_model().objects.create_superuser("root", "root@example.com", "x" * 20))
    return client


def test_of_an_erased_person_nothing_remains_anywhere(api: APIClient) -> None:
    ann = person(**ANN)
    ids = [everything_of(ann, status).pk for status in Status]
    operator = get_user_model().objects.create(username="operator")
    LogEntry.objects.create(
        user=operator,
        content_type=ContentType.objects.get_for_model(Recipient),
        object_id=str(ann.pk),
        object_repr=str(ann),
        action_flag=CHANGE,
        change_message=f"Changed {ann.email}",
    )
    assert len(canaries()) == len(ANN) + 2
    assert api.delete(f"/api/users/{ann.pk}/").status_code == 204
    assert canaries() == []
    assert LogEntry.objects.get().object_repr == f"#{ann.pk}"
    for pk in ids:
        shown = api.get(f"/api/notifications/{pk}/").json()
        assert (shown["user_id"], shown["to"], shown["subject"], shown["message"]) == (None, None, "", "")


def test_an_operator_who_erases_a_person_leaves_no_name_in_the_history(operator: Client) -> None:
    ann = person(**ANN)
    everything_of(ann, Status.SENT)
    answer = operator.post(f"/admin/notifier/recipient/{ann.pk}/delete/", {"post": "yes"})
    assert answer.status_code == 302
    Session.objects.all().delete()  # the page's own "was deleted" message, shown once
    assert canaries() == []
    assert LogEntry.objects.count() == 1


def test_a_namesake_of_another_organization_stays(api: APIClient) -> None:
    other = Organization.objects.create(slug="other", name="Other")
    ann, namesake = person(**ANN), person(**{**ANN, "organization": other})
    theirs = stored(recipient=namesake, organization=other, message=WORDS)
    assert api.delete(f"/api/users/{ann.pk}/").status_code == 204
    namesake.refresh_from_db()
    theirs.refresh_from_db()
    assert (namesake.email, theirs.message) == (ANN["email"], WORDS)
