"""A forgotten password: only the mailbox's owner sets a new one, and everything older ends with it."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from accounts import passwords
from accounts.tokens import ChangePasswordToken, Kind, create_token, verify_token
from notifier.models import Notification, Organization
from tests.accounts.conftest import ADDRESS, NEW_PASSWORD, PASSWORD, Mailbox, account, member, newcomer
from tests.api.checks import assert_problem

pytestmark = pytest.mark.django_db
FORGOT, CHANGE, LOGIN, REFRESH = (
    f"/api/auth/{name}/" for name in ("password/forgot", "password/change", "token", "token/refresh")
)
ANN = {"email": ADDRESS, "password": PASSWORD}


def change(api: APIClient, token: str, password: Any = NEW_PASSWORD) -> Any:
    return api.post(CHANGE, {"token": token, "password": password})


def test_from_the_mail_to_the_new_password(api: APIClient, mailbox: Mailbox, ann: User) -> None:
    assert api.post(FORGOT, {"email": "Ann@example.com"}).status_code == 202
    assert [page for page, _ in mailbox.links()] == ["password"]
    answer = change(api, mailbox.token())
    assert (answer.status_code, answer.json()) == (200, {"email": ADDRESS})
    assert api.post(LOGIN, ANN).status_code == 401
    assert api.post(LOGIN, {**ANN, "password": NEW_PASSWORD}).status_code == 200
    assert_problem(change(api, mailbox.token()), 400, "token", "invalid_token")


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        newcomer,
        lambda: account(is_active=False),
        lambda: User.objects.create_user(ADDRESS, ADDRESS),
        lambda: User.objects.create_user("ann", ADDRESS, PASSWORD),
    ],
    ids=["nobody", "newcomer", "deactivated", "signs in elsewhere", "another name"],
)
def test_who_has_no_account_gets_the_same_answer_and_no_mail(make: Any, api: APIClient, mailbox: Mailbox) -> None:
    account("other@example.com")
    other = api.post(FORGOT, {"email": "other@example.com"})
    make()
    answer = api.post(FORGOT, {"email": ADDRESS})
    assert (answer.status_code, answer.content, dict(answer.headers)) == (202, other.content, dict(other.headers))
    assert len(mailbox.look()) == 1


def test_everything_older_ends(api: APIClient, mailbox: Mailbox, organization: Organization) -> None:
    user = member(organization)
    pair = api.post(LOGIN, ANN).json()
    older = create_token(user, ChangePasswordToken)
    api.post(FORGOT, {"email": ADDRESS})
    assert change(api, mailbox.token()).status_code == 200
    assert_problem(api.post(REFRESH, {"refresh": pair["refresh"]}), 401, None, "invalid_token")
    assert_problem(api.get("/api/users/", headers={"Authorization": f"Bearer {pair['access']}"}), 401)
    assert_problem(change(api, older), 400, "token", "invalid_token")
    # Even with the old password restored, salt and all: what was blacklisted stays so.
    User.objects.update(password=user.password)
    assert_problem(api.post(REFRESH, {"refresh": pair["refresh"]}), 401, None, "invalid_token")


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short", "password_too_short"),
        ("password", "password_too_common"),
        (ADDRESS, "password_too_similar"),
        ("x" * 129, "max_length"),
        ("", "blank"),
        (None, "null"),
        (5, "invalid"),
        ("nul in the middle\x00 of it", "unsafe"),
    ],
)
def test_a_weak_password_is_refused_and_the_link_still_works(
    password: Any, code: str, api: APIClient, ann: User
) -> None:
    token = create_token(ann, ChangePasswordToken)
    assert_problem(change(api, token, password), 400, "password", code)
    assert change(api, token).status_code == 200


def test_two_links_do_not_both_work(api: APIClient, ann: User) -> None:
    first, second = (create_token(ann, ChangePasswordToken) for _ in range(2))
    assert change(api, second).status_code == 200
    assert_problem(change(api, first), 400, "token", "invalid_token")


def test_a_password_changed_in_the_meantime_wins(api: APIClient, ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(text: str, kind: Kind) -> User:
        user = verify_token(text, kind)
        User.objects.update(password="set by an operator")
        return user

    monkeypatch.setattr(passwords, "verify_token", meanwhile)
    assert_problem(change(api, create_token(ann, ChangePasswordToken)), 400, "token", "invalid_token")
    assert not User.objects.get().check_password(NEW_PASSWORD)


def test_looking_at_the_link_changes_nothing(api: APIClient, ann: User, client: Client) -> None:
    token = create_token(ann, ChangePasswordToken)
    for address in ("/accounts/password/", f"/accounts/password/?token={token}", f"{CHANGE}?token={token}"):
        client.get(address)
    assert change(api, token).status_code == 200


def test_who_was_locked_out_comes_in_with_the_new_password(api: APIClient, ann: User) -> None:
    for _ in range(5):
        api.post(LOGIN, {**ANN, "password": "what was it"})
    assert api.post(LOGIN, ANN).status_code == 429
    change(api, create_token(ann, ChangePasswordToken))
    assert api.post(LOGIN, {**ANN, "password": NEW_PASSWORD}).status_code == 200


def test_the_mail_ends_with_its_link(api: APIClient, mailbox: Mailbox, ann: User) -> None:
    api.post(FORGOT, {"email": ADDRESS})
    row = Notification.objects.get()
    assert 59 * 60 < (row.expires_at - row.created_at).total_seconds() <= 3600
    assert (row.template, row.priority) == ("password_change", Notification(priority=row.priority).priority)
    assert [step["channel"] for step in row.steps] == ["email"]
