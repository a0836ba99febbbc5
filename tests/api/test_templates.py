"""`/api/templates/`, and notifications that name one."""

from typing import Any

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier import message_templates
from notifier.models import Notification, Organization, Recipient
from tests.api.checks import assert_problem

URL, NOTIFICATIONS = "/api/templates/", "/api/notifications/"
FIELDS = {"name", "description", "channels", "variables", "sample"}
LINK = "https://notifier.example/?token=kanarienvogel-4711"
SECRET: dict[str, Any] = {"template": "activation", "context": {"link": LINK, "hours": 48}}
TO = {"to": {"email": "user@example.com"}}

pytestmark = pytest.mark.django_db


def test_the_list_is_an_array_of_all(api: APIClient) -> None:
    answer = api.get(URL)
    assert answer.status_code == 200
    assert [entry["name"] for entry in answer.json()] == message_templates.names()
    assert all(set(entry) == FIELDS for entry in answer.json())
    assert {"welcome", "manager_call", "order_request"} <= {entry["name"] for entry in answer.json()}


@pytest.mark.parametrize("language", ["en", "ru"])
def test_one_of_them_in_the_callers_language(api: APIClient, language: str) -> None:
    shown = api.get(f"{URL}welcome/", headers={"Accept-Language": language}).json()
    template = message_templates.find("welcome")
    assert template is not None
    assert shown["description"] == template.descriptions[language]
    assert shown["variables"] == template.variables
    assert shown in api.get(URL, headers={"Accept-Language": language}).json()


@pytest.mark.parametrize("name", ["nothing", "_layout", "..", "%2e%2e", "welcome%2F..", "WELCOME", "a" * 300])
def test_an_unknown_name_is_404(api: APIClient, name: str) -> None:
    assert_problem(api.get(f"{URL}{name}/"), 404)
    assert_problem(api.post(f"{URL}{name}/preview/", {"context": {}}), 404)


# --- Preview ---------------------------------------------------------------------------------------------------------
def test_every_sample_can_be_previewed_in_both_languages(api: APIClient, nothing_stored: None) -> None:
    for entry in api.get(URL).json():
        for language in ("en", "ru"):
            body = {"context": entry["sample"], "language": language}
            made = api.post(f"{URL}{entry['name']}/preview/", body)
            assert made.status_code == 200, made.content
            assert set(made.json()) == {"subject", "text", "html", "sms", "telegram"}
            assert all(made.json().values())


def test_without_a_language_it_is_the_callers(api: APIClient) -> None:
    template = message_templates.find("deadline_digest")
    assert template is not None
    body = {"context": template.sample}
    for language in ("en", "ru"):
        made = api.post(f"{URL}deadline_digest/preview/", body, headers={"Accept-Language": language}).json()
        assert made["subject"] == template.render(template.sample, language).subject
    spoken = api.post(f"{URL}deadline_digest/preview/", {**body, "language": "ru"}, headers={"Accept-Language": "en"})
    assert spoken.json()["text"] == template.render(template.sample, "ru").text


@pytest.mark.parametrize(
    ("body", "attr", "code"),
    [
        ({}, "context", "required"),
        ({"context": {}}, "context.link", "required"),
        ({"context": {"link": LINK, "hours": "many"}}, "context.hours", "invalid"),
        ({"context": {"link": LINK, "hours": 1, "x": 1}}, "context.x", "unknown_field"),
        ({"context": []}, "context", "object"),
        ({"context": SECRET["context"], "language": "english language"}, "language", "invalid"),
        ({"context": SECRET["context"], "lang": "en"}, "lang", "unknown_field"),
    ],
)
def test_what_a_preview_refuses(api: APIClient, body: Any, attr: str, code: str) -> None:
    assert_problem(api.post(f"{URL}activation/preview/", body), 400, attr, code)


# --- Notifications ---------------------------------------------------------------------------------------------------
def test_a_notification_by_a_template(api: APIClient, user: Recipient) -> None:
    body = {"user_id": user.pk, "template": "welcome", "context": {"name": "Ann"}}
    answer = api.post(NOTIFICATIONS, body)
    assert answer.status_code == 202
    shown = answer.json()
    template = message_templates.find("welcome")
    assert template is not None
    made = template.render(body["context"], "en")  # type: ignore[arg-type]
    assert (shown["template"], shown["subject"], shown["message"]) == ("welcome", made.subject, made.text)
    assert "context" not in shown


@pytest.mark.parametrize(
    ("change", "attr", "code"),
    [
        ({"template": "nothing"}, "template", "unknown_template"),
        ({"template": "../welcome"}, "template", "unknown_template"),
        ({"context": {"hours": 1}}, "context.link", "required"),
        ({"context": {"link": "javascript:alert(1)", "hours": 1}}, "context.link", "invalid"),
        ({"html": "<p>Hello</p>"}, "html", "invalid"),
        ({"message": "Hello"}, "message", "invalid"),
    ],
)
def test_what_a_template_refuses_names_its_place(
    api: APIClient, nothing_stored: None, change: dict[str, Any], attr: str, code: str
) -> None:
    for path in (NOTIFICATIONS, f"{NOTIFICATIONS}plan/"):
        assert_problem(api.post(path, {**TO, **SECRET, **change}), 400, attr, code)
    bulk = api.post(
        f"{NOTIFICATIONS}bulk/", {"notifications": [{**TO, "message": "Hello"}, {**TO, **SECRET, **change}]}
    )
    assert_problem(bulk, 400, f"notifications.1.{attr}", code)


def test_a_missing_variable_deep_inside_is_named(api: APIClient, settings: Settings) -> None:
    settings.SALES_EMAIL = "sales@example.com"
    call = {"template": "manager_call", "context": {"summary": "x", "priority": "low", "client": {}}}
    assert_problem(api.post(NOTIFICATIONS, call), 400, "context.client.name", "required")


@pytest.mark.parametrize(
    ("total", "status"),
    [("0.30", 202), (0.3, 202), ("0.31", 400), (0.1 + 0.2, 400), ("3e-1", 400), (-0.3, 400), (None, 400)],
)
def test_an_orders_total_is_checked(api: APIClient, settings: Settings, total: Any, status: int) -> None:
    settings.SALES_EMAIL = "sales@example.com"
    items = [
        {"code": code, "name": "Lamp", "quantity": 1, "price": price} for code, price in (("A", 0.1), ("B", "0.2"))
    ]
    context = {"client": {"name": "Ann"}, "items": items, "total": total, "delivery": {"method": "Courier"}}
    answer = api.post(NOTIFICATIONS, {"template": "order_request", "context": context})
    assert answer.status_code == status, answer.content
    if status == 400:
        assert_problem(answer, 400, "context.total")


@pytest.mark.parametrize(
    ("change", "attr", "word"),
    [
        ({"total": "0,30"}, "context.total", "decimal, as in"),
        ({"total": "3e-1"}, "context.total", "decimal, as in"),
        ({"client": {"name": "Ann", "phone": "call me"}}, "context.client.phone", "phone number"),
        ({"client": {"name": "Ann\nof Acme"}}, "context.client.name", "Line breaks"),
        ({"client": {"name": "Ann", "phone": "+1 202\n555"}}, "context.client.phone", "Line breaks"),
        ({"comment": "\x07"}, "context.comment", "form that the template"),
    ],
)
def test_the_words_of_an_error_help(api: APIClient, change: Any, attr: str, word: str) -> None:
    items = [{"code": "A", "name": "Lamp", "quantity": 1, "price": "0.30"}]
    context = {"client": {"name": "Ann"}, "items": items, "total": "0.30", "delivery": {"method": "Courier"}, **change}
    answer = api.post(f"{URL}order_request/preview/", {"context": context})
    assert_problem(answer, 400, attr, "invalid")
    assert word in answer.json()["errors"][0]["detail"]


def test_a_sale_without_an_address_says_what_to_set(api: APIClient) -> None:
    call = {"template": "manager_call", "context": {"summary": "x", "priority": "low", "client": {"name": "Ann"}}}
    answer = api.post(NOTIFICATIONS, call)
    assert_problem(answer, 400, "to", "no_sales_email")
    assert "SALES_EMAIL" in answer.json()["errors"][0]["detail"]


def test_a_secret_never_comes_back(api: APIClient, organization: Organization, user: Recipient) -> None:
    made = [api.post(NOTIFICATIONS, {"user_id": user.pk, **SECRET}), api.post(NOTIFICATIONS, {**TO, **SECRET})]
    made.append(api.post(f"{NOTIFICATIONS}bulk/", {"user_ids": [user.pk], **SECRET}))
    made.append(api.post(f"{NOTIFICATIONS}plan/", {**TO, **SECRET}))
    made += [api.get(f"{NOTIFICATIONS}{row.pk}/") for row in Notification.objects.all()]
    made.append(api.get(NOTIFICATIONS))
    assert all(answer.status_code in (200, 202) for answer in made)
    assert not any(b"kanarienvogel" in answer.content for answer in made)
    assert Notification.objects.filter(credentials__isnull=False, own_account=False).count() == 3


def test_the_same_key_gives_the_first_answer(api: APIClient) -> None:
    once = {"Idempotency-Key": "welcome-1"}
    body = {**TO, "template": "welcome", "context": {"name": "Ann"}}
    first, second = (api.post(NOTIFICATIONS, body, headers=once) for _time in range(2))
    assert first.json() == second.json()
    other = api.post(NOTIFICATIONS, {**body, "context": {"name": "Bob"}}, headers=once)
    assert_problem(other, 422)
    assert Notification.objects.count() == 1
