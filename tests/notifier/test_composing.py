"""Notifications made by templates: what is stored of them, in which language, what of it stays secret, what leaves."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django.fixtures import Settings
from rest_framework.exceptions import ValidationError

from channels.base import Message
from channels.errors import PermanentError, TemporaryError
from notifier import delivery, intake, ledger, message_templates, send, vault
from notifier.intake import InvalidNotificationError
from notifier.limits import Sender
from notifier.models import Notification, Organization, Recipient
from notifier.states import Status
from tests.conftest import FakeRegistry
from tests.notifier.rows import EVERYWHERE, person
from tests.notifier.test_secrets import in_the_database

pytestmark = pytest.mark.django_db

TOKEN = "kanarienvogel-4711"
LINK = f"https://notifier.example/activate?token={TOKEN}&next=<b>"
SECRET = {"template": "activation", "context": {"link": LINK, "hours": 48}}
GREETING: dict[str, Any] = {"template": "welcome", "context": {"name": "Ann", "organization": "Acme"}}
ACCOUNT = {"smtp_user": "me@example.com", "smtp_password": "the password"}


def accepted(organization: Organization, **body: Any) -> Notification:
    if "user_id" not in body:
        body.setdefault("to", EVERYWHERE)
    row = intake.accept(organization, body, ring=False)
    stored = Notification.objects.get(pk=row.pk)
    for name in ("subject", "message", "html", "template", "forms", "priority", "steps", "to"):
        assert getattr(row, name) == getattr(stored, name), name
    return stored


def carried(fakes: FakeRegistry, row: Notification, channel: str) -> Message:
    """The message that left by this channel, where all before it are down."""
    for name, fake in fakes.items():
        fake.always = None if name == channel else TemporaryError("busy")
    delivery.deliver([row.pk])
    sent: Message = fakes[channel].sent[-1][0]
    return sent


# --- Stored as it was then -------------------------------------------------------------------------------------------
def test_the_row_holds_what_the_template_made(organization: Organization) -> None:
    template = message_templates.find("welcome")
    assert template is not None
    made = template.render(GREETING["context"], "en")
    row = accepted(organization, **GREETING)
    assert (row.subject, row.message, row.html) == (made.subject, made.text, made.html)
    assert (row.template, row.forms, row.credentials) == ("welcome", {"sms": made.sms}, None)


def test_a_later_change_of_the_template_changes_nothing_that_was_accepted(
    organization: Organization, fakes: FakeRegistry, settings: Settings, tmp_path: Any
) -> None:
    row = accepted(organization, **GREETING)
    settings.MESSAGE_TEMPLATES = tmp_path
    assert message_templates.find("welcome") is None
    message = carried(fakes, row, "email")
    assert (message.subject, message.text, message.html) == (row.subject, row.message, row.html)


@pytest.mark.parametrize("channel", ["email", "sms", "telegram"])
def test_each_channel_carries_its_form(organization: Organization, fakes: FakeRegistry, channel: str) -> None:
    template = message_templates.find("order_request")
    assert template is not None
    made = template.render(template.sample, "en")
    row = accepted(organization, template="order_request", context=template.sample)
    message = carried(fakes, row, channel)
    assert message.text == {"email": made.text, "sms": made.sms, "telegram": made.telegram}[channel]
    assert bool(message.html) == (channel == "email")
    assert message.literal


def test_a_subject_beside_a_template_takes_its_subjects_place(organization: Organization) -> None:
    assert accepted(organization, **GREETING, subject="Hi {{ name }}").subject == "Hi {{ name }}"
    assert accepted(organization, **GREETING, subject="").subject == "Welcome to Acme"


# --- The language ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("stored", "named", "service", "expected"),
    [
        ("ru", None, "en", "ru"),
        ("ru-by", None, "en", "ru"),
        ("", None, "en", "en"),
        ("", None, "ru", "ru"),
        ("fr", None, "ru", "ru"),
        (None, "ru", "en", "ru"),
        (None, "RU-ru", "en", "ru"),
        (None, "fr", "en", "en"),
        (None, None, "ru", "ru"),
    ],
)
def test_the_language_is_the_persons_else_the_services(
    organization: Organization, settings: Settings, stored: str | None, named: str | None, service: str, expected: str
) -> None:
    settings.LANGUAGE_CODE = service
    template = message_templates.find("deadline_digest")
    assert template is not None
    body: dict[str, Any] = {"template": "deadline_digest", "context": template.sample}
    if stored is not None:
        body["user_id"] = person(language=stored).pk
    else:
        body["to"] = {**EVERYWHERE, **({"language": named} if named else {})}
    row = accepted(organization, **body)
    assert row.subject == template.render(template.sample, expected).subject
    assert row.subject != template.render(template.sample, {"en": "ru", "ru": "en"}[expected]).subject


# --- Refused ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "attr", "code"),
    [
        ({"template": "nothing"}, "template", "unknown_template"),
        ({"context": {}}, "context.link", "required"),
        ({"context": {"link": 5, "hours": 1}}, "context.link", "invalid"),
        ({"context": {**SECRET["context"], "x": 1}}, "context.x", "unknown_field"),  # type: ignore[dict-item]
        ({"context": None}, "context", "null"),
        ({"context": []}, "context", "object"),
        ({"html": "<p>"}, "html", "invalid"),
        ({"message": "Hello"}, "message", "invalid"),
        ({"subject": "⟨link⟩"}, "subject", "invalid"),
    ],
)
def test_what_is_refused_says_where(organization: Organization, change: Any, attr: str, code: str) -> None:
    with pytest.raises(ValidationError) as refused:
        intake.accept(organization, {"to": EVERYWHERE, **SECRET, **change})
    details: Any = refused.value.get_codes()
    assert code in details[attr]
    assert TOKEN not in str(refused.value)
    assert Notification.objects.count() == 0


def test_a_template_without_a_context_names_what_is_missing(organization: Organization) -> None:
    with pytest.raises(InvalidNotificationError, match=r"context\.link"):
        send(to="ann@example.com", template="activation")


def test_what_becomes_too_long_is_refused(organization: Organization, settings: Settings, tmp_path: Any) -> None:
    settings.MESSAGE_TEMPLATES = tmp_path
    (tmp_path / "long").mkdir()
    declared = {"description": {"en": ""}, "channels": [], "variables": {"type": "object"}, "sample": {}}
    (tmp_path / "long" / "template.json").write_text(json.dumps(declared))
    for file in ("subject.txt", "body.html"):
        (tmp_path / "long" / file).write_text("x")
    (tmp_path / "long" / "text.txt").write_text("x{% for a in a %}{{ b }}{% endfor %}")
    with pytest.raises(ValidationError) as refused:
        intake.accept(
            organization, {"to": EVERYWHERE, "template": "long", "context": {"a": [1] * 101, "b": "a" * 1000}}
        )
    assert refused.value.get_codes() == {"context": ["too_large"]}


# --- Secrets ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("channel", ["email", "sms", "telegram"])
def test_a_secret_is_told_to_the_person_alone(organization: Organization, fakes: FakeRegistry, channel: str) -> None:
    row = accepted(organization, **SECRET)
    assert TOKEN not in in_the_database()
    assert "⟨link⟩" in row.message
    assert row.credentials is not None
    assert vault.unseal(row.credentials) == {"values": {"link": LINK}}
    message = carried(fakes, row, channel)
    assert LINK in message.text
    assert "⟨" not in message.text + message.html + message.subject
    if channel == "email":
        assert "token=kanarienvogel-4711&amp;next=&lt;b&gt;" in message.html
    ended = Notification.objects.get(pk=row.pk)
    assert ended.status == Status.SENT
    assert ended.credentials is None
    assert TOKEN not in in_the_database()


def test_a_provider_who_repeats_a_secret_spreads_it_no_further(organization: Organization, fakes: FakeRegistry) -> None:
    fakes["sms"].always = PermanentError(f"http: HTTP 400, no: {LINK} ('{TOKEN}')")
    row = accepted(organization, **SECRET, channels=["sms"], to={"phone": "+12025550123"})
    delivery.deliver([row.pk])
    [attempt] = row.attempts.all()
    assert attempt.detail == "http: HTTP 400, no: ⟨link⟩ ('⟨link⟩')"
    assert TOKEN not in in_the_database()


def test_a_wiped_secret_leaves_every_step_out(organization: Organization, fakes: FakeRegistry) -> None:
    row = accepted(organization, **SECRET, channels=["email", "sms"])
    row.refresh_from_db()
    assert ledger.cancel(row)
    Notification.objects.filter(pk=row.pk).update(status=Status.FAILED, failure_code="rejected")
    assert ledger.retry(row, None)
    delivery.deliver([row.pk])
    row.refresh_from_db()
    told = [(attempt.channel, attempt.outcome, attempt.code) for attempt in row.attempts.all()]
    assert told == [("email", "skipped", "not_configured"), ("sms", "skipped", "not_configured")]
    assert "secret values" in row.attempts.all()[0].detail
    assert (row.status, fakes["email"].sent) == (Status.FAILED, [])


def test_a_secret_is_no_account(organization: Organization, fakes: FakeRegistry) -> None:
    row = accepted(organization, **SECRET, channels=["email"])
    carried(fakes, row, "email")
    assert [attempt.account for attempt in row.attempts.all()] == ["default"]


def test_a_secret_goes_beside_the_requests_own_account(organization: Organization, fakes: FakeRegistry) -> None:
    row = accepted(organization, **SECRET, **ACCOUNT, channels=["email"])
    assert LINK in carried(fakes, row, "email").text
    account: Any = fakes["email"].sent[-1][1]
    assert (account.origin, account.user, account.password) == ("request", "me@example.com", "the password")


@pytest.mark.parametrize("secret", [{"values": {"link": LINK}}, {}])
def test_an_own_account_that_is_not_there_is_made_of_nothing_else(
    organization: Organization, fakes: FakeRegistry, secret: dict[str, Any]
) -> None:
    row = accepted(organization, **SECRET, **ACCOUNT, channels=["email"])
    Notification.objects.filter(pk=row.pk).update(credentials=vault.seal(secret))
    delivery.deliver([row.pk])
    assert [attempt.code for attempt in row.attempts.all()] == ["not_configured"]
    assert fakes["email"].sent == []


def test_a_test_keys_secret_is_sealed_too(organization: Organization) -> None:
    row = intake.accept(
        organization, {"to": {"email": "delivered@simulator.test"}, **SECRET}, ring=False, sender=Sender(is_test=True)
    )
    assert TOKEN not in in_the_database()
    delivery.deliver([row.pk])
    assert Notification.objects.get(pk=row.pk).status == Status.SENT


def test_a_plan_stores_and_shows_no_secret(organization: Organization, fakes: FakeRegistry) -> None:
    steps = intake.plan(organization, {"to": EVERYWHERE, **SECRET})
    assert [step["runs"] for step in steps] == [True, True, True]
    assert TOKEN not in str(steps)
    assert Notification.objects.count() == 0


def test_the_admin_shows_the_marker(organization: Organization, admin_client: Any) -> None:
    row = accepted(organization, **SECRET)
    page = admin_client.get(reverse("admin:notifier_notification_change", args=[row.pk])).content.decode()
    assert "⟨link⟩" in page
    assert TOKEN not in page


# --- Many at once ----------------------------------------------------------------------------------------------------
def people(organization: Organization, *languages: str) -> list[int]:
    return [
        Recipient.objects.create(organization=organization, email="a@b.example", language=one).pk for one in languages
    ]


def test_one_content_for_many_is_checked_once_and_rendered_once_a_language(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []
    render = message_templates.Template.render

    def noted(template: message_templates.Template, context: Any, language: str) -> message_templates.Rendered:
        rendered.append(language)
        return render(template, context, language)

    checked = []
    errors = message_templates.Template.errors

    def looked(template: message_templates.Template, context: Any) -> Any:
        checked.append(context)
        return errors(template, context)

    monkeypatch.setattr(message_templates.Template, "render", noted)
    monkeypatch.setattr(message_templates.Template, "errors", looked)
    users = people(organization, "ru", "", "en", "ru", "fr", "ru-by")
    template = message_templates.find("deadline_digest")
    assert template is not None
    content = {"template": template.name, "context": template.sample}
    checked.clear()  # the sample was, when it was read
    stored = intake.accept_for_each(organization, content, users)
    assert sorted(rendered) == ["en", "ru"]
    assert len(checked) == 1
    rows = [Notification.objects.get(pk=one.pk) for one in stored]
    assert [row.recipient_id for row in rows] == users
    expected = [template.render(template.sample, language).text for language in ("ru", "en", "en", "ru", "en", "ru")]
    assert [row.message for row in rows] == expected


def test_files_and_secrets_of_one_content_go_to_each(organization: Organization, fakes: FakeRegistry) -> None:
    users = people(organization, "ru", "en")
    file = {"filename": "a.txt", "content_type": "text/plain", "content": "YQ=="}
    stored = intake.accept_for_each(organization, {**SECRET, "attachments": [file], "channels": ["email"]}, users)
    assert TOKEN not in in_the_database()
    delivery.deliver([one.pk for one in stored])
    assert [message.text.count(LINK) for message, _account in fakes["email"].sent] == [1, 1]
    assert all(len(message.attachments) == 1 for message, _account in fakes["email"].sent)


def test_each_its_own(organization: Organization) -> None:
    [user] = people(organization, "ru")
    digest = message_templates.find("deadline_digest")
    assert digest is not None
    bodies: list[Any] = [
        {"to": EVERYWHERE, **GREETING},
        {"user_id": user, "template": digest.name, "context": digest.sample},
        {"to": EVERYWHERE, "message": "Hello"},
        {"to": EVERYWHERE, **SECRET},
    ]
    rows = [Notification.objects.get(pk=one.pk) for one in intake.accept_many(organization, bodies)]
    assert [row.template for row in rows] == ["welcome", digest.name, "", "activation"]
    assert [bool(row.credentials) for row in rows] == [False, False, False, True]
    assert [rows[1].message, rows[2].message] == [digest.render(digest.sample, "ru").text, "Hello"]


@pytest.mark.parametrize(
    ("bodies", "expected"),
    [
        ([{**GREETING}, {**SECRET, "context": {}}], {"1": "context.link"}),
        ([{"template": "nothing"}, {**GREETING, "html": "x"}], {"0": "template", "1": "html"}),
    ],
)
def test_errors_of_a_bulk_name_the_index(
    organization: Organization, bodies: list[Any], expected: dict[str, str]
) -> None:
    with pytest.raises(ValidationError) as refused:
        intake.accept_many(organization, [{"to": EVERYWHERE, **body} for body in bodies])
    details: Any = refused.value.detail
    assert {
        index: next(iter(sorted(found, reverse=True))) for index, found in details["notifications"].items()
    } == expected
    assert Notification.objects.count() == 0


@pytest.mark.parametrize(
    ("content", "extra", "index", "attr"),
    [
        ({**SECRET, "context": {"hours": 1}}, [], "0", "context.link"),
        ({**GREETING, "template": "nothing"}, [], "0", "template"),
        (GREETING, [2**40], "2", "user_id"),
    ],
)
def test_a_wrong_content_for_many_is_told_once(
    organization: Organization, content: Any, extra: list[int], index: str, attr: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        intake.accept_for_each(organization, content, [*people(organization, "", "ru"), *extra])
    details: Any = refused.value.detail
    assert {number: list(found) for number, found in details["notifications"].items()} == {index: [attr]}


@pytest.mark.timeout(20)
def test_a_large_wrong_content_for_many_is_refused_soon(organization: Organization) -> None:
    content = {**GREETING, "context": {"name": "a" * 900_000}}
    with pytest.raises(ValidationError):
        intake.accept_for_each(organization, content, list(range(1, 10_001)))


# --- What it costs others --------------------------------------------------------------------------------------------
def test_what_has_no_template_asks_the_database_no_more_than_before(organization: Organization) -> None:
    user = person()
    with CaptureQueriesContext(
        connection,
    ) as asked:
        intake.accept(organization, {"user_id": user.pk, "message": "Hello"}, ring=False)
    inserted = [query["sql"] for query in asked.captured_queries if "INSERT" in query["sql"].upper()]
    assert len(inserted) == 1
    if connection.vendor == "postgresql":
        assert len(asked.captured_queries) <= 2  # the statement is prepared once a connection
