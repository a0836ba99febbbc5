"""`/api/notifications/`: what is stored and shown, field by field; and finding it again."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier import delivery
from notifier.models import Notification, Organization, Recipient
from tests.api.checks import ATTEMPT_FIELDS, NOTIFICATION_FIELDS, assert_problem, ended, moment, stored
from tests.conftest import FakeRegistry

URL = "/api/notifications/"
HELLO = {"to": {"email": "user@example.com"}, "message": "Hello"}


def test_202_with_its_place_and_every_field(api: APIClient, user: Recipient) -> None:
    response = api.post(URL, {"user_id": user.pk, "message": "Hello via SMTP!"})
    body = response.json()
    assert response.status_code == 202
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Location"] == f"/api/notifications/{body['id']}/"
    assert set(body) == NOTIFICATION_FIELDS
    assert type(body["id"]) is int
    created, due = moment(body["created_at"]), moment(body["due_at"])
    assert due == created
    assert abs((moment(body["expires_at"]) - created).total_seconds() - 24 * 3600) < 5
    plain = {name: body[name] for name in NOTIFICATION_FIELDS - {"id", "created_at", "due_at", "expires_at"}}
    assert plain == {
        "status": "queued",
        "failure_code": None,
        "user_id": user.pk,
        "to": {"email": "u***@example.com", "phone": "+12***23", "telegram_chat_id": "123***89"},
        "subject": "Hello via SMTP!",
        "message": "Hello via SMTP!",
        "template": None,
        "channels": [{"channel": name, "until": "accepted", "within": None} for name in ("email", "sms", "telegram")],
        "priority": "normal",
        "on_unknown": "next",
        "reference": None,
        "metadata": {},
        "send_at": None,
        "sent_at": None,
        "finished_at": None,
    }


def test_the_single_view_adds_the_attempts(api: APIClient, user: Recipient, fakes: FakeRegistry) -> None:
    created = api.post(URL, {"user_id": user.pk, "message": "Hello", "channels": ["telegram", "email"]})
    place = created.headers["Location"]
    assert api.get(place).json() == {**created.json(), "attempts": []}
    user.telegram_chat_id = ""
    user.save()
    delivery.deliver([created.json()["id"]])
    body = api.get(place).json()
    assert set(body) == NOTIFICATION_FIELDS | {"attempts"}
    assert (body["status"], body["due_at"]) == ("sent", None)
    assert moment(body["sent_at"]) <= moment(body["finished_at"])
    assert [set(attempt) for attempt in body["attempts"]] == [ATTEMPT_FIELDS] * 2
    skipped, accepted = body["attempts"]
    assert (skipped["channel"], skipped["outcome"], skipped["code"]) == ("telegram", "skipped", "no_address")
    assert (accepted["channel"], accepted["outcome"], accepted["code"]) == ("email", "accepted", None)
    assert (accepted["temporary"], accepted["account"], accepted["provider_id"]) == (None, "default", "email-1")
    assert type(accepted["duration_ms"]) is int
    assert moment(accepted["started_at"])


def test_the_list_has_no_attempts(api: APIClient, organization: Organization) -> None:
    stored(organization)
    assert set(api.get(URL).json()["results"][0]) == NOTIFICATION_FIELDS


def test_times_are_utc_whatever_the_service_shows_to_people(
    api: APIClient, user: Recipient, fakes: FakeRegistry, settings: Settings
) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    row = stored(user.organization, user_id=user.pk, send_at="2026-01-01T00:00:00+09:00")
    delivery.deliver([row.pk])
    body = api.get(f"{URL}{row.pk}/").json()
    assert body["send_at"] == "2025-12-31T15:00:00Z"
    for name in ("created_at", "expires_at", "sent_at", "finished_at"):
        moment(body[name])
    moment(body["attempts"][0]["started_at"])
    moment(api.get(f"/api/users/{user.pk}/").json()["created_at"])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("to", "shown"),
    [
        ({"email": "ada@example.com"}, {"email": "a***@example.com"}),
        ({"email": "ada@example.com", "language": "ru"}, {"email": "a***@example.com"}),
        ({"phone": "+1 (202) 555-0123"}, {"phone": "+12***23"}),
        ({"telegram_chat_id": 123456789}, {"telegram_chat_id": "123***89"}),
        ({"telegram_chat_id": "@news_channel"}, {"telegram_chat_id": "@ne***el"}),
        (
            {"email": "ada@example.com", "phone": "+79123456789", "telegram_chat_id": -1001234567890},
            {"email": "a***@example.com", "phone": "+79***89", "telegram_chat_id": "-10***90"},
        ),
    ],
)
def test_a_person_who_is_not_stored_is_shown_masked(api: APIClient, to: dict[str, Any], shown: dict[str, str]) -> None:
    response = api.post(URL, {"to": to, "message": "Hello"})
    assert response.status_code == 202
    assert response.json()["user_id"] is None
    assert response.json()["to"] == shown
    assert api.get(response.headers["Location"]).json()["to"] == shown


@pytest.mark.django_db
def test_what_is_given_comes_back(api: APIClient) -> None:
    given: dict[str, Any] = {
        "subject": "Ваш заказ 📦",
        "message": "Line one\r\nline two\ttab\n\n  indented ",
        "channels": [{"channel": "telegram", "until": "delivered", "within": 60.5}, {"channel": "email"}],
        "priority": "high",
        "on_unknown": "stop",
        "reference": "order-1017",
        "metadata": {"order": 1017, "tags": ["a", {"b": None}], "ж": True, "price": 1.5},
    }
    body = api.post(URL, {**HELLO, **given}).json()
    steps = [
        {"channel": "telegram", "until": "delivered", "within": 60.5},
        {"channel": "email", "until": "accepted", "within": None},
    ]
    assert {name: body[name] for name in given} == {**given, "channels": steps}
    assert api.get(f"{URL}{body['id']}/").json() == {**body, "attempts": []}


# --- Subject, text ---------------------------------------------------------------------------------------------------
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("message", "subject"),
    [
        ("Hello", "Hello"),
        ("  \n\n Hello \nthere", "Hello"),
        ("Hello\r\nBcc: victim@example.com", "Hello"),
        ("Hello\u2028there", "Hello"),
        ("Tab\there", "Tab here"),
        ("w" * 200, "w" * 77 + "…"),
        ("word " * 40, ("word " * 15).strip() + "…"),
    ],
)
@pytest.mark.parametrize("given", [{}, {"subject": ""}])
def test_the_subject_is_the_first_line_by_default(
    api: APIClient, message: str, subject: str, given: dict[str, str]
) -> None:
    assert api.post(URL, {**HELLO, "message": message, **given}).json()["subject"] == subject


TEXTS = [
    "{{ 7 * 7 }} {% load x %} ${x} {0} %s %(a)s %d",
    "<b>bold</b> & *markdown* _under_ [x](y) `code`",
    "<script>alert(1)</script>",
    "'; DROP TABLE notifier_notification; --",
    "👩‍👩‍👧‍👦 \u202eright to left\u202c",
    "\x01\x07\x1b[31m control",
    "  spaces at both ends  ",
    ".\r\n.\r\nQUIT",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_data(api: APIClient, user: Recipient, fakes: FakeRegistry, text: str) -> None:
    """What is stored, shown and handed to each channel is what was given, letter by letter."""
    for channel in ("email", "sms", "telegram"):
        body = api.post(URL, {"user_id": user.pk, "message": text, "channels": [channel]}).json()
        assert body["message"] == text
        delivery.deliver([body["id"]])
        assert [message.text for message, _ in fakes[channel].sent] == [text]


@pytest.mark.django_db
def test_the_longest_texts_are_taken(api: APIClient) -> None:
    body = {**HELLO, "message": "ж" * 100_000, "subject": "ж" * 255, "reference": "r" * 255}
    response = api.post(URL, body)
    assert response.status_code == 202
    assert len(api.get(response.headers["Location"]).json()["message"]) == 100_000


@pytest.mark.django_db
def test_attachments_reach_the_mail_as_they_were(api: APIClient, fakes: FakeRegistry) -> None:
    files = [
        {"filename": "Счёт 1.pdf", "content_type": "application/pdf", "content": "JVBERi0="},
        {"filename": "empty.txt", "content_type": "text/plain", "content": ""},
    ]
    response = api.post(URL, {**HELLO, "attachments": files, "html": "<p>Hello</p>"})
    assert response.status_code == 202
    delivery.deliver([response.json()["id"]])
    message, _account = fakes["email"].sent[0]
    assert [(file.filename, file.content_type, file.content) for file in message.attachments] == [
        ("Счёт 1.pdf", "application/pdf", b"%PDF-"),
        ("empty.txt", "text/plain", b""),
    ]
    assert message.html == "<p>Hello</p>"


# --- Chain -----------------------------------------------------------------------------------------------------------
def names(body: dict[str, Any]) -> list[str]:
    return [step["channel"] for step in body["channels"]]


def test_the_requests_chain_wins_over_the_persons_and_that_over_the_services(
    api: APIClient, user: Recipient, settings: Settings
) -> None:
    settings.DEFAULT_CHAIN = ("sms",)
    body = {"user_id": user.pk, "message": "Hello"}
    assert names(api.post(URL, body).json()) == ["sms"]
    api.patch(f"/api/users/{user.pk}/", {"channels": ["telegram", "email"]})
    assert names(api.post(URL, body).json()) == ["telegram", "email"]
    assert names(api.post(URL, {**body, "channels": ["email"]}).json()) == ["email"]


# --- Reading ---------------------------------------------------------------------------------------------------------
def test_another_organizations_notification_is_not_there(api: APIClient, strangers: Recipient) -> None:
    row = stored(strangers.organization, user_id=strangers.pk)
    for method, verb in (("get", ""), ("post", "cancel/"), ("post", "retry/")):
        assert_problem(getattr(api, method)(f"{URL}{row.pk}/{verb}"), 404, None, "not_found")
    assert api.get(URL).json()["results"] == []
    assert api.get(URL, {"user_id": strangers.pk}).json()["results"] == []


def test_another_organizations_user_gets_nothing(api: APIClient, strangers: Recipient, nothing_stored: None) -> None:
    assert_problem(api.post(URL, {"user_id": strangers.pk, "message": "Hello"}), 400, "user_id", "does_not_exist")
    assert_problem(api.post(URL, {"user_id": 10**9, "message": "Hello"}), 400, "user_id", "does_not_exist")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["d", "c", "b", "a"]),
        ({"status": "queued"}, ["d", "b", "a"]),
        ({"status": "failed"}, ["c"]),
        ({"status": "sent"}, []),
        ({"channel": "telegram"}, ["d", "c", "b"]),
        ({"channel": "sms"}, ["d", "c"]),
        ({"reference": "b"}, ["b"]),
        ({"reference": "B"}, []),
        ({"reference": "' OR 1=1 --"}, []),
        ({"status": "queued", "channel": "sms"}, ["d"]),
        ({"status": "", "channel": "", "user_id": "", "reference": ""}, ["d", "c", "b", "a"]),
        ({"created_after": "2000-01-01T00:00:00Z"}, ["d", "c", "b", "a"]),
        ({"created_after": "2100-01-01T00:00:00+03:00"}, []),
        ({"created_before": "2100-01-01T00:00:00 03:00"}, ["d", "c", "b", "a"]),  # an unescaped + is a space
        ({"created_after": "2100-01-01T00:00:00.123456 00:00"}, []),
        ({"created_before": "2000-01-01T00:00:00Z"}, []),
        ({"created_before": "2100-01-01T00:00:00Z"}, ["d", "c", "b", "a"]),
    ],
)
def test_the_list_is_newest_first_and_filtered(
    api: APIClient, organization: Organization, query: dict[str, str], found: list[str]
) -> None:
    stored(organization, reference="a", channels=["email"], metadata={"channel": "sms"})
    stored(organization, reference="b", channels=["telegram", "email"], message='"channel": "sms"')
    ended(stored(organization, reference="c"), "failed", "rejected")
    stored(organization, reference="d")
    response = api.get(URL, query)
    assert response.status_code == 200
    assert [row["reference"] for row in response.json()["results"]] == found


def test_the_list_is_filtered_by_user(api: APIClient, user: Recipient) -> None:
    stored(user.organization)
    mine = stored(user.organization, user_id=user.pk)
    assert [row["id"] for row in api.get(URL, {"user_id": user.pk}).json()["results"]] == [mine.pk]


def test_the_list_is_filtered_to_the_microsecond(api: APIClient, organization: Organization) -> None:
    rows = [stored(organization) for _ in range(3)]
    Notification.objects.filter(pk=rows[1].pk).update(created_at="2026-01-01T00:00:00.000001Z")
    between = {"created_after": "2026-01-01T00:00:00Z", "created_before": "2026-01-01T00:00:00.000002Z"}
    assert [row["id"] for row in api.get(URL, between).json()["results"]] == [rows[1].pk]


def test_a_list_costs_the_same_however_long_it_is(api: APIClient, organization: Organization) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            response = api.get(URL, {"page_size": 100})
        assert response.status_code == 200
        return len(captured)

    def add(number: int) -> None:
        for _ in range(number):
            person = Recipient.objects.create(organization=organization, email="user@example.com")
            stored(organization, user_id=person.pk)

    add(1)
    few = queries()
    add(30)
    assert queries() == few <= 3


def test_a_missing_trailing_slash_is_handled_and_not_redirected(api: APIClient, organization: Organization) -> None:
    assert api.post("/api/notifications", HELLO).status_code == 202
    assert api.post("/api/notifications/bulk", {"notifications": [HELLO]}).status_code == 202
    row = stored(organization)
    assert api.get(f"/api/notifications/{row.pk}").status_code == 200
    assert api.post(f"/api/notifications/{row.pk}/cancel").status_code == 200
    ended(row, "failed", "rejected")
    assert api.post(f"/api/notifications/{row.pk}/retry").status_code == 202
