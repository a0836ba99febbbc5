"""Registering and activating: only the address's owner gets an account, and nobody learns who has one."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client
from rest_framework.test import APIClient

from accounts import pace, registration, retention
from accounts.models import Registration
from accounts.tokens import Kind, verify_token
from notifier import intake
from notifier.models import Membership, Notification
from tests.accounts.conftest import ADDRESS, NEW_PASSWORD, PASSWORD, Mailbox, account, count_hashes, newcomer
from tests.api.checks import assert_problem

pytestmark = pytest.mark.django_db
REGISTER, ACTIVATE, LOGIN, FORGOT = (
    f"/api/auth/{name}/" for name in ("register", "activate", "token", "password/forgot")
)
ANN = {"email": ADDRESS, "password": PASSWORD}


def deactivated() -> User:
    return account(is_active=False)


PEOPLE: dict[str, tuple[Any, list[str]]] = {
    "nobody": (lambda: None, ["activate"]),
    "a newcomer": (newcomer, ["activate"]),
    "an account": (account, ["forgot"]),
    "one that an operator deactivated": (deactivated, []),
}


def test_from_the_registration_to_the_first_token(api: APIClient, mailbox: Mailbox) -> None:
    answer = api.post(REGISTER, {**ANN, "email": "Ann@Example.COM", "name": "Ann"})
    assert answer.status_code == 202
    user = User.objects.get()
    assert (user.username, user.email, user.first_name) == (ADDRESS, ADDRESS, "Ann")
    assert (user.is_active, user.is_staff, user.is_superuser, user.memberships.count()) == (False, False, False, 0)
    assert api.post(LOGIN, ANN).status_code == 401
    activated = api.post(ACTIVATE, {"token": mailbox.token()})
    assert (activated.status_code, activated.json()) == (200, {"email": ADDRESS})
    assert set(api.post(LOGIN, ANN).json()) == {"access", "refresh"}
    assert not Registration.objects.exists()


@pytest.mark.parametrize(("make", "mailed"), PEOPLE.values(), ids=PEOPLE)
def test_the_answer_is_the_same_and_only_the_owner_is_told(
    make: Any, mailed: list[str], api: APIClient, mailbox: Mailbox
) -> None:
    other = api.post(REGISTER, {**ANN, "email": "other@example.com"})
    make()
    answer = api.post(REGISTER, ANN)
    assert (answer.status_code, answer.content, dict(answer.headers)) == (202, other.content, dict(other.headers))
    assert [page for page, _token in mailbox.links()[1:]] == mailed


@pytest.mark.parametrize("path", [REGISTER, FORGOT])
@pytest.mark.parametrize(("make", "mailed"), PEOPLE.values(), ids=PEOPLE)
def test_whoever_has_the_address_the_work_is_the_same(
    path: str, make: Any, mailed: list[str], api: APIClient, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashing takes longest: it is counted. The rest is lost in the pause, which every way ends with."""
    make()
    hashed, pauses = count_hashes(monkeypatch), list[float]()
    monkeypatch.setattr(pace, "LEAST_SECONDS", 30.0)
    monkeypatch.setattr("accounts.pace.time.sleep", pauses.append)
    assert api.post(path, ANN if path == REGISTER else {"email": ADDRESS}).status_code == 202
    assert len(hashed) == (path == REGISTER)
    assert len(pauses) == 1
    assert 20 < pauses[0] <= 30


def test_the_link_leads_to_a_page_and_keeps_its_token_from_servers(api: APIClient, mailbox: Mailbox) -> None:
    api.post(REGISTER, ANN, headers={"Accept-Language": "ru"})
    (mail,) = mailbox.look()
    assert re.search(r"http://127\.0\.0\.1:8000/accounts/activate/#token=[\w-]+\.[\w-]+\.[\w-]+", mail.text)
    row = Notification.objects.get()
    assert (row.template, row.organization.slug, row.to) == (
        "activation",
        "default",
        {"email": ADDRESS, "language": "ru"},
    )
    assert timedelta(hours=47) < row.expires_at - row.created_at <= timedelta(hours=48)


def test_the_mail_repeats_nothing_that_a_stranger_wrote(api: APIClient, mailbox: Mailbox) -> None:
    api.post(REGISTER, {**ANN, "name": "Buy at evil.example.com"})
    (mail,) = mailbox.look()
    assert "evil" not in mail.text + mail.subject + str(mail.html)


def test_looking_at_the_link_activates_nothing(api: APIClient, mailbox: Mailbox, client: Client) -> None:
    api.post(REGISTER, ANN)
    token = mailbox.token()
    for look in (client.get, client.head):
        for address in ("/accounts/activate/", f"/accounts/activate/?token={token}", f"{ACTIVATE}?token={token}"):
            look(address)
    assert not User.objects.get().is_active
    assert api.post(ACTIVATE, {"token": token}).status_code == 200


def test_a_link_works_once(api: APIClient, mailbox: Mailbox) -> None:
    api.post(REGISTER, ANN)
    token = mailbox.token()
    assert api.post(ACTIVATE, {"token": token}).status_code == 200
    assert_problem(api.post(ACTIVATE, {"token": token}), 400, "token", "invalid_token")


def test_who_registers_again_gets_the_last_password_and_the_last_link_alone(api: APIClient, mailbox: Mailbox) -> None:
    api.post(REGISTER, ANN)
    api.post(REGISTER, {**ANN, "password": NEW_PASSWORD})
    (_, first), (_, last) = mailbox.links()
    assert_problem(api.post(ACTIVATE, {"token": first}), 400, "token", "invalid_token")
    assert api.post(ACTIVATE, {"token": last}).status_code == 200
    assert api.post(LOGIN, ANN).status_code == 401
    assert api.post(LOGIN, {**ANN, "password": NEW_PASSWORD}).status_code == 200


def test_a_registration_in_the_meantime_wins(api: APIClient, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link was good when it was looked at: another password must not be activated by it."""
    api.post(REGISTER, ANN)
    token, plain = mailbox.token(), verify_token

    def meanwhile(text: str, kind: Kind) -> User:
        user = plain(text, kind)
        User.objects.update(password="of another registration")
        return user

    monkeypatch.setattr(registration, "verify_token", meanwhile)
    assert_problem(api.post(ACTIVATE, {"token": token}), 400, "token", "invalid_token")
    assert not User.objects.get().is_active


def test_a_registration_changes_nothing_of_an_account(api: APIClient, mailbox: Mailbox) -> None:
    account(first_name="Ann")
    before = User.objects.values().get()
    api.post(REGISTER, {"email": ADDRESS, "password": NEW_PASSWORD, "name": "Mallory"})
    assert User.objects.values().get() == before


def test_nobody_comes_back_whom_an_operator_deactivated(api: APIClient, mailbox: Mailbox) -> None:
    """Also where it was the operator who had activated him, and not the link."""
    api.post(REGISTER, ANN)
    token = mailbox.token()
    user = User.objects.get(username=ADDRESS)
    for is_active in (True, False):
        user.is_active = is_active
        user.save()
    assert_problem(api.post(ACTIVATE, {"token": token}), 400, "token", "invalid_token")
    api.post(REGISTER, ANN)
    assert len(mailbox.look()) == 1
    assert not User.objects.get(username=ADDRESS).is_active


def test_what_cannot_be_mailed_leaves_no_account(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise intake.InvalidNotificationError({"template": "gone"})

    monkeypatch.setattr(intake, "send", fail)
    assert_problem(APIClient(raise_request_exception=False).post(REGISTER, ANN), 500)
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "typed", ["İ@example.com", "ÄNN@BÜCHER.EXAMPLE", "ann@xn--bcher-kva.example", "\u212a@example.com"]
)
def test_an_odd_address_is_one_name_however_it_is_typed(typed: str, api: APIClient, mailbox: Mailbox) -> None:
    assert api.post(REGISTER, {**ANN, "email": typed}).status_code == 202
    name = User.objects.get().username
    assert name == name.lower()
    assert api.post(REGISTER, {**ANN, "email": name.upper()}).status_code == 202
    assert User.objects.get().username == name
    assert len(mailbox.look()) == 2


def test_a_name_that_no_template_takes_is_left_out(api: APIClient, mailbox: Mailbox) -> None:
    """Forms refuse it; operators' programs store what they like."""
    account(first_name="Ann\r\nBcc: x")
    assert api.post(FORGOT, {"email": ADDRESS}).status_code == 202
    assert api.post(REGISTER, ANN).status_code == 202
    assert "Bcc" not in "".join(mail.text for mail in mailbox.look())


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"email": "ann"}, "email", "email"),
    ({"email": ""}, "email", "blank"),
    ({"email": None}, "email", "null"),
    ({"email": 5}, "email", "invalid"),
    ({"email": ["ann@example.com"]}, "email", "invalid"),
    ({"email": "Ann <ann@example.com>"}, "email", "email"),
    ({"email": "ann@example.com\nBcc: x@example.com"}, "email", "one_line"),
    ({"email": f"{'a' * 60}@{'b' * 60}.{'c' * 60}.example.com"}, "email", "max_length"),
    ({"email": f"{'İ' * 40}@example.com"}, "email", "email"),  # too long in lower case
    ({"password": ""}, "password", "blank"),
    ({"password": 12345678901}, "password", "invalid"),
    ({"password": "short"}, "password", "password_too_short"),
    ({"password": "password"}, "password", "password_too_common"),
    ({"password": "ann@example.com"}, "password", "password_too_similar"),
    ({"password": "x" * 129}, "password", "max_length"),
    ({"password": "x" * 20 + "\x00"}, "password", "unsafe"),
    ({"name": "x" * 151}, "name", "max_length"),
    ({"name": "Ann\r\nBcc: x"}, "name", "one_line"),
    ({"is_staff": True}, "is_staff", "unknown_field"),
    ({"is_active": True}, "is_active", "unknown_field"),
    ({"pasword": "x"}, "pasword", "unknown_field"),
]


@pytest.mark.parametrize(("changed", "attr", "code"), BAD)
def test_what_is_wrong_is_named_and_nothing_is_stored(
    changed: dict[str, Any], attr: str, code: str, api: APIClient, mailbox: Mailbox
) -> None:
    assert_problem(api.post(REGISTER, {**ANN, **changed}), 400, attr, code)
    assert not User.objects.exists()
    assert not Notification.objects.exists()


def test_an_address_is_not_flooded_and_neither_is_anybody_by_one_client(api: APIClient, mailbox: Mailbox) -> None:
    account()
    answers = [api.post(REGISTER, ANN) for _ in range(4)] + [api.post(FORGOT, {"email": ADDRESS}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429] * 2
    assert_problem(answers[-1], 429, None, "throttled")
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert [page for page, _token in mailbox.links()] == ["forgot"] * 3 + ["password"] * 3
    here = [api.post(FORGOT, {"email": f"{number}@example.com"}).status_code for number in range(30)]
    assert here == [202] * 26 + [429] * 4
    assert APIClient(REMOTE_ADDR="203.0.113.9").post(FORGOT, {"email": "x@example.com"}).status_code == 202


def test_an_administrators_place_makes_the_rights(api: APIClient, mailbox: Mailbox, organization: Any) -> None:
    api.post(REGISTER, ANN)
    api.post(ACTIVATE, {"token": mailbox.token()})
    access = {"Authorization": f"Bearer {api.post(LOGIN, ANN).json()['access']}"}
    assert_problem(api.get("/api/users/", headers=access), 403, None, "no_membership")
    Membership.objects.create(user=User.objects.get(), organization=organization)
    assert api.get("/api/users/", headers=access).status_code == 200


def test_who_never_came_is_forgotten_and_who_has_a_place_is_waited_for(organization: Any) -> None:
    for address in ("never@example.com", "placed@example.com", "young@example.com"):
        newcomer(address)
    Membership.objects.create(user=User.objects.get(username="placed@example.com"), organization=organization)
    account("old@example.com", is_active=False)
    old = Registration.objects.exclude(user__username="young@example.com")
    old.update(created_at=Now() - timedelta(days=8))
    retention.purge()
    assert sorted(User.objects.values_list("username", flat=True)) == [
        "old@example.com",
        "placed@example.com",
        "young@example.com",
    ]


def test_whoever_registers_again_is_waited_for_as_long_as_his_link_works(api: APIClient, mailbox: Mailbox) -> None:
    newcomer()
    Registration.objects.update(created_at=Now() - retention.KEPT + timedelta(hours=1))
    api.post(REGISTER, ANN)
    Registration.objects.update(created_at=F("created_at") - timedelta(hours=2))
    retention.purge()
    assert api.post(ACTIVATE, {"token": mailbox.token()}).status_code == 200
