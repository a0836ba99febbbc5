"""`POST /api/notifications/bulk/`: all or nothing."""

import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from notifier.models import Notification, Organization, Recipient
from tests.api.checks import assert_problem

URL = "/api/notifications/bulk/"
HELLO: dict[str, Any] = {"to": {"email": "user@example.com"}, "message": "Hello"}


@pytest.fixture
def people(organization: Organization) -> list[int]:
    """The ids of three users."""
    return [Recipient.objects.create(organization=organization, email=f"{n}@example.com").pk for n in "abc"]


def test_each_its_own(api: APIClient, people: list[int]) -> None:
    bodies: list[dict[str, Any]] = [{"user_id": pk, "message": f"Hello {pk}"} for pk in people]
    bodies.append({**HELLO, "priority": "low", "attachments": [_file("a")]})
    bodies.append({**HELLO, "attachments": [_file("b"), _file("c")]})
    response = api.post(URL, {"notifications": bodies})
    assert response.status_code == 202
    body = response.json()
    assert set(body) == {"count", "ids"}
    assert body["count"] == 5
    rows = [Notification.objects.get(pk=pk) for pk in body["ids"]]
    assert [(row.recipient_id, row.message) for row in rows[:3]] == [(pk, f"Hello {pk}") for pk in people]
    assert [[file.filename for file in row.attachments.all()] for row in rows[3:]] == [["a"], ["b", "c"]]


def _file(name: str) -> dict[str, str]:
    return {"filename": name, "content_type": "text/plain", "content": "YQ=="}


def test_one_content_for_many(api: APIClient, people: list[int]) -> None:
    content = {"message": "We are closed", "subject": "Monday", "channels": ["email"], "metadata": {"a": 1}}
    response = api.post(URL, {**content, "user_ids": people})
    assert response.status_code == 202
    assert response.json()["count"] == 3
    shown = [api.get(f"/api/notifications/{pk}/").json() for pk in response.json()["ids"]]
    assert [row["user_id"] for row in shown] == people
    assert {(row["message"], row["subject"], row["metadata"]["a"]) for row in shown} == {("We are closed", "Monday", 1)}


def test_an_own_account_goes_with_each(api: APIClient, people: list[int]) -> None:
    account = {"smtp_user": "me@example.com", "smtp_password": "secret", "message": "Hello"}
    assert api.post(URL, {**account, "user_ids": people}).status_code == 202
    assert Notification.objects.filter(own_account=True, credentials__isnull=False).count() == 3


@pytest.mark.parametrize(
    ("change", "attr", "code"),
    [
        ({"user_id": 10**9, "to": None}, "notifications.1.user_id", "does_not_exist"),
        ({"message": ""}, "notifications.1.message", "blank"),
        ({"mesage": "x"}, "notifications.1.mesage", "unknown_field"),
        ({"to": {"email": "nobody"}}, "notifications.1.to.email", "email"),
        ({"to": {}}, "notifications.1.to", "address_required"),
        ({"channels": ["email", "pigeon"]}, "notifications.1.channels.1.channel", "unknown_channel"),
        ({"attachments": [_file("a"), {}]}, "notifications.1.attachments.1.content", "required"),
        ({"smtp_user": "me"}, "notifications.1.smtp_password", "required"),
    ],
)
def test_an_error_names_its_index_and_nothing_is_stored(
    api: APIClient, people: list[int], nothing_stored: None, change: dict[str, Any], attr: str, code: str
) -> None:
    wrong = {name: value for name, value in {**HELLO, **change}.items() if value is not None}
    assert_problem(api.post(URL, {"notifications": [HELLO, wrong, HELLO]}), 400, attr, code)


@pytest.mark.parametrize("entry", [None, 5, "x", [], True, [HELLO]])
def test_an_entry_that_is_no_object(
    api: APIClient, organization: Organization, nothing_stored: None, entry: Any
) -> None:
    assert_problem(api.post(URL, {"notifications": [HELLO, entry]}), 400, "notifications.1")


def test_every_wrong_entry_is_named(api: APIClient, organization: Organization, nothing_stored: None) -> None:
    response = api.post(URL, {"notifications": [{**HELLO, "message": 1}, HELLO, {**HELLO, "subject": "\n"}]})
    assert {error["attr"] for error in response.json()["errors"]} == {
        "notifications.0.message",
        "notifications.2.subject",
    }


@pytest.mark.parametrize(
    "wrong", [10**9, -1, 0, 2**63, 10**50, "1000000000", True, None, 1.0, [], [1], {}, {"id": 1}, "\ud7ff", 1e300]
)
def test_a_user_who_is_not_there_stops_all(api: APIClient, people: list[int], nothing_stored: None, wrong: Any) -> None:
    for body in (
        {"user_ids": [*people, wrong], "message": "Hello"},
        {"notifications": [*({"user_id": pk, "message": "Hello"} for pk in (*people, wrong))]},
    ):
        response = api.post(URL, body)
        assert_problem(response, 400)
        assert all(".3." in f"{error['attr']}." for error in response.json()["errors"])


def test_another_organizations_user_stops_all(
    api: APIClient, people: list[int], strangers: Recipient, nothing_stored: None
) -> None:
    body = {"user_ids": [*people, strangers.pk], "message": "Hello"}
    assert_problem(api.post(URL, body), 400, "notifications.3.user_id", "does_not_exist")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"notifications": []},
        {"user_ids": [], "message": "Hello"},
        {"notifications": {}},
        {"notifications": "x"},
        {"notifications": None},
        {"notifications": {"0": HELLO}},
        {"user_ids": 1, "message": "Hello"},
        {"user_ids": {"1": 1}, "message": "Hello"},
        {"user_ids": [1]},
        {"user_ids": [1], "message": "Hello", "to": {"email": "user@example.com"}},
        {"user_ids": [1], "message": "Hello", "user_id": 1},
        {"user_ids": [1, 1], "message": "Hello"},
        {"user_ids": [1], "notifications": [HELLO]},
        {"notifications": [HELLO], "message": "Hello"},
        {"notifications": [HELLO], "priority": "high"},
        {"notifications": [HELLO], "notificatons": []},
        {"notifications": [{"notifications": [HELLO]}]},
        HELLO,
        [HELLO],
        [],
        "x",
        5,
        None,
        True,
    ],
)
def test_what_is_no_bulk(api: APIClient, organization: Organization, nothing_stored: None, body: Any) -> None:
    if isinstance(body, dict) and "user_ids" in body and body["user_ids"] in ([1], [1, 1]):
        person = Recipient.objects.create(organization=organization, email="user@example.com")
        body = {**body, "user_ids": [person.pk for _ in body["user_ids"]]}
        person.delete()
    assert_problem(api.post(URL, body), 400)


def test_user_id_beside_user_ids_is_a_mistake(api: APIClient, people: list[int], nothing_stored: None) -> None:
    body = {"user_ids": people, "user_id": people[0], "message": "Hello"}
    refused = api.post(URL, body)
    assert_problem(refused, 400, "user_id", "unknown_field")
    assert len(refused.json()["errors"]) == 1, "the message is no mistake"


@pytest.mark.parametrize("verb", ["get", "put", "patch", "delete"])
def test_a_bulk_is_only_posted(api: APIClient, organization: Organization, verb: str) -> None:
    assert_problem(getattr(api, verb)(URL), 405, None, "method_not_allowed")


# --- Size ------------------------------------------------------------------------------------------------------------
def _in_bulk(organization: Organization, number: int) -> list[int]:
    people = [Recipient(organization=organization, email=f"{n}@example.com") for n in range(number)]
    return [person.pk for person in Recipient.objects.bulk_create(people)]


def test_the_queries_do_not_grow_with_the_bulk(api: APIClient, organization: Organization) -> None:
    def queries(number: int) -> int:
        ids = _in_bulk(organization, number)
        with CaptureQueriesContext(connection) as captured:
            assert api.post(URL, {"user_ids": ids, "message": "Hello"}).status_code == 202
        return len(captured)

    few = queries(2)
    # SQLite takes fewer values in one statement.
    assert queries(300 if connection.vendor == "postgresql" else 20) == few <= 6


def test_ten_thousand_go_in_at_once_and_quickly(api: APIClient, organization: Organization) -> None:
    ids = _in_bulk(organization, 10_000)
    began = time.thread_time()
    response = api.post(URL, {"user_ids": ids, "message": "Hello"})
    assert response.status_code == 202
    assert response.json()["count"] == len(set(response.json()["ids"])) == 10_000
    assert time.thread_time() - began < 10
    with_one_more = api.post(URL, {"user_ids": [*ids, ids[0] + 10**6], "message": "Hello"})
    assert_problem(with_one_more, 400, "user_ids", "too_many")
    assert Notification.objects.count() == 10_000


def test_ten_thousand_and_one_objects_are_too_many(
    api: APIClient, organization: Organization, nothing_stored: None
) -> None:
    assert_problem(api.post(URL, {"notifications": [HELLO] * 10_001}), 400, "notifications", "too_many")


def test_a_file_is_not_copied_without_end(api: APIClient, organization: Organization) -> None:
    users = Recipient.objects.bulk_create(
        Recipient(organization=organization, email=f"{number}@example.com") for number in range(120)
    )
    file = {"filename": "a.bin", "content_type": "application/octet-stream", "content": "A" * 1_400_000}
    body = {"user_ids": [user.pk for user in users], "message": "Hello", "attachments": [file]}
    assert_problem(api.post(URL, body), 400, "attachments", "too_large")
    assert Notification.objects.count() == 0
