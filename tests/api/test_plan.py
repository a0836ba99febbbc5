"""`POST /api/notifications/plan/`: what would become of a notification now."""

from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier import delivery
from notifier.breaker import Breaker
from notifier.models import Circuit, Organization, Recipient
from tests.api.checks import assert_problem
from tests.conftest import FakeRegistry

URL = "/api/notifications/"
PLAN = "/api/notifications/plan/"
EVERYWHERE = {"email": "user@example.com", "phone": "+12025550123", "telegram_chat_id": "123456789"}
HELLO: dict[str, Any] = {"to": EVERYWHERE, "message": "Hello"}
ACCOUNT = {"smtp_user": "me@example.com", "smtp_password": "canary-pa55word"}
FIELDS = {"channel", "until", "within", "runs", "to", "account", "code", "detail"}


def steps(api: APIClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    response = api.post(PLAN, body)
    assert response.status_code == 200, response.content
    assert set(response.json()) == {"steps"}
    found: list[dict[str, Any]] = response.json()["steps"]
    assert all(set(step) == FIELDS for step in found)
    return found


def told(step: dict[str, Any]) -> tuple[Any, ...]:
    return step["channel"], step["runs"], step["to"], step["account"], step["code"]


def test_each_step_says_where_to_and_through_which_account(
    api: APIClient, organization: Organization, fakes: FakeRegistry
) -> None:
    found = steps(api, HELLO)
    assert [told(step) for step in found] == [
        ("email", True, "u***@example.com", "default", None),
        ("sms", True, "+12***23", "default", None),
        ("telegram", True, "123***89", "default", None),
    ]
    assert [(step["until"], step["within"], step["detail"]) for step in found] == [("accepted", None, None)] * 3


def test_the_steps_are_those_that_were_asked_for_or_the_persons_own(
    api: APIClient, user: Recipient, fakes: FakeRegistry
) -> None:
    chain = [{"channel": "telegram", "until": "delivered", "within": 60}, "email"]
    found = steps(api, {**HELLO, "channels": chain})
    assert [(step["channel"], step["until"], step["within"]) for step in found] == [
        ("telegram", "delivered", 60),
        ("email", "accepted", None),
    ]
    Recipient.objects.filter(pk=user.pk).update(channels=["sms", "email"])
    found = steps(api, {"user_id": user.pk, "message": "Hello"})
    assert [(step["channel"], step["to"]) for step in found] == [("sms", "+12***23"), ("email", "u***@example.com")]


def test_what_would_be_skipped_says_why(
    api: APIClient, organization: Organization, fakes: FakeRegistry, settings: Settings
) -> None:
    settings.SMS_PROVIDER = ()
    found = steps(api, {**HELLO, "to": {"email": "user@example.com", "phone": "+12025550123"}})
    assert [told(step) for step in found] == [
        ("email", True, "u***@example.com", "default", None),
        ("sms", False, None, None, "not_configured"),
        ("telegram", False, None, None, "no_address"),
    ]
    assert all(step["detail"] for step in found[1:])


def test_the_requests_own_account_is_named_and_never_shown(
    api: APIClient, organization: Organization, fakes: FakeRegistry, settings: Settings
) -> None:
    found = steps(api, {**HELLO, **ACCOUNT})
    assert [step["account"] for step in found] == ["request", "default", "default"]
    assert ACCOUNT["smtp_password"] not in str(found)
    assert ACCOUNT["smtp_user"] not in str(found)
    settings.SMTP_HOST = ""
    assert told(steps(api, {**HELLO, **ACCOUNT})[0]) == ("email", False, None, None, "not_configured")


def test_an_open_circuit_is_foretold_and_its_probe_is_not_used_up(
    api: APIClient, organization: Organization, fakes: FakeRegistry, settings: Settings
) -> None:
    Breaker().record([("email:default", "timeout")] * settings.CIRCUIT_FAILURES)
    closed, own = steps(api, {**HELLO, "channels": ["email"]}), steps(api, {**HELLO, **ACCOUNT})
    assert told(closed[0]) == ("email", False, "u***@example.com", "default", "circuit_open")
    assert closed[0]["detail"]
    assert [step["runs"] for step in own] == [True] * 3

    Circuit.objects.update(open_until=Now())
    for _ in range(2):  # now the next message would be let through
        assert told(steps(api, HELLO)[0]) == ("email", True, "u***@example.com", "default", None)
    assert Breaker().allows("email:default")
    assert told(steps(api, HELLO)[0])[-1] == "circuit_open"


def test_nothing_is_stored_and_nothing_leaves(
    api: APIClient, user: Recipient, nothing_stored: None, fakes: FakeRegistry
) -> None:
    body = {**HELLO, **ACCOUNT, "callback_url": "https://example.com/", "attachments": []}
    del body["attachments"]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        steps(api, body)
        steps(api, {"user_id": user.pk, "message": "Hello", "send_at": None})
    written = [query["sql"] for query in queries if not query["sql"].startswith(("SELECT", "SAVEPOINT", "RELEASE"))]
    assert not written
    delivery.deliver_due()
    assert not any(fake.sent for fake in fakes.values())


@pytest.mark.parametrize(
    "change",
    [
        {"mesage": "x"},
        {"message": ""},
        {"message": 5},
        {"to": {}},
        {"to": {"email": "nobody"}},
        {"user_id": 10**9, "to": None},
        {"user_id": 1},
        {"channels": ["pigeon"]},
        {"channels": ["email", "email"]},
        {"smtp_user": "me"},
        {"smtp_host": "smtp.gmail.com"},
        {**ACCOUNT, "smtp_host": "evil.example.com"},
        {"callback_url": "http://10.0.0.1/"},
        {"send_at": "2020-01-01"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"template": "welcome"},
        {"attachments": [{"filename": "a"}]},
    ],
)
def test_what_a_post_refuses_a_plan_refuses_in_the_same_words(
    api: APIClient, nothing_stored: None, change: dict[str, Any]
) -> None:
    body = {name: value for name, value in {**HELLO, **change}.items() if value is not None}
    planned, posted = api.post(PLAN, body), api.post(URL, body)
    assert_problem(planned, 400)
    assert planned.content == posted.content


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '"x"', '{"message": "a", "message": "b"}'])
def test_a_body_that_is_none_is_refused_too(api: APIClient, nothing_stored: None, text: str) -> None:
    assert_problem(api.generic("POST", PLAN, text, "application/json"), 400)


def test_another_organizations_user_is_not_there(api: APIClient, strangers: Recipient, organization: Any) -> None:
    assert_problem(api.post(PLAN, {"user_id": strangers.pk, "message": "Hello"}), 400, "user_id", "does_not_exist")


def test_what_was_foretold_happens(api: APIClient, organization: Organization, fakes: FakeRegistry) -> None:
    body = {**HELLO, "to": {"phone": "+12025550123"}}
    foretold = [(step["channel"], step["code"], step["account"]) for step in steps(api, body)]
    pk = api.post(URL, body).json()["id"]
    delivery.deliver([pk])
    tried = [(one["channel"], one["code"], one["account"]) for one in api.get(f"{URL}{pk}/").json()["attempts"]]
    assert tried == foretold[:2]
