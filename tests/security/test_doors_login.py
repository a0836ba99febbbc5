"""Signing in: who fails again and again waits, and nobody can make somebody else wait for ever."""

import logging
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth import authenticate
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import path
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier.lockout import client_address
from notifier.scrubbing import scrubbed
from tests.api.checks import assert_problem

pytestmark = pytest.mark.django_db

PASSWORD, CANARY = "the operator's own long password", "canary-typed-password"
HERE, THERE = "198.51.100.7", "203.0.113.9"


@pytest.fixture
def operator() -> User:
    """May sign in to the admin."""
    return User.objects.create_superuser("root", "root@example.com", PASSWORD)


def sign_in(name: str = "root", password: str = CANARY, address: str = HERE, **headers: str) -> Any:
    """The admin's answer to its form, from this address."""
    return Client(REMOTE_ADDR=address).post(
        "/admin/login/", {"username": name, "password": password, "this_is": CANARY}, headers=headers
    )


def fail(times: int, **more: Any) -> list[int]:
    """The answers to so many wrong passwords."""
    return [sign_in(**more).status_code for _ in range(times)]


def later(span: timedelta) -> None:
    """So much time passes since every attempt."""
    AccessAttempt.objects.update(attempt_time=timezone.now() - span)


def test_twenty_wrong_passwords_are_locked_out_and_the_right_one_with_them(operator: User) -> None:
    answers = fail(20)
    assert answers[:4] == [200] * 4
    assert set(answers[4:]) == {429}
    assert sign_in(password=PASSWORD).status_code == 429


def test_the_lock_ends_by_itself_however_often_somebody_goes_on(operator: User) -> None:
    fail(10)
    later(timedelta(minutes=14))
    assert set(fail(5)) == {429}, "these do not begin it anew"
    later(timedelta(minutes=15, seconds=1))
    assert sign_in(password=PASSWORD).status_code == 302


def test_a_forged_forwarded_for_neither_evades_nor_resets_it(operator: User) -> None:
    for number in range(20):
        last = sign_in(**{"X-Forwarded-For": f"192.0.2.{number}", "X-Real-IP": f"192.0.2.{number}"})
    assert last.status_code == 429
    assert sign_in(password=PASSWORD, **{"X-Forwarded-For": "192.0.2.99"}).status_code == 429


def test_neither_another_browser_nor_another_spelling_begins_anew(operator: User) -> None:
    answers = [sign_in(**{"User-Agent": f"browser {number}"}).status_code for number in range(6)]
    assert answers[-1] == 429
    answers = [sign_in(name).status_code for name in ("nobody", "Nobody", "NOBODY", "nobodY", "noBody", "nobody")]
    assert answers[-1] == 429


def test_strangers_cannot_lock_an_operator_out_of_where_he_works(operator: User, settings: Settings) -> None:
    assert sign_in(password=PASSWORD, address=HERE).status_code == 302
    settings.LOGIN_LIMITS = (5, 20, 30)
    for number in range(12):
        fail(5, address=f"203.0.113.{number}")
    assert sign_in(password=PASSWORD, address="192.0.2.1").status_code == 429, "by user, from where he never was"
    assert sign_in(password=PASSWORD, address=HERE).status_code == 302


def test_one_address_cannot_try_one_password_on_many_users(operator: User) -> None:
    answers = [sign_in(f"user-{number}").status_code for number in range(21)]
    assert 429 not in answers[:19]
    assert answers[-1] == 429
    assert sign_in(password=PASSWORD).status_code == 429
    assert sign_in(password=PASSWORD, address=THERE).status_code == 302


def test_a_password_of_ones_own_does_not_begin_the_address_anew(operator: User) -> None:
    User.objects.create_superuser("insider", "insider@example.com", PASSWORD)
    for number in range(25):
        sign_in(f"user-{number}")
        answer = sign_in("insider", PASSWORD)
    assert sign_in("user-99").status_code == 429
    assert answer.status_code == 302, "he himself goes on"


def test_neighbours_cannot_lock_an_operator_out_of_where_he_works(operator: User) -> None:
    assert sign_in(password=PASSWORD).status_code == 302
    for number in range(25):
        sign_in(f"user-{number}")
    assert sign_in("user-99").status_code == 429
    assert sign_in(password=PASSWORD).status_code == 302
    assert fail(5)[-1] == 429, "his own limit stays"
    assert sign_in(password=PASSWORD).status_code == 429


def test_a_success_forgets_the_failures_before_it(operator: User) -> None:
    for _ in range(3):
        fail(4)
        assert sign_in(password=PASSWORD).status_code == 302


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_locked_answer_is_a_plain_page_with_the_time(operator: User, language: str) -> None:
    fail(5)
    answer = sign_in(**{"Accept-Language": language})
    page = answer.content.decode()
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) == 15 * 60
    assert answer.headers["Content-Type"].startswith("text/html")
    assert f'<html lang="{language}">' in page
    assert "15" in page
    assert "<script" not in page
    assert "root" not in page
    assert CANARY not in page


def test_no_password_is_stored_or_logged(operator: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    fail(7)
    sign_in(name=CANARY)  # typed into the wrong field
    Client().post(f"/admin/login/?token={CANARY}", {"username": "root", "password": CANARY})
    rows: list[dict[str, Any]] = [*AccessAttempt.objects.values()]
    rows += AccessLog.objects.values()
    assert rows
    assert CANARY not in repr(rows)
    assert CANARY not in caplog.text
    assert {row["username"] for row in rows if not row["username"].startswith("unknown ")} == {"root"}


def test_the_log_tells_who_is_locked_out_and_from_where(operator: User, caplog: pytest.LogCaptureFixture) -> None:
    fail(5)
    for _ in range(5):
        sign_in(name=CANARY, address=THERE)
    locked = [scrubbed(text) for text in caplog.messages if "Locking out" in text]
    assert 'username: "root"' in locked[0]
    assert f'ip_address: "{HERE}"' in locked[0]
    assert 'username: "unknown ' in locked[1]
    assert f'ip_address: "{THERE}"' in locked[1]
    assert CANARY not in caplog.text


def test_what_is_known_of_logins_is_not_kept_for_ever(operator: User, settings: Settings) -> None:
    settings.RETENTION = timedelta(days=3)
    sign_in(password=PASSWORD)
    AccessLog.objects.update(attempt_time=timezone.now() - timedelta(days=4))
    sign_in(password=PASSWORD)
    assert AccessLog.objects.count() == 1


class TokenView(APIView):
    """As a view that takes a password for a token: REST framework's own request goes to `authenticate`."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def post(self, request: Request) -> Response:
        """200 or 401."""
        data: Any = request.data
        user = authenticate(request, username=data["email"], password=data["password"])
        return Response({"signed_in": user is not None}, status=200 if user is not None else 401)


urlpatterns = [path("api/auth/token/", TokenView.as_view())]


@pytest.mark.urls("tests.security.test_doors_login")
def test_a_login_for_a_token_is_locked_too_and_told_so_as_a_problem(operator: User) -> None:
    def ask(password: str, address: str = HERE) -> HttpResponse:
        body = {"email": "root", "password": password}
        client = Client(REMOTE_ADDR=address)
        return client.post("/api/auth/token/", body, content_type="application/json")  # type: ignore[return-value]

    assert [ask(CANARY).status_code for _ in range(4)] == [401] * 4
    for password in (CANARY, PASSWORD):
        answer = ask(password)
        assert_problem(answer, 429, None, "throttled")
        assert int(answer.headers["Retry-After"]) == 15 * 60
    assert ask(PASSWORD, THERE).status_code == 200


def test_the_doors_share_one_count(operator: User) -> None:
    request = RequestFactory(REMOTE_ADDR=HERE).post("/anything/")
    request.user = AnonymousUser()
    for _ in range(5):
        assert authenticate(request, username="root", password=CANARY) is None
    assert sign_in(password=PASSWORD).status_code == 429


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("unknown", None),
        ("", None),
        ("1" * 5000, None),
    ],
)
def test_an_address_is_counted_as_what_one_customer_has(given: str, counted: str | None) -> None:
    assert client_address(RequestFactory(REMOTE_ADDR=given).get("/")) == counted


@pytest.mark.parametrize("name", ["", "x" * 300, "ÄÖ"])
def test_odd_names_are_no_bug(operator: User, name: str) -> None:
    request = RequestFactory(REMOTE_ADDR="unknown").post("/anything/")
    for _ in range(6):
        assert authenticate(request, username=name, password="wrong") is None
