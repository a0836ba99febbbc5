"""What browsers are told, what developers are shown, and which doors are not there at all."""

import json
import logging
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from django.utils.log import AdminEmailHandler
from pytest_django.fixtures import Settings

from notifier.models import Notification, Organization
from tests.api.checks import assert_problem
from tests.servers.processes import ROOT

pytestmark = pytest.mark.django_db

POLICY = "Content-Security-Policy"
CANARY = "canary-of-the-caller"
HELLO = {"to": {"email": "user@example.com"}, "message": "Hello"}


def directives(response: Any) -> dict[str, str]:
    """The policy of an answer, by directive."""
    parts = (part.strip().partition(" ") for part in response.headers[POLICY].split(";"))
    return {name: sources for name, _, sources in parts}


# --- The policy ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "page", ["/admin/", "/admin/login/", "/admin/notifier/notification/", "/api/docs/", "/api/redoc/", "/nothing/"]
)
def test_every_page_forbids_what_is_inline_or_from_others(admin_client: Client, page: str) -> None:
    response = admin_client.get(page)
    assert response.headers["Content-Type"].startswith("text/html")
    policy = directives(response)
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["form-action"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in response.headers[POLICY]
    html = response.content.decode()
    assert "<style" not in html
    assert " style=" not in html
    assert all(" src=" in tag for tag in html.split("<script")[1:]) or 'type="application/json"' in html
    assert " onclick=" not in html


@pytest.mark.parametrize(
    ("method", "page"),
    [
        ("get", "/api/users/"),
        ("get", "/api/nothing/"),
        ("get", "/health/live"),
        ("post", "/api/users/"),
        ("get", "/api"),
    ],
)
def test_what_is_no_page_can_become_none(client: Client, organization: Organization, method: str, page: str) -> None:
    response = getattr(client, method)(page)
    assert directives(response) == {"default-src": "'none'", "frame-ancestors": "'none'"}
    assert response.headers["X-Content-Type-Options"] == "nosniff"


# --- Doors that are not there ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", ["/", "/sandbox/state/", "/sandbox/inbox/", "/sandbox/switches/", "/sandbox/reset/"])
def test_without_debug_there_is_neither_a_demo_nor_a_sandbox(client: Client, page: str) -> None:
    for response in (client.get(page), client.post(page, {"email": "refused"})):
        assert response.status_code == 404


# --- CSRF, where there are sessions ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "page", ["/admin/login/", "/admin/logout/", "/admin/notifier/organization/add/", "/admin/auth/user/1/delete/"]
)
def test_a_form_without_its_token_is_refused(admin_user: User, page: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    response = strict.post(page, {"name": "Other", "slug": "other", "post": "yes"})
    assert response.status_code == 403
    assert directives(response)["script-src"] == "'self'"
    assert "<style" not in response.content.decode()
    assert User.objects.filter(pk=admin_user.pk).exists()
    assert not Organization.objects.filter(slug="other").exists()


def test_a_token_of_another_place_is_none(admin_user: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    token = strict.get("/admin/notifier/organization/add/").cookies["csrftoken"].value
    body = {"name": "Other", "slug": "other", "csrfmiddlewaretoken": token}
    response = strict.post("/admin/notifier/organization/add/", body, headers={"Origin": "https://evil.example.com"})
    assert response.status_code == 403


def test_the_api_takes_no_session_for_a_key(admin_client: Client, settings: Settings) -> None:
    settings.API_OPEN = False
    assert_problem(admin_client.get("/api/notifications/"), 401)
    assert_problem(admin_client.post("/api/notifications/", HELLO, content_type="application/json"), 401)
    assert not Notification.objects.exists()


# --- What developers are shown ---------------------------------------------------------------------------------------
class Account:
    """Its text holds a secret, as that of a careless class does."""

    def __repr__(self) -> str:
        return f"Account(password={CANARY!r})"


def broken(request: HttpRequest) -> HttpResponse:
    """A bug, in the middle of everything that a caller has sent."""
    raw = request.body
    harmless_name = request.headers.get("Authorization", "") + str(request.GET) + str(request.POST)
    nested = {"a": [{"b": (CANARY, harmless_name, Account())}], "raw": raw}
    raise RuntimeError(f"There are {len(nested)} of them.")


def broken_by_a_row(request: HttpRequest) -> HttpResponse:
    """A bug whose exceptions have the caller's words in them."""
    failure = RuntimeError(f"Rule 7 was broken.\nDETAIL:  Failing row contains ({request.POST['name']}).")
    failure.add_note(f"token={request.POST['name']}")
    raise failure from ValueError(f"password={request.POST['password']}")


urlpatterns = [
    path("broken/", broken),
    path("row/", broken_by_a_row),
    path("api/broken/", broken),
    path("", include("notifier.urls")),
]
handler500 = "api.problems.server_error"


def provoke(page: str, **more: str) -> Any:
    """The answer to a request that is full of secrets."""
    client = Client(raise_request_exception=False)
    client.cookies["sessionid"] = client.cookies["other"] = CANARY
    headers = {"Authorization": f"Bearer {CANARY}", "X-Api-Key": CANARY, "X-Odd": CANARY, "Cookie2": CANARY, **more}
    return client.post(f"{page}?token={CANARY}&q={CANARY}", {"password": CANARY, "name": CANARY}, headers=headers)


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("accept", ["text/html", "text/plain"])
def test_the_debug_page_shows_where_and_nothing_that_was_sent(settings: Settings, accept: str) -> None:
    settings.DEBUG = True
    settings.REDIS_URL = f"redis://:{CANARY}@127.0.0.1/0"
    response = provoke("/broken/", Accept=accept)
    page = response.content.decode()
    assert response.status_code == 500
    assert "There are 2 of them." in page
    assert ("harmless_name" in page) == (accept == "text/html"), "a name helps"
    assert CANARY not in page


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("accept", ["text/html", "text/plain"])
def test_an_exceptions_own_words_are_scrubbed(settings: Settings, accept: str) -> None:
    settings.DEBUG = True
    page = provoke("/row/", Accept=accept).content.decode()
    assert "Rule 7 was broken." in page
    assert "password=***" in page, "its cause"
    assert "token=***" in page, "its note"
    assert CANARY not in page


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("debug", [False, True])
def test_under_api_a_bug_is_json_wherever_it_is(settings: Settings, *, debug: bool) -> None:
    settings.DEBUG = debug
    response = provoke("/api/broken/")
    assert_problem(response, 500, None, "internal_error")
    assert CANARY not in response.content.decode()
    assert CANARY not in json.dumps(dict(response.headers))


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(("page", "words"), [("/broken/", "There are 2 of them."), ("/row/", "Rule 7 was broken.")])
@pytest.mark.parametrize("html", [False, True])
def test_the_mail_to_the_admins_says_nothing_that_was_sent(
    settings: Settings, page: str, words: str, *, html: bool
) -> None:
    settings.ADMINS = [("Root", "root@example.com")]
    handler = AdminEmailHandler(include_html=html)
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    try:
        assert provoke(page).status_code == 500
    finally:
        logger.removeHandler(handler)
    (message,) = mail.outbox
    whole = message.message().as_string() + str(getattr(message, "alternatives", "")) + message.body
    assert words in whole
    assert page in whole
    assert CANARY not in whole


# --- Methods ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT", "PROPFIND", "DEBUG", "FOO"])
@pytest.mark.parametrize("page", ["/api/users/", "/admin/login/", "/health/live", "/admin/", "/static/x.js"])
def test_trace_and_unknown_methods_are_refused(client: Client, method: str, page: str) -> None:
    response = client.generic(method, page, headers={"X-Echo": CANARY})
    assert response.status_code == 405
    assert "GET" in response.headers["Allow"]
    assert CANARY not in response.content.decode()
    if page.startswith(("/api/", "/health/")):
        assert_problem(response, 405, None, "method_not_allowed")


# --- https -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def behind_https(settings: Settings) -> None:
    """As with PUBLIC_URL=https://notifier.example.com and a trusted proxy."""
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_SSL_HOST = "notifier.example.com"
    settings.SECURE_HSTS_SECONDS = 365 * 24 * 3600


@pytest.mark.usefixtures("behind_https", "organization")
def test_http_is_led_to_https_where_nothing_gets_lost() -> None:
    far = Client(REMOTE_ADDR="198.51.100.7")
    for page in ("/admin/login/?next=/admin/", "/api/docs/"):
        answer = far.get(page)
        assert (answer.status_code, answer.headers["Location"]) == (301, f"https://notifier.example.com{page}")
    assert far.get("/health/live").status_code == 200
    refused = far.post("/api/notifications/", HELLO, content_type="application/json")
    assert_problem(refused, 403, None, "https_required")
    assert not Notification.objects.exists()


@pytest.mark.usefixtures("behind_https", "organization")
def test_https_and_this_machine_itself_are_let_in() -> None:
    far = Client(REMOTE_ADDR="198.51.100.7")
    answer = far.post("/api/notifications/", HELLO, content_type="application/json", secure=True)
    assert answer.status_code == 202
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    near = Client(REMOTE_ADDR="127.0.0.1").post("/api/notifications/", HELLO, content_type="application/json")
    assert near.status_code == 202


def test_our_own_templates_hold_nothing_inline() -> None:
    folders = ("templates", "templates/sandbox", "templates/admin", "api/templates/api")  # not those of mails
    for template in [file for folder in folders for file in (ROOT / folder).glob("*.html")]:
        html = template.read_text(encoding="utf-8")
        for forbidden in ("<style", " style=", "<script>", " onclick=", " onload=", "javascript:"):
            assert forbidden not in html, (template.name, forbidden)
