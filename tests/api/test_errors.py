"""One shape for every error, and none that tells more than it should."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from pytest_django.fixtures import Settings
from rest_framework.exceptions import Throttled
from rest_framework.test import APIClient

from api import authentication
from api.problems import exception_handler
from notifier import insertion, intake, ledger
from notifier.models import Organization, Recipient
from tests.api.checks import assert_problem, ended, stored

HELLO: dict[str, Any] = {"to": {"email": "user@example.com"}, "message": "canary-message"}
SECRET = "canary-secret"

VIEWS = [
    ("GET", "/api/users/"),
    ("POST", "/api/users/"),
    ("GET", "/api/users/1/"),
    ("PATCH", "/api/users/1/"),
    ("DELETE", "/api/users/1/"),
    ("GET", "/api/notifications/"),
    ("POST", "/api/notifications/"),
    ("POST", "/api/notifications/bulk/"),
    ("GET", "/api/notifications/1/"),
    ("POST", "/api/notifications/1/cancel/"),
    ("POST", "/api/notifications/1/retry/"),
]


def failing(error: Exception) -> Callable[..., Any]:
    """A function that raises it, whatever it is called with."""

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise error

    return fail


# --- 401 -------------------------------------------------------------------------------------------------------------
@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path"), VIEWS)
def test_without_a_key_nothing_is_open(
    api: APIClient, settings: Settings, nothing_stored: None, method: str, path: str
) -> None:
    settings.API_OPEN = False
    response = api.generic(method, path, "{not even JSON", "application/json")
    assert_problem(response, 401, None, "not_authenticated")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.django_db
@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {SECRET}"},
        {"Authorization": "Bearer"},
        {"Authorization": f"bearer {SECRET}"},
        {"Authorization": f"Basic {SECRET}"},
        {"Authorization": "Token é"},
        {"X-API-Key": SECRET},
        {"X-API-Key": "x" * 10_000},
        {"Authorization": f"Bearer {SECRET}", "X-API-Key": SECRET},
    ],
)
def test_a_wrong_key_is_wrong_also_where_none_is_needed(
    api: APIClient, settings: Settings, headers: dict[str, str], *, is_open: bool
) -> None:
    settings.API_OPEN = is_open
    response = api.get("/api/users/", headers=headers)
    assert_problem(response, 401, None, "authentication_failed")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert SECRET not in response.content.decode()


@pytest.mark.parametrize("path", ["/api/schema/", "/api/docs/", "/api/redoc/", "/health/live/"])
def test_what_needs_no_key(client: Any, settings: Settings, path: str) -> None:
    settings.API_OPEN = False
    assert client.get(path).status_code == 200


# --- 404, 405, 406, 409, 413, 415 ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        ("GET", "/api/users/999999/", {}, "", 404, "not_found"),
        ("GET", "/api/nothing/", {}, "", 404, "not_found"),
        ("PUT", "/api/users/", {}, "{}", 405, "method_not_allowed"),
        ("GET", "/api/users/", {"Accept": "text/html"}, "", 406, "not_acceptable"),
        ("POST", "/api/users/", {}, '"' + "x" * 10 * 1024 * 1024 + '"', 413, "too_large"),
        ("POST", "/api/users/", {"Content-Type": "text/plain"}, "x", 415, "unsupported_media_type"),
    ],
)
@pytest.mark.usefixtures("nothing_stored")
def test_every_status_has_the_same_shape(
    api: APIClient, method: str, path: str, headers: dict[str, str], body: str, status: int, code: str
) -> None:
    content_type = headers.pop("Content-Type", "application/json")
    assert_problem(api.generic(method, path, body, content_type, headers=headers), status, None, code)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/api/schema/", {}, 405),
        ("GET", "/api/schema/", {"Accept": "image/png"}, 406),
        ("POST", "/api/docs/", {"Accept": "text/html"}, 405),
        ("GET", "/api/redoc/", {"Accept": "image/png"}, 406),
    ],
)
@pytest.mark.django_db
def test_an_error_is_json_also_where_the_answer_is_not(
    api: APIClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    assert_problem(api.generic(method, path, headers=headers), status)


@pytest.mark.parametrize(
    "path",
    ["/api/users/", "/api/notifications/", "/api/notifications/plan/", "/api/notifications/bulk/", "/api/deadlines/"],
)
@pytest.mark.parametrize("form", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
@pytest.mark.usefixtures("nothing_stored")
def test_an_empty_form_is_refused_as_an_empty_body_is(api: APIClient, path: str, form: str) -> None:
    """`curl -d ""` calls nothing at all a form."""
    empty = api.generic("POST", path, "", "application/json")
    assert_problem(empty, 400)
    assert api.generic("POST", path, "", form).json() == empty.json()


def test_409(api: APIClient, organization: Organization) -> None:
    row = ended(stored(organization), "sent")
    for verb in ("cancel", "retry"):
        assert_problem(api.post(f"/api/notifications/{row.pk}/{verb}/"), 409, None, "conflict")


def test_head_and_options_are_answered(api: APIClient, organization: Organization) -> None:
    for path in ("/api/users/", "/api/notifications/", "/api/notifications/bulk/"):
        assert api.options(path).status_code == 200
        assert api.options(path).headers["Content-Type"] == "application/json"
    assert api.head("/api/users/").status_code == 200
    assert api.head("/api/users/").content == b""


@pytest.mark.parametrize("language", ["ru", "en", "xx", "ru;q=0.5, *"])
def test_codes_are_the_same_in_every_language(api: APIClient, organization: Organization, language: str) -> None:
    response = api.post("/api/users/", {"phone": "x", "nothing": 1}, headers={"Accept-Language": language})
    assert_problem(response, 400, "nothing", "unknown_field")


# --- 503: the database is out ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [OperationalError(SECRET), InterfaceError(SECRET)])
@pytest.mark.parametrize(("method", "path"), VIEWS)
@pytest.mark.parametrize("debug", [False, True])
def test_the_database_is_out(
    quiet_api: APIClient,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    method: str,
    path: str,
    *,
    debug: bool,
) -> None:
    """Without a database there is no organization to ask for either."""
    settings.DEBUG = debug
    monkeypatch.setattr(Organization.objects, "get", failing(error))
    monkeypatch.setattr(authentication._default, "_kept", None)
    response = quiet_api.generic(method, path, '{"email": "user@example.com"}', "application/json")
    assert_problem(response, 503, None, "unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert SECRET not in response.content.decode()


@pytest.mark.usefixtures("nothing_stored")
def test_the_database_goes_out_in_the_middle(
    quiet_api: APIClient, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name in ((ledger, "accept"), (insertion, "insert_one")):
        monkeypatch.setattr(place, name, failing(OperationalError(SECRET)))
    for path, body in (("", HELLO), ("bulk/", {"notifications": [HELLO, HELLO]})):
        response = quiet_api.post(f"/api/notifications/{path}", body)
        assert_problem(response, 503, None, "unavailable")
        assert response.headers["Retry-After"]


# --- 500: a bug ------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    "error", [ValueError(SECRET), KeyError(SECRET), AssertionError(SECRET), RecursionError(SECRET)]
)
def test_a_bug_says_nothing(
    quiet_api: APIClient,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    *,
    debug: bool,
) -> None:
    settings.DEBUG = debug
    monkeypatch.setattr(intake, "accept", failing(error))
    body = {**HELLO, "smtp_user": "me@example.com", "smtp_password": "canary-pa55word"}
    response = quiet_api.post("/api/notifications/", body)
    assert_problem(response, 500, None, "internal_error")
    assert "canary" not in response.content.decode()
    assert SECRET in caplog.text, "the operator must find it"
    assert "pa55word" not in caplog.text


def test_a_bug_outside_of_a_view_says_nothing(
    quiet_api: APIClient, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rest_framework.renderers.JSONRenderer.render", failing(ValueError(SECRET)))
    response = quiet_api.get("/api/users/")
    assert_problem(response, 500, None, "internal_error")
    assert SECRET not in response.content.decode()


def test_an_error_with_a_wait_says_how_long() -> None:
    response = exception_handler(Throttled(wait=2.4), {})
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) >= 3, "a client that comes back earlier is refused again"


def test_a_person_is_named_in_no_error(api: APIClient, user: Recipient) -> None:
    """What was asked for stays with who asked for it."""
    wrong = {"email": "canary@@example.com", "phone": "+1canary", "telegram_chat_id": "canary chat"}
    response = api.post("/api/users/", wrong)
    assert_problem(response, 400)
    assert "canary" not in response.content.decode()
