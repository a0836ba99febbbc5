"""`/api/events/` and its like: who may open a stream, how many, and what it begins with."""

import json
from typing import Any

import pytest
from django.db import transaction
from django.db.models.functions import Now
from pytest_django.fixtures import Settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.test import APIClient

from notifier import api_keys, events, ledger, receipts, streams
from notifier.callers import Caller
from notifier.models import Event, Organization, Recipient
from notifier.states import Status
from tests.api.checks import assert_problem
from tests.notifier.rows import event, in_state, stored

ALL, ONE = "/api/events/", "/api/notifications/{}/events/"


def blocks(body: bytes) -> list[dict[str, str]]:
    """The events of a `text/event-stream`, each as a browser reads its fields."""
    found = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in fields:
            found.append(fields)
    return found


# --- How they are asked for ------------------------------------------------------------------------------------------
def opened(api: APIClient, path: str, **headers: str) -> list[dict[str, str]]:
    """What a server that keeps no stream open answers."""
    answer = api.get(path, headers={"Accept": "text/event-stream", **headers})
    assert answer.status_code == 200, answer
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache, no-transform"
    assert answer.headers["X-Accel-Buffering"] == "no"
    return blocks(answer.getvalue())


@pytest.mark.django_db(transaction=True)
def test_a_notifications_stream_begins_with_its_present_state(api: APIClient, organization: Organization) -> None:
    row = stored(message="One\u2028Two\u0085Three\u2029Four", **in_state(Status.SENT))
    (first,) = opened(api, ONE.format(row.pk))
    assert len(first["data"].splitlines()) == 1, "as some readers split lines"
    data = json.loads(first["data"])
    assert (first["event"], data["type"]) == ("notification.sent", "notification.sent")
    assert data["data"] == api.get(f"/api/notifications/{row.pk}/").json()
    assert opened(api, ONE.format(row.pk), **{"Last-Event-ID": first["id"]}) == []
    receipts.acknowledge(row)
    (then,) = opened(api, ONE.format(row.pk), **{"Last-Event-ID": first["id"]})
    assert then["event"] == "notification.acknowledged"
    assert int(then["id"]) > int(first["id"])


@pytest.mark.django_db(transaction=True)
def test_an_organizations_stream_goes_on_where_it_was(
    api: APIClient, organization: Organization, strangers: Recipient
) -> None:
    row = stored(**in_state(Status.WAITING))
    before = events.position()
    assert opened(api, ALL) == []
    theirs = stored(organization=strangers.organization, **in_state(Status.WAITING))
    ledger.cancel(row)
    ledger.cancel(theirs)
    (told,) = opened(api, f"{ALL}?last_event_id={before}")
    shown = json.loads(told["data"])
    assert (told["event"], shown["data"]["id"], shown["data"]["status"]) == (
        "notification.cancelled", row.pk, "cancelled",
    )  # fmt: skip
    assert shown["data"] == api.get("/api/notifications/").json()["results"][0]
    # A browser repeats the address that it began with; what it heard since stands in the header.
    assert opened(api, f"{ALL}?last_event_id={before}", **{"Last-Event-ID": told["id"]}) == []


@pytest.mark.django_db(transaction=True)
def test_an_event_of_the_future_is_another_databases(api: APIClient, organization: Organization) -> None:
    row = stored(**in_state(Status.WAITING))
    ledger.cancel(row)
    assert opened(api, f"{ALL}?last_event_id={2**62}") == []
    assert len(opened(api, f"{ONE.format(row.pk)}?last_event_id={2**62}")) == 1


@pytest.mark.django_db(transaction=True)
def test_what_is_gone_is_not_told(api: APIClient, organization: Organization) -> None:
    before = events.position()
    Event.objects.create(organization_id=organization.pk, notification_id=2**40, status="sent")
    row = stored(**in_state(Status.SENT))
    event(row)
    assert [json.loads(one["data"])["data"]["id"] for one in opened(api, f"{ALL}?last_event_id={before}")] == [row.pk]


@pytest.mark.django_db
@pytest.mark.parametrize("last", ["-1", "1.5", "abc", "1 2", "\u0661", "9" * 20, "1\x00"])
def test_what_is_no_events_number_is_refused(api: APIClient, organization: Organization, last: str) -> None:
    assert_problem(api.get(ALL, {"last_event_id": last}), 400, "last_event_id", "invalid")


@pytest.mark.django_db
def test_a_head_opens_nothing(api: APIClient, organization: Organization) -> None:
    answer = api.head(ALL)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert not streams._places._taken


@pytest.mark.django_db(transaction=True)
def test_streams_are_limited(api: APIClient, strangers: Recipient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_OF_AN_ORGANIZATION", 2)
    monkeypatch.setattr(streams, "MOST", 3)
    theirs = api_keys.make(strangers.organization).secret
    held = [api.get(ALL) for _ in range(2)]
    refused = api.get(ALL, headers={"Accept": "text/event-stream"})
    assert_problem(refused, 429)
    assert int(refused.headers["Retry-After"]) > 0
    held.append(api.get(ALL, headers={"Authorization": f"Bearer {theirs}"}))
    full = api.get(ALL, headers={"Authorization": f"Bearer {theirs}"})
    assert_problem(full, 503)
    assert int(full.headers["Retry-After"]) > 0
    for one in held:
        one.close()
    assert not streams._places._taken
    assert opened(api, ALL) == []


class Tokens(BaseAuthentication):
    """Takes the token `good`, once."""

    spent = False

    def authenticate(self, request: Any) -> tuple[Caller, None]:
        if request.GET.get("token") != "good" or Tokens.spent:
            raise AuthenticationFailed
        Tokens.spent = True
        return Caller(Organization.objects.get(slug="default")), None

    def authenticate_header(self, request: Any) -> str:
        return "Bearer"


@pytest.fixture
def tokens(settings: Settings) -> None:
    """A service that knows the one token."""
    settings.STREAM_AUTHENTICATION = f"{__name__}.Tokens"
    settings.PUBLIC_URL = "https://notifier.example.com:443/"
    Tokens.spent = False


@pytest.mark.django_db
@pytest.mark.parametrize("token", ["", "bad", "key"])
def test_with_a_token_in_the_address_nothing_else_counts(
    api: APIClient, organization: Organization, tokens: None, token: str
) -> None:
    key = api_keys.make(organization).secret
    answer = api.get(ALL, {"token": key if token == "key" else token}, headers={"Authorization": f"Bearer {key}"})
    assert_problem(answer, 401)
    assert "WWW-Authenticate" in answer.headers


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://testserver", 200),
        ("https://notifier.example.com", 200),
        ("http://notifier.example.com", 403),
        ("https://testserver", 403),
        ("http://testserver:8001", 403),
        ("http://testserver.evil.example.com", 403),
        ("https://evil.example.com", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_a_foreign_page_cannot_use_a_token(
    api: APIClient, organization: Organization, tokens: None, origin: str | None, status: int
) -> None:
    headers = {} if origin is None else {"Origin": origin}
    answer = api.get(ALL, {"token": "good"}, headers=headers)
    assert answer.status_code == status
    assert Tokens.spent == (status == 200)  # what is refused is spent by nobody
    answer.close()
    if status == 200:
        assert_problem(api.get(ALL, {"token": "good"}, headers=headers), 401)


@pytest.mark.django_db
def test_a_caller_is_asked_again_whether_his_key_still_opens_streams(organization: Organization) -> None:
    key = api_keys.make(organization, scopes=("read",))
    assert api_keys.may_still_read(key.row.pk)
    for taken_away in ({"revoked_at": Now()}, {"expires_at": Now()}, {"may_read": False}):
        with transaction.atomic():
            type(key.row).objects.filter(pk=key.row.pk).update(**taken_away)
            assert not api_keys.may_still_read(key.row.pk)
            transaction.set_rollback(True)
