"""What an answer of the API carries, and what it does without: sessions, cookies, CSRF."""

from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client, RequestFactory
from rest_framework.test import APIClient

from api import plain
from notifier import intake
from notifier.models import Notification, Organization, Recipient
from tests.api.checks import assert_problem

HELLO = {"to": {"email": "user@example.com"}, "message": "Hello"}
SECURE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("post", "/api/notifications/", 202),
        ("get", "/api/users/", 200),
        ("get", "/api/nothing/", 404),
        ("post", "/api/users/", 400),
    ],
)
def test_every_answer_carries_the_security_headers_and_no_cookie(
    api: APIClient, organization: Organization, method: str, path: str, status: int
) -> None:
    response = getattr(api, method)(path, HELLO if method == "post" else None)
    assert response.status_code == status
    assert {name: response.headers.get(name) for name in SECURE} == SECURE
    assert "Accept-Language" in response.headers["Vary"]
    assert "Cookie" not in response.headers["Vary"], "shared caches need not tell callers apart by it"
    assert not response.cookies


@pytest.mark.parametrize("path", ["/api/notifications/", "/api/nothing/", "/health/live", "/admin/login/"])
def test_a_foreign_host_is_refused_everywhere(path: str) -> None:
    response = APIClient().post(path, HELLO, headers={"Host": "evil.example.com"})
    assert response.status_code == 400
    assert b"evil" not in response.content


def test_a_session_opens_nothing_here(organization: Organization, admin_client: Client, settings: Any) -> None:
    settings.API_OPEN = False
    assert_problem(admin_client.get("/api/users/"), 401)


def test_no_token_is_asked_for_where_no_cookie_counts(organization: Organization) -> None:
    strict = Client(enforce_csrf_checks=True)
    for path, status in (("/api/notifications/", 202), ("/api/nothing/", 404)):
        assert strict.post(path, HELLO, content_type="application/json").status_code == status


@pytest.mark.parametrize(
    ("path", "status"), [("/health/live", 405), ("/health/ready/", 405), ("/health/nothing", 404), ("/api", 404)]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_program_that_writes_where_nothing_is_written_hears_so(path: str, method: str, status: int) -> None:
    answer = Client(enforce_csrf_checks=True).generic(method, path, "{}", "application/json")
    assert_problem(answer, status, None, "not_found" if status == 404 else "method_not_allowed")
    assert answer.headers.get("Allow") == (None if status == 404 else "GET, HEAD, OPTIONS")


@pytest.mark.django_db
def test_pages_keep_their_protection(admin_user: Any) -> None:
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/i18n/setlang/", {"language": "ru"}).status_code == 403, "a view without a guard of its own"
    login = {"username": "admin", "password": "password"}
    assert strict.post("/admin/login/", login).status_code == 403
    token = strict.get("/admin/login/").cookies["csrftoken"].value
    answer = strict.post("/admin/login/?next=/admin/", {**login, "csrfmiddlewaretoken": token})
    assert answer.status_code == 302
    assert "sessionid" in strict.cookies
    assert strict.get("/admin/").status_code == 200


# --- The organization that is kept for some seconds ------------------------------------------------------------------
def test_a_change_of_the_organization_shows_at_once(api: APIClient, organization: Organization) -> None:
    assert api.get("/api/organizations/me/").json()["name"] == organization.name
    organization.name = "Another name"
    organization.save()
    assert api.get("/api/organizations/me/").json()["name"] == "Another name"


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite gets a transaction around it")
def test_an_accepted_notification_takes_one_statement_and_a_bulk_two(
    api: APIClient, user: Recipient, django_assert_num_queries: Any
) -> None:
    api.post("/api/notifications/", {"user_id": user.pk, "message": "warm"})
    with django_assert_num_queries(1):  # the row, which looks the user up
        assert api.post("/api/notifications/", {"user_id": user.pk, "message": "Hello"}).status_code == 202
    with django_assert_num_queries(2):  # the users, the rows
        many = {"notifications": [{"user_id": user.pk, "message": f"Hello {n}"} for n in range(30)]}
        assert api.post("/api/notifications/bulk/", many).status_code == 202
    with django_assert_num_queries(2):
        assert api.post("/api/notifications/bulk/", {"user_ids": [user.pk], "message": "Hello"}).status_code == 202


# --- The short way of a plain request --------------------------------------------------------------------------------
def answered(api: APIClient, body: Any, **headers: str) -> tuple[int, dict[str, str], dict[str, Any]]:
    """The answer, without what differs from one notification to the next."""
    response = api.post("/api/notifications/", body, headers=headers)
    differ = ("id", "created_at", "due_at", "expires_at")
    shown = {name: value for name, value in response.json().items() if name not in differ}
    kept = {name: value for name, value in response.headers.items() if name not in ("Location", "Content-Length")}
    assert ("Location" in response.headers) == (response.status_code == 202)
    return response.status_code, kept, shown


@pytest.mark.parametrize(
    "more", [{}, {"channels": ["sms"]}, {"metadata": {"a": [1.0, None]}}, {"nothing": 1}, {"message": ""}]
)
def test_the_short_way_answers_as_the_long_one(api: APIClient, user: Recipient, more: dict[str, Any]) -> None:
    for whose in ({"user_id": user.pk}, {"to": {"email": "user@example.com"}}, {"user_id": user.pk + 1}):
        body = {**whose, "message": "Hello", **more}
        assert answered(api, body) == answered(api, body, Accept="application/json;q=0.9")


def test_the_short_way_knows_its_caller(api: APIClient, user: Recipient, settings: Any) -> None:
    body = {"user_id": user.pk, "message": "Hello"}
    assert_problem(api.post("/api/notifications/", body, headers={"X-API-Key": "wrong"}), 401)
    settings.API_OPEN = False
    assert_problem(api.post("/api/notifications/", body), 401)
    assert not Notification.objects.exists()


def test_what_may_be_stored_is_not_tried_once_more(
    quiet_api: APIClient, user: Recipient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def stores(*_: Any, **__: Any) -> None:
        asked.append(1)
        raise OperationalError

    monkeypatch.setattr(intake, "accept", stores)
    assert_problem(quiet_api.post("/api/notifications/", {"user_id": user.pk, "message": "Hello"}), 503)
    assert len(asked) == 1


def test_what_is_too_much_is_refused_in_the_callers_language(api: APIClient, user: Recipient, settings: Any) -> None:
    settings.API_THROTTLE_DAY = 1
    body = {"user_id": user.pk, "message": "Hello"}
    assert api.post("/api/notifications/", body).status_code == 202
    for language, text in (("ru", "Не больше 1"), ("en", "At most 1"), ("ru", "Не больше 1")):
        answer = api.post("/api/notifications/", body, headers={"Accept-Language": language})
        assert_problem(answer, 429)
        assert answer.json()["errors"][0]["detail"].startswith(text)


def test_the_short_way_too_forgets_the_statements_of_the_last_request(user: Recipient) -> None:
    body = {"user_id": user.pk, "message": "Hello"}
    request = RequestFactory().post("/api/notifications/", body, content_type="application/json")
    connection.queries_log.append({"sql": "SELECT 'a secret'"})
    assert plain.answer(request.environ, lambda *_: None) is not None
    assert "a secret" not in str(connection.queries_log)


def test_the_templates_of_the_docs_find_what_they_need(api: APIClient) -> None:
    page = api.get("/api/redoc/")
    assert page.status_code == 200
    assert "/api/schema" in page.content.decode()
