"""What one organization has is not there for another: on every route, by every method, in every field and filter.

Where a caller can name somebody else's row, the answer is, byte for byte, the one for a row that exists nowhere: it
does not even tell that there is one.
"""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier.models import Notification, Recipient
from notifier.states import Status
from tests.api.checks import assert_problem
from tests.security.tenants import CANARY, METHODS, NOWHERE, ROWS, Route, Tenant, client_of, dump, routes, tenant

pytestmark = pytest.mark.django_db

NOTIFICATIONS, BULK, USERS = "/api/notifications/", "/api/notifications/bulk/", "/api/users/"
HELLO = {"message": "Hello"}

BODIES: dict[tuple[str, str], list[Any]] = {
    ("user", "PATCH"): [{"name": "Mallory"}, {"external_id": "mine"}, {"email": "broken"}, {"nothing": 1}, {}],
    ("deadline", "PUT"): [{"person": "Mallory"}, {"person": ""}, {"nothing": 1}],
    ("deadline", "PATCH"): [{"note": "Mallory"}, {"due_date": "never"}],
    ("retry", "POST"): [{}, {"smtp_user": "me", "smtp_password": "mine"}, {"nothing": 1}],
}
"""What is sent to a route besides an empty object: good bodies and bad ones."""

BY_ID = {"user_id", "user_ids"}
"""The fields and filters by which a caller names a row of ours."""
OWN_WORDS = {"telegram_chat_id", "external_id", "provider_id", "last_event_id"}
"""Fields whose names end alike: they name nothing of ours."""

KNOWN = {
    *("users", "user", "notifications", "bulk", "notification", "cancel", "retry", "acknowledge", "plan"),
    *("organization", "rotate-webhook-secret", "schema", "docs", "redoc", "events", "notification-events"),
    *("register", "activate", "token", "token-refresh", "logout"),
    *("password-forgot", "password-change", "socket-token"),
    *("deadlines", "deadline", "deadline-import", "templates", "template", "preview"),
}
ALL = routes()
WITH_ROWS = [route for route in ALL if route.groups]
WITHOUT_ROWS = [route for route in ALL if not route.groups]


def named(route: Route) -> str:
    """Its name, for the test's."""
    return route.name


@pytest.fixture(autouse=True)
def unlimited(settings: Settings) -> None:
    """No limit of requests, and no way in without a key."""
    settings.API_OPEN = False
    settings.API_THROTTLE_SEND = None


@pytest.fixture
def strangers() -> Tenant:
    """The organization whose data is none of the caller's business."""
    return tenant("strangers", CANARY)


@pytest.fixture
def mine() -> Tenant:
    """The caller's."""
    return tenant("mine", "mineword")


def answer(response: Any) -> tuple[int, dict[str, str], bytes]:
    """All that the caller gets."""
    return response.status_code, dict(response.headers), response.content


# --- Nothing is left out ---------------------------------------------------------------------------------------------
def test_every_route_is_known_here() -> None:
    """A new one fails here until it stands in `KNOWN`, and in `ROWS` where its path names a row."""
    assert {route.name for route in ALL} == KNOWN
    assert {route.name for route in WITH_ROWS} == set(ROWS)
    assert all(route.groups == ("pk",) for route in WITH_ROWS)


def test_every_field_that_names_a_row_is_known_here(strangers: Tenant) -> None:
    """By the API's own description of itself: parameters and bodies of all operations."""
    described = json.loads(
        strangers.clients["live"].get("/api/schema/", headers={"Accept": "application/json"}).content
    )
    found: set[str] = set()

    def look(part: Any) -> None:
        if isinstance(part, dict):
            found.update(name for name in part.get("properties", ()) if re.search(r"(^|_)ids?$", name))
            if part.get("in") == "query" and re.search(r"(^|_)ids?$", part["name"]):
                found.add(part["name"])
        for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            look(inner)

    look(described)
    assert found - OWN_WORDS - {"id", "ids"} == BY_ID, "`id` and `ids` are only ever answered"


# --- Paths -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["live", "test", "open"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("route", WITH_ROWS, ids=named)
def test_a_strangers_row_is_as_little_there_as_none(
    route: Route, method: str, kind: str, mine: Tenant, strangers: Tenant, settings: Settings
) -> None:
    settings.API_OPEN = kind == "open"
    client = APIClient(raise_request_exception=False) if kind == "open" else mine.clients[kind]
    before = dump()
    for body in [{}, *BODIES.get((route.name, method), [])]:
        nowhere = getattr(client, method.lower())(route.path(pk=NOWHERE), body)
        assert nowhere.status_code == (404 if method in route.methods else 405)
        for pk in ROWS[route.name](strangers):
            theirs = getattr(client, method.lower())(route.path(pk=pk), body)
            assert answer(theirs) == answer(nowhere)
            assert CANARY.encode() not in theirs.content
    assert dump() == before


def test_the_same_requests_reach_ones_own_rows(mine: Tenant) -> None:
    """Otherwise the test above would prove nothing."""
    for route in WITH_ROWS:
        for method in route.methods:
            if method != "DELETE":
                body = BODIES.get((route.name, method), [{}])[0]
                codes = {
                    getattr(mine.clients["live"], method.lower())(route.path(pk=pk), body).status_code
                    for pk in ROWS[route.name](mine)
                }
                assert codes & {200, 202}, (route.name, method)
                assert codes <= {200, 202, 409}


@pytest.mark.parametrize("scopes", [("send",), ("read",)])
def test_a_key_with_less_scope_learns_no_more(scopes: tuple[str, ...], mine: Tenant, strangers: Tenant) -> None:
    client = client_of(mine.organization, "live", scopes)
    for route in WITH_ROWS:
        for method in route.methods:
            nowhere = getattr(client, method.lower())(route.path(pk=NOWHERE), {})
            for pk in ROWS[route.name](strangers):
                assert answer(getattr(client, method.lower())(route.path(pk=pk), {})) == answer(nowhere)
            assert nowhere.status_code in {403, 404}


@pytest.mark.parametrize("route", WITHOUT_ROWS, ids=named)
def test_no_list_and_no_other_page_shows_anything_of_strangers(route: Route, mine: Tenant, strangers: Tenant) -> None:
    for client in mine.clients.values():
        for method in METHODS:
            response = getattr(client, method.lower())(route.path(), {})
            assert response.status_code < 500
            assert CANARY.encode() not in response.getvalue()


# --- Filters and cursors ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "theirs", "nobodys"),
    [
        (USERS, lambda one: {"email": one.user.email}, {"email": "nobody@example.com"}),
        (USERS, lambda one: {"phone": one.user.phone}, {"phone": "+12025550100"}),
        (USERS, lambda one: {"external_id": one.user.external_id}, {"external_id": "nobody"}),
        ("/api/deadlines/", lambda one: {"person": one.deadline.person}, {"person": "nobody"}),
        (NOTIFICATIONS, lambda one: {"user_id": one.user.pk}, {"user_id": NOWHERE}),
        (NOTIFICATIONS, lambda _: {"reference": f"{CANARY}-reference"}, {"reference": "nothing"}),
        *(
            (NOTIFICATIONS, lambda one, more=more: {"user_id": one.user.pk, **more}, {"user_id": NOWHERE, **more})
            for more in ({"channel": "email"}, {"status": "failed"}, {"created_after": "2020-01-01T00:00:00Z"})
        ),
    ],
)
def test_a_filter_finds_nothing_of_strangers(
    path: str, theirs: Callable[[Tenant], dict[str, Any]], nobodys: dict[str, Any], mine: Tenant, strangers: Tenant
) -> None:
    client = mine.clients["live"]
    found = client.get(path, theirs(strangers))
    assert answer(found) == answer(client.get(path, nobodys))
    assert found.json() == {"next": None, "previous": None, "results": []}


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (USERS, {}),
        (NOTIFICATIONS, {}),
        (NOTIFICATIONS, {"channel": "email"}),
        (NOTIFICATIONS, {"status": "queued"}),
        (NOTIFICATIONS, {"reference": f"{CANARY}-reference"}),
    ],
)
def test_a_strangers_cursor_leads_to_ones_own_rows(
    path: str, asked: dict[str, str], mine: Tenant, strangers: Tenant
) -> None:
    model: Any = Recipient if path == USERS else Notification
    for owner in (strangers, mine, strangers):  # newer ones and older ones
        first = owner.user if path == USERS else owner.notifications[Status.QUEUED]
        for _ in range(3):
            row = model.objects.get(pk=first.pk)
            row.pk, row._state.adding = None, True
            if path == USERS:
                row.external_id = None
            row.save(force_insert=True)
    cursors = []
    link = strangers.clients["live"].get(path, {**asked, "page_size": "2"}).json()["next"]
    while link:
        cursors.append(parse_qs(urlsplit(link).query)["cursor"][0])
        link = strangers.clients["live"].get(link).json()["next"]
    assert cursors
    for cursor in cursors:
        page = mine.clients["live"].get(path, {**asked, "cursor": cursor})
        assert page.status_code == 200
        assert CANARY not in json.dumps(page.json()["results"])  # the links repeat what was asked for
        ids = [row["id"] for row in page.json()["results"]]
        assert model.objects.filter(pk__in=ids, organization=mine.organization).count() == len(ids)


# --- Bodies ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["live", "test"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (NOTIFICATIONS, lambda pk, own: {**HELLO, "user_id": pk}),
        (NOTIFICATIONS, lambda pk, own: {**HELLO, "user_id": pk, "channels": ["email"], "priority": "high"}),
        (f"{NOTIFICATIONS}plan/", lambda pk, own: {**HELLO, "user_id": pk}),
        (BULK, lambda pk, own: {**HELLO, "user_ids": [pk]}),
        (BULK, lambda pk, own: {**HELLO, "user_ids": [own, pk]}),
        (BULK, lambda pk, own: {"notifications": [{**HELLO, "user_id": pk}]}),
        (BULK, lambda pk, own: {"notifications": [{**HELLO, "user_id": own}, {**HELLO, "user_id": pk}]}),
    ],
)
def test_nobody_sends_to_a_strangers_user(
    path: str, body: Callable[[int, int], Any], kind: str, mine: Tenant, strangers: Tenant
) -> None:
    before = dump()
    for headers in ({}, {"Idempotency-Key": "one"}):
        theirs = mine.clients[kind].post(path, body(strangers.user.pk, mine.user.pk), headers=headers)
        nowhere = mine.clients[kind].post(path, body(NOWHERE, mine.user.pk), headers=headers)
        assert_problem(theirs, 400, code="does_not_exist")
        assert theirs.json()["errors"][0]["attr"].endswith("user_id")
        assert answer(theirs) == answer(nowhere)
    assert dump() == before


def test_what_is_unique_is_so_for_each_organization_alone(mine: Tenant, strangers: Tenant) -> None:
    """Else a refusal would tell which ids others have."""
    client, before = mine.clients["live"], dump(of=strangers)
    taken = {"email": "me@example.com", "external_id": strangers.user.external_id}
    assert client.post(USERS, taken).status_code == 201
    assert_problem(client.post(USERS, taken), 400, "external_id", "unique")
    other = {"external_id": "another"}
    assert client.patch(f"{USERS}{mine.user.pk}/", other).status_code == 200
    assert strangers.clients["live"].patch(f"{USERS}{strangers.user.pk}/", other).status_code == 200
    strangers.user.refresh_from_db()
    before["Recipient"][0]["external_id"], before["Recipient"][0]["updated_at"] = "another", strangers.user.updated_at
    assert dump(of=strangers) == before


def test_an_idempotency_key_is_each_organizations_own(mine: Tenant, strangers: Tenant) -> None:
    body = {"to": {"email": "user@example.com"}, **HELLO, "reference": f"{CANARY}-reference"}
    headers = {"Idempotency-Key": "theirs and mine"}
    first = strangers.clients["live"].post(NOTIFICATIONS, body, headers=headers)
    before = dump(of=strangers)
    second = mine.clients["live"].post(NOTIFICATIONS, body, headers=headers)
    other = mine.clients["live"].post(NOTIFICATIONS, {**body, "subject": "another"}, headers=headers)
    assert (first.status_code, second.status_code, other.status_code) == (202, 202, 422)
    assert "Idempotent-Replayed" not in second.headers
    assert first.json()["id"] != second.json()["id"]
    replayed = mine.clients["live"].post(NOTIFICATIONS, {**body}, headers=headers)
    assert (replayed.json()["id"], replayed.headers["Idempotent-Replayed"]) == (second.json()["id"], "true")
    assert dump(of=strangers) == before


def test_a_reference_finds_ones_own_alone(mine: Tenant, strangers: Tenant) -> None:
    body = {"to": {"email": "user@example.com"}, **HELLO, "reference": f"{CANARY}-reference"}
    made = mine.clients["live"].post(NOTIFICATIONS, body).json()["id"]
    found = mine.clients["live"].get(NOTIFICATIONS, {"reference": body["reference"]}).json()["results"]
    assert [row["id"] for row in found] == [made]


@pytest.mark.parametrize("field", ["organization", "organization_id", "recipient", "recipient_id"])
def test_nobody_puts_a_row_into_another_organization(field: str, mine: Tenant, strangers: Tenant) -> None:
    client, before = mine.clients["live"], dump()
    for value in (strangers.organization.pk, strangers.organization.slug, strangers.user.pk):
        body = {**HELLO, "to": {"email": "user@example.com"}, field: value}
        assert_problem(client.post(NOTIFICATIONS, body), 400, field, "unknown_field")
        assert_problem(client.post(USERS, {"email": "user@example.com", field: value}), 400, field, "unknown_field")
        assert_problem(client.patch(f"{USERS}{mine.user.pk}/", {field: value}), 400, field, "unknown_field")
    assert dump() == before


# --- What one does to one's own --------------------------------------------------------------------------------------
def test_a_file_changes_ones_own_deadlines_alone(mine: Tenant, strangers: Tenant) -> None:
    """A line finds its row by the person's name, which another organization may know as well."""
    before = dump(of=strangers)
    lines = f"person,note\n{strangers.deadline.person},mine now\n"
    response = mine.clients["live"].generic("POST", "/api/deadlines/import/", lines, "text/csv")
    assert (response.status_code, response.json()["created"]) == (200, 1)
    assert dump(of=strangers) == before


def test_what_one_does_at_home_changes_nothing_next_door(mine: Tenant, strangers: Tenant) -> None:
    before, client = dump(of=strangers), mine.clients["live"]
    shown = client.get("/api/organizations/me/").json()
    rotated = client.post("/api/organizations/me/rotate-webhook-secret/").json()
    assert shown["slug"] == rotated["slug"] == "mine"
    assert shown["webhook_secret"] != rotated["webhook_secret"]
    for verb, status in (("cancel", Status.QUEUED), ("retry", Status.FAILED), ("acknowledge", Status.SENT)):
        response = client.post(f"{NOTIFICATIONS}{mine.notifications[status].pk}/{verb}/", {})
        assert response.status_code in {200, 202}
    assert client.delete(f"{USERS}{mine.user.pk}/").status_code == 204
    assert dump(of=strangers) == before
    theirs = strangers.clients["live"].get("/api/organizations/me/").json()
    assert theirs["webhook_secret"] not in {shown["webhook_secret"], rotated["webhook_secret"]}
