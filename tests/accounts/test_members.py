"""Members: an access token works wherever an API key does, as far as the place in the organization allows."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.test import APIClient

from accounts.authentication import Members, SocketTokens
from accounts.tokens import AccessToken, SocketToken, create_token
from notifier import api_keys
from notifier.api_keys import Scope
from notifier.limits import Sender
from notifier.models import Membership, Organization, Recipient
from tests.accounts.conftest import PASSWORD, account, member
from tests.api.checks import assert_problem

pytestmark = pytest.mark.django_db
USERS, SEND, ME = "/api/users/", "/api/notifications/", "/api/organizations/me/"
HELLO = {"to": {"email": "user@example.com"}, "message": "Hello"}


@pytest.fixture
def other(db: None) -> Organization:
    """Another organization."""
    return Organization.objects.create(slug="other", name="Other")


def shown(user: User, **headers: str) -> dict[str, Any]:
    return {"Authorization": f"Bearer {create_token(user, AccessToken)}", **headers}


# --- Rights ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("role", "allowed"), [("member", {"read"}), ("administrator", {"read", "send", "manage"})])
def test_a_role_opens_what_it_says(role: str, allowed: set[str], api: APIClient, organization: Organization) -> None:
    headers = shown(member(organization, role))
    answers = {
        "read": api.get(USERS, headers=headers),
        "send": api.post(SEND, HELLO, headers=headers),
        "manage": api.post("/api/organizations/me/rotate-webhook-secret/", headers=headers),
    }
    assert {name for name, answer in answers.items() if answer.status_code in (200, 202)} == allowed
    for name in set(answers) - allowed:
        assert_problem(answers[name], 403, None, "scope")
    assert ("webhook_secret" in api.get(ME, headers=headers).json()) == ("manage" in allowed)


def test_a_change_of_the_place_acts_at_once(api: APIClient, organization: Organization) -> None:
    user = member(organization, "administrator")
    headers = shown(user)
    assert api.post(SEND, HELLO, headers=headers).status_code == 202
    Membership.objects.update(role="member")
    assert_problem(api.post(SEND, HELLO, headers=headers), 403, None, "scope")
    assert api.get(USERS, headers=headers).status_code == 200
    Membership.objects.all().delete()
    assert_problem(api.get(USERS, headers=headers), 403, None, "no_membership")


def test_a_deactivated_user_is_out_at_once(api: APIClient, organization: Organization) -> None:
    headers = shown(member(organization))
    assert api.get(USERS, headers=headers).status_code == 200
    User.objects.update(is_active=False)
    refused = api.get(USERS, headers=headers)
    assert_problem(refused, 401)
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


def test_an_administrator_may_enter_the_admin_and_a_member_may_not(organization: Organization, client: Client) -> None:
    for role, status in (("member", 200), ("administrator", 302)):
        user = member(organization, role, f"{role}@example.com")
        answer = client.post("/admin/login/", {"username": user.username, "password": PASSWORD})
        assert answer.status_code == status
    assert client.get("/admin/notifier/notification/").status_code == 200
    assert client.get("/admin/auth/user/").status_code == 403


def test_a_superuser_without_a_place_is_nobody_here(api: APIClient, organization: Organization) -> None:
    root = User.objects.create_superuser("root@example.com", "root@example.com", "x" * 20)
    assert_problem(api.get(USERS, headers=shown(root)), 403, None, "no_membership")


# --- Which organization ----------------------------------------------------------------------------------------------
def test_the_header_says_which_of_several(api: APIClient, organization: Organization, other: Organization) -> None:
    user = member(organization)
    Membership.objects.create(user=user, organization=other, role="administrator")
    for slug, may_send in (("default", False), ("other", True)):
        headers = shown(user, **{"X-Organization": slug})
        assert api.get(ME, headers=headers).json()["slug"] == slug
        assert (api.post(SEND, HELLO, headers=headers).status_code == 202) == may_send
    assert_problem(api.get(ME, headers=shown(user)), 400, None, "organization_required")


@pytest.mark.parametrize("slug", ["other", "nowhere", "", "OTHER", "öther", "x" * 9000, "other\x00"])
def test_a_strangers_organization_is_as_little_there_as_none(
    slug: str, api: APIClient, organization: Organization, other: Organization
) -> None:
    headers = shown(member(organization))
    nowhere = api.get(USERS, headers={**headers, "X-Organization": "no-such-one"})
    answer = api.get(USERS, headers={**headers, "X-Organization": slug})
    assert_problem(answer, 403, None, "no_membership")
    assert (answer.content, dict(answer.headers)) == (nowhere.content, dict(nowhere.headers))


def test_a_member_sees_what_is_his_organizations(
    api: APIClient, organization: Organization, other: Organization
) -> None:
    Recipient.objects.create(organization=other, email="theirs@example.com")
    mine = Recipient.objects.create(organization=organization, email="mine@example.com")
    listed = api.get(USERS, headers=shown(member(organization))).json()["results"]
    assert [row["id"] for row in listed] == [mine.pk]


# --- Beside API keys -------------------------------------------------------------------------------------------------
def test_a_key_costs_no_query_more(organization: Organization) -> None:
    key = api_keys.make(organization).secret
    for header in (f"Bearer {key}", "Bearer x", "Bearer ntf_a.b.c", "Basic a.b.c", "Bearer", "a.b.c", ""):
        request = RequestFactory().get(USERS, headers={"Authorization": header})
        with CaptureQueriesContext(
            connection,
        ) as asked:
            assert Members().authenticate(request) is None  # type: ignore[arg-type]
        assert len(asked) == 0
    assert Members().authenticate(RequestFactory().get(USERS)) is None  # type: ignore[arg-type]


def test_a_token_may_stand_where_a_key_may(api: APIClient, organization: Organization) -> None:
    bearer, token = shown(member(organization))["Authorization"], create_token(User.objects.get(), AccessToken)
    for headers in ({"X-API-Key": token}, {"X-API-Key": token, "Authorization": "Basic cHJveHk6eA=="}):
        assert api.get(USERS, headers=headers).status_code == 200
        assert_problem(api.post(SEND, HELLO, headers=headers), 403)
    assert_problem(api.get(USERS, headers={"X-API-Key": token[:-1]}), 401)
    assert_problem(api.get(USERS, headers={"X-API-Key": bearer}), 401)


def test_a_token_and_a_key_together_are_refused(api: APIClient, organization: Organization) -> None:
    headers = shown(member(organization, "administrator"), **{"X-API-Key": api_keys.make(organization).secret})
    assert_problem(api.get(USERS, headers=headers), 401)


@pytest.mark.parametrize("open_to_all", [True, False])
def test_a_wrong_token_is_refused_also_where_the_api_is_open(
    open_to_all: bool, api: APIClient, organization: Organization, settings: Any
) -> None:
    settings.API_OPEN = open_to_all
    assert_problem(api.get(USERS, headers={"Authorization": "Bearer a.b.c"}), 401)


def test_a_members_messages_are_counted_as_his(api: APIClient, organization: Organization, settings: Any) -> None:
    user = member(organization, "administrator")
    request = RequestFactory().get(USERS, headers=shown(user))
    caller, _token = Members().authenticate(request) or pytest.fail("not let in")  # type: ignore[arg-type]
    assert (caller.organization, caller.sender) == (organization, Sender(counted_as=f"member:{user.pk}"))
    settings.API_THROTTLE_DAY = 1
    assert api.post(SEND, HELLO, headers=shown(user)).status_code == 202
    assert_problem(api.post(SEND, HELLO, headers=shown(user)), 429)


# --- Socket tokens ---------------------------------------------------------------------------------------------------
def socket_caller(text: str) -> Any:
    found = SocketTokens().authenticate(RequestFactory().get("/api/events/", {"token": text}))  # type: ignore[arg-type]
    assert found is not None
    return found[0]


def test_a_socket_token_opens_one_stream_of_the_chosen_organization(
    api: APIClient, organization: Organization, other: Organization
) -> None:
    user = member(organization, "administrator")
    Membership.objects.create(user=user, organization=other)
    answer = api.post("/api/auth/socket-token/", headers=shown(user, **{"X-Organization": "other"}))
    assert answer.status_code == 200
    assert set(answer.json()) == {"token", "expires_at"}
    assert answer.json()["expires_at"].endswith("Z")
    caller = socket_caller(answer.json()["token"])
    assert (caller.organization, caller.scopes) == (other, frozenset({Scope.READ}))
    with pytest.raises(AuthenticationFailed):
        socket_caller(answer.json()["token"])


def test_a_member_may_ask_for_one_and_a_key_may_not(api: APIClient, organization: Organization, settings: Any) -> None:
    settings.API_OPEN = True
    assert api.post("/api/auth/socket-token/", headers=shown(member(organization))).status_code == 200
    key = api_keys.make(organization).secret
    for headers in ({}, {"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        assert_problem(api.post("/api/auth/socket-token/", headers=headers), 401)


def test_a_socket_token_is_nothing_without_the_place(organization: Organization, other: Organization) -> None:
    user = member(organization)
    for claims in ({"organization": other.pk}, {"organization": 2**70}, {"organization": "default"}):
        with pytest.raises(AuthenticationFailed):
            socket_caller(create_token(user, SocketToken, **claims))
    assert socket_caller(create_token(user, SocketToken)).organization == organization
    text = create_token(user, SocketToken, organization=organization.pk)
    Membership.objects.all().delete()
    with pytest.raises(AuthenticationFailed):
        socket_caller(text)


@pytest.mark.parametrize(
    "end",
    [
        lambda user: Membership.objects.all().delete(),
        lambda user: User.objects.update(is_active=False),
        lambda user: User.objects.update(password="another"),
        lambda user: user.delete(),
    ],
    ids=["no place", "deactivated", "new password", "deleted"],
)
def test_a_stream_that_is_open_ends_with_its_readers_rights(end: Any, organization: Organization) -> None:
    user = member(organization)
    caller = socket_caller(create_token(user, SocketToken))
    request = RequestFactory().get(USERS, headers=shown(user))
    other, _token = Members().authenticate(request) or pytest.fail("not let in")  # type: ignore[arg-type]
    assert caller.still_allowed()
    assert other.still_allowed()
    end(user)
    assert not caller.still_allowed()
    assert not other.still_allowed()


@pytest.mark.parametrize("text", ["", "a.b.c", "x", "\x00", "ж"])
def test_what_is_no_socket_token_is_refused(text: str, ann: User) -> None:
    with pytest.raises(AuthenticationFailed):
        socket_caller(text)
    with pytest.raises(AuthenticationFailed):
        socket_caller(create_token(ann, AccessToken))
    assert account("x@example.com")
