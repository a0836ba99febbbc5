"""Logging in and out: tokens for a password, the next pair for a refresh token, and nothing learnt from a refusal."""

import logging
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.urls import reverse
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from accounts.tokens import (
    KINDS,
    AccessToken,
    ActivateToken,
    ChangePasswordToken,
    Kind,
    RefreshToken,
    SocketToken,
    create_token,
    validate_any_token,
)
from accounts.urls import urlpatterns
from notifier.models import Notification, Organization
from tests.accounts.conftest import ADDRESS, NEW_PASSWORD, PASSWORD, Mailbox, account, count_hashes, member, newcomer
from tests.api.checks import assert_problem

pytestmark = pytest.mark.django_db
LOGIN, REFRESH, LOGOUT = (f"/api/auth/{name}/" for name in ("token", "token/refresh", "logout"))
ANN = {"email": ADDRESS, "password": PASSWORD}


def log_in(api: APIClient) -> dict[str, str]:
    answer = api.post(LOGIN, ANN)
    assert answer.status_code == 200, answer.content
    pair: dict[str, str] = answer.json()
    return pair


def may_enter(api: APIClient, access: str) -> bool:
    return api.get("/api/users/", headers={"Authorization": f"Bearer {access}"}).status_code == 200


# --- Logging in ------------------------------------------------------------------------------------------------------
def test_a_password_is_exchanged_for_two_tokens(api: APIClient, organization: Organization) -> None:
    member(organization)
    answer = api.post(LOGIN, {**ANN, "email": "ANN@example.com"})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(answer.json()) == {"access", "refresh"}
    assert may_enter(api, answer.json()["access"])
    assert not may_enter(api, answer.json()["refresh"])
    assert User.objects.get().last_login is not None


REFUSED: dict[str, Any] = {
    "unknown address": lambda: None,
    "wrong password": lambda: User.objects.create_user(ADDRESS, ADDRESS, NEW_PASSWORD),
    "not activated": newcomer,
    "deactivated": lambda: account(is_active=False),
    "no password at all": lambda: User.objects.create_user(ADDRESS, ADDRESS),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_every_refusal_is_the_same_and_costs_the_same(
    make: Any, api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes time is the hashing of the password: it is counted, since clocks differ by themselves."""
    other = api.post(LOGIN, {**ANN, "email": "nobody@example.com"})
    make()
    hashed = count_hashes(monkeypatch)
    answer = api.post(LOGIN, ANN)
    assert_problem(answer, 401, None, "wrong_login")
    assert (answer.content, dict(answer.headers)) == (other.content, dict(other.headers))
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert len(hashed) == 1


def test_who_fails_too_often_waits_and_is_spared_the_hashing(
    api: APIClient, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [api.post(LOGIN, {**ANN, "password": "wrong"}).status_code for _ in range(5)]
    assert answers == [401] * 4 + [429]
    monkeypatch.setattr(MD5PasswordHasher, "encode", lambda *_: pytest.fail("hashed"))
    locked = api.post(LOGIN, ANN)
    assert_problem(locked, 429, None, "throttled")
    assert int(locked.headers["Retry-After"]) == 15 * 60


def test_a_name_that_nobody_has_is_locked_as_one_that_somebody_has(ann: User) -> None:
    told = []
    for address, client in (("nobody@example.com", "203.0.113.1"), (ADDRESS, "203.0.113.2")):
        visitor = APIClient(REMOTE_ADDR=client)
        answers = [visitor.post(LOGIN, {"email": address, "password": "wrong"}) for _ in range(7)]
        told.append([(answer.status_code, answer.content, dict(answer.headers)) for answer in answers])
    assert told[0] == told[1]


def test_a_success_forgets_the_failures_and_is_remembered(api: APIClient, ann: User) -> None:
    for _ in range(3):
        assert [api.post(LOGIN, {**ANN, "password": "wrong"}).status_code for _ in range(4)] == [401] * 4
        log_in(api)
    assert set(AccessLog.objects.values_list("username", flat=True)) == {ADDRESS}
    assert not AccessAttempt.objects.exists()


def test_one_client_asks_so_often_a_minute(api: APIClient, organization: Organization) -> None:
    answers = [api.post(REFRESH, {"refresh": "x"}) for _ in range(61)]
    assert {answer.status_code for answer in answers[:60]} == {401}
    assert_problem(answers[60], 429, None, "throttled")


# --- The next pair ---------------------------------------------------------------------------------------------------
def test_a_refresh_token_is_exchanged_once(api: APIClient, organization: Organization) -> None:
    member(organization)
    first = log_in(api)
    second = api.post(REFRESH, {"refresh": first["refresh"]})
    assert second.status_code == 200
    assert set(second.json()) == {"access", "refresh"}
    assert may_enter(api, second.json()["access"])
    assert_problem(api.post(REFRESH, {"refresh": first["refresh"]}), 401, None, "invalid_token")
    assert api.post(REFRESH, {"refresh": second.json()["refresh"]}).status_code == 200


def test_who_logged_out_gets_no_next_pair(api: APIClient, ann: User) -> None:
    pair = log_in(api)
    assert api.post(LOGOUT, {"refresh": pair["refresh"]}).status_code == 204
    for path in (REFRESH, LOGOUT):
        assert_problem(api.post(path, {"refresh": pair["refresh"]}), 401, None, "invalid_token")


@pytest.mark.parametrize("path", [REFRESH, LOGOUT])
@pytest.mark.parametrize("body", [{}, {"refresh": None}, {"refresh": 5}, {"refresh": "x" * 5000}, {"token": "x"}, []])
def test_a_body_that_is_none_is_refused(path: str, body: Any, api: APIClient, ann: User) -> None:
    assert_problem(api.post(path, body), 400)


# --- Each token at each endpoint -------------------------------------------------------------------------------------
ENDPOINTS: dict[str, tuple[Kind, str, int]] = {
    "users": (AccessToken, "", 401),
    "socket-token": (AccessToken, "", 401),
    "token-refresh": (RefreshToken, "refresh", 401),
    "logout": (RefreshToken, "refresh", 401),
    "activate": (ActivateToken, "token", 400),
    "password-change": (ChangePasswordToken, "token", 400),
}
"""What each takes, in which field of its body ("": the header), and how it refuses."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.token_type)
@pytest.mark.parametrize("name", ENDPOINTS)
def test_only_the_diagonal_passes(name: str, kind: Kind, api: APIClient, organization: Organization) -> None:
    wanted, field, refusal = ENDPOINTS[name]
    text = create_token(newcomer() if kind is ActivateToken else member(organization), kind)
    if name == "users":
        answer = api.get("/api/users/", headers={"Authorization": f"Bearer {text}"})
    else:
        body = {field: text, **({"password": NEW_PASSWORD} if name == "password-change" else {})} if field else None
        headers = {} if field else {"Authorization": f"Bearer {text}"}
        answer = api.post(reverse(f"accounts:{name}"), body, headers=headers)
    if kind is wanted:
        assert answer.status_code in (200, 204), answer.content
    else:
        assert_problem(answer, refusal)
        assert validate_any_token(text), "what is refused is not spent"


def test_a_socket_token_opens_nothing_but_a_stream(api: APIClient, organization: Organization) -> None:
    text = create_token(member(organization), SocketToken)
    for address in (f"/api/users/?token={text}", f"/api/notifications/?token={text}"):
        assert_problem(api.get(address), 401)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [("a=b", "application/x-www-form-urlencoded", 415), ('{"seconds": 3600}', "application/json", 400)],
)
def test_a_socket_token_is_made_without_wishes(
    api: APIClient, organization: Organization, body: str, content_type: str, status: int
) -> None:
    headers = {"Authorization": f"Bearer {create_token(member(organization), AccessToken)}"}
    assert_problem(api.generic("POST", reverse("accounts:socket-token"), body, content_type, headers=headers), status)


# --- Switched off ----------------------------------------------------------------------------------------------------
def test_without_a_key_there_are_no_accounts(api: APIClient, organization: Organization, settings: Settings) -> None:
    access = log_in(api)["access"] if member(organization) else ""
    assert may_enter(api, access)
    settings.JWT_SECRET_KEY = ""
    for pattern in urlpatterns:
        for method in ("get", "post", "options"):
            answer = getattr(api, method)(reverse(f"accounts:{pattern.name}"), {**ANN})
            assert_problem(answer, 404, None, "accounts_off")
            assert "JWT_SECRET_KEY" in answer.json()["errors"][0]["detail"]
    assert not may_enter(api, access)
    assert api.get("/accounts/activate/").status_code == 404


# --- Nothing in plain ------------------------------------------------------------------------------------------------
def test_neither_password_nor_token_is_stored_or_logged(
    api: APIClient, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [PASSWORD, NEW_PASSWORD]
    api.post("/api/auth/register/", {**ANN, "name": "Ann"})
    rows = repr([*Notification.objects.values()])
    secrets.append(mailbox.token())
    api.post("/api/auth/activate/", {"token": secrets[-1]})
    secrets += log_in(api).values()
    api.post("/api/auth/password/forgot/", {"email": ADDRESS})
    rows += repr([*Notification.objects.values()])
    secrets.append(mailbox.token())
    api.post("/api/auth/password/change/", {"token": secrets[-1], "password": NEW_PASSWORD})
    api.post(REFRESH, {"refresh": secrets[3]})
    assert len(secrets) == 6
    kept = rows + repr(
        [[*model.objects.values()] for model in (User, Notification, OutstandingToken, AccessLog, AccessAttempt)]
    )
    for secret in secrets:
        unique = secret.rsplit(".", 1)[-1]
        assert unique not in kept
        assert unique not in caplog.text


# --- The database is out ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pattern", urlpatterns, ids=lambda pattern: pattern.name)
def test_without_a_database_every_address_says_when_to_come_again(pattern: Any, organization: Organization) -> None:
    api, text = APIClient(raise_request_exception=False), create_token(member(organization), AccessToken)

    def out(*_: Any) -> Any:
        raise OperationalError("canary: could not connect to 10.1.2.3 as user app")

    bodies: dict[str, dict[str, str]] = {
        **dict.fromkeys(("register", "token"), ANN),
        "password-forgot": {"email": ADDRESS},
        "password-change": {"password": NEW_PASSWORD},
        "activate": {"token": create_token(newcomer("new@example.com"), ActivateToken)},
        "logout": {"refresh": create_token(User.objects.get(username=ADDRESS), RefreshToken)},
        "socket-token": {},
    }
    bodies["token-refresh"] = bodies["logout"]
    bodies["password-change"]["token"] = create_token(User.objects.get(username=ADDRESS), ChangePasswordToken)
    path, headers = reverse(f"accounts:{pattern.name}"), {"Authorization": f"Bearer {text}"}
    with connection.execute_wrapper(out):
        answer = api.post(path, bodies[str(pattern.name)], headers=headers)
    assert_problem(answer, 503, None, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert b"canary" not in answer.content
