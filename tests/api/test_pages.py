"""Cursor pages, the same for users and notifications."""

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from api.pagination import NewestFirst
from notifier.models import Notification, Organization, Recipient
from tests.api.checks import assert_problem, stored

Add = Callable[[int], None]
LISTS = ["/api/users/", "/api/notifications/"]


@pytest.fixture
def add(organization: Organization, url: str) -> Add:
    """Adds so many rows to the list at `url`."""

    def rows(number: int) -> None:
        if "users" in url:
            Recipient.objects.bulk_create(
                Recipient(organization=organization, email="user@example.com") for _ in range(number)
            )
            return
        first = stored(organization)
        copies = [Notification.objects.get(pk=first.pk) for _ in range(number - 1)]
        for copy in copies:
            copy.pk = None
        Notification.objects.bulk_create(copies)

    return rows


def ids(page: dict[str, Any]) -> list[int]:
    return [row["id"] for row in page["results"]]


@pytest.mark.parametrize("url", LISTS)
def test_pages_are_newest_first_and_lead_there_and_back(api: APIClient, add: Add, url: str) -> None:
    add(45)
    first = api.get(url).json()
    assert set(first) == {"next", "previous", "results"}
    assert first["previous"] is None
    second = api.get(first["next"]).json()
    third = api.get(second["next"]).json()
    assert [len(page["results"]) for page in (first, second, third)] == [20, 20, 5]
    assert third["next"] is None
    seen = ids(first) + ids(second) + ids(third)
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 45
    assert ids(api.get(third["previous"]).json()) == ids(second)


@pytest.mark.parametrize("url", LISTS)
def test_pages_stay_as_they_are_while_rows_are_added(api: APIClient, add: Add, url: str) -> None:
    add(30)
    first = api.get(url).json()
    add(7)
    second = api.get(first["next"]).json()
    assert len(set(ids(first) + ids(second))) == 30


@pytest.mark.parametrize("url", LISTS)
@pytest.mark.parametrize(("asked", "given"), [("1", 1), ("100", 100), ("1000", 100)])
def test_page_size_is_the_clients_up_to_100(api: APIClient, add: Add, url: str, asked: str, given: int) -> None:
    add(101)
    page = api.get(url, {"page_size": asked}).json()
    assert len(page["results"]) == given
    assert f"page_size={asked}" in page["next"]


@pytest.mark.parametrize("url", LISTS)
def test_an_empty_list_is_an_empty_page(api: APIClient, organization: Organization, url: str) -> None:
    assert api.get(url).json() == {"next": None, "previous": None, "results": []}


@pytest.mark.parametrize("url", LISTS)
def test_a_page_costs_the_same_at_any_depth(api: APIClient, add: Add, url: str) -> None:
    """No OFFSET, no COUNT: they would read everything before the page."""
    add(120)
    page = api.get(url).json()
    costs = []
    while page["next"]:
        with CaptureQueriesContext(connection) as captured:
            page = api.get(page["next"]).json()
        costs.append(len(captured))
        assert not any("OFFSET" in query["sql"] or "COUNT(" in query["sql"] for query in captured)
    assert len(costs) == 5
    assert len(set(costs)) == 1


@pytest.mark.parametrize("url", LISTS)
@pytest.mark.parametrize(
    "cursor",
    [
        "garbage",
        "%00",
        "é",
        "=" * 50,
        "a" * 5000,
        *(
            base64.b64encode(urlencode(tokens).encode()).decode()
            for tokens in (
                {"p": "nobody"},
                {"p": "\x00"},
                {"p": "1e5"},
                {"p": "٣"},
                {"p": ""},
                {"p": "1.5"},
                {"o": "-1"},
                {"o": "x", "p": "1"},
                {"o": "9" * 30, "p": "5"},
            )
        ),
    ],
)
def test_a_cursor_that_was_never_given_is_no_bug(
    api: APIClient, organization: Organization, url: str, cursor: str
) -> None:
    response = api.get(url, {"cursor": cursor})
    if response.status_code != 200:
        assert_problem(response, 404)


@pytest.mark.parametrize("url", LISTS)
@pytest.mark.parametrize("position", ["9" * 18, "0"])
def test_a_cursor_beyond_all_rows_is_a_page_too(api: APIClient, add: Add, url: str, position: str) -> None:
    add(1)
    cursor = base64.b64encode(urlencode({"p": position}).encode()).decode()
    assert api.get(url, {"cursor": cursor}).status_code == 200


@pytest.mark.parametrize("url", LISTS)
@pytest.mark.parametrize("size", ["0", "-1", "x", "", "1e3", "9" * 40, "\x00", "٣"])
def test_a_senseless_page_size_gives_the_usual_page(api: APIClient, add: Add, url: str, size: str) -> None:
    add(25)
    response = api.get(url, {"page_size": size})
    assert response.status_code == 200
    assert len(response.json()["results"]) in {3, 20, 25}


@pytest.fixture
def mixed(organization: Organization, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """30 rows, two of them by SMS too, whose ids are given, newest first. A page looks at 7 rows."""
    monkeypatch.setattr(NewestFirst, "LOOK", 7)
    first = stored(organization, channels=["email"])
    copies = [Notification.objects.get(pk=first.pk) for _ in range(29)]
    for number, copy in enumerate(copies, 1):
        copy.pk = None
        if number % 10 == 0:
            copy.steps = [{"channel": "email"}, {"channel": "sms"}]
    Notification.objects.bulk_create(copies)
    return list(Notification.objects.order_by("-pk").values_list("pk", flat=True))[9::10][:2]


def walked(api: APIClient, url: str, way: str, **asked: Any) -> tuple[list[dict[str, Any]], str]:
    """All pages from there on, and the last one's other link."""
    pages = [api.get(url, asked).json()]
    while pages[-1][way]:
        pages.append(api.get(pages[-1][way]).json())
        assert len(pages) < 50
    return pages, pages[-1]["previous" if way == "next" else "next"]


@pytest.mark.parametrize("size", [1, 2, 20])
def test_pages_of_a_rare_channel_lead_through_all_rows_and_back(api: APIClient, mixed: list[int], size: int) -> None:
    pages, back = walked(api, "/api/notifications/", "next", channel="sms", page_size=size)
    assert [pk for page in pages for pk in ids(page)] == mixed
    assert all("channel=sms" in page["next"] for page in pages[:-1])
    returned, _ = walked(api, back, "previous")
    others = [pk for page in returned for pk in reversed(ids(page))]
    assert others == [pk for pk in reversed(mixed) if pk not in ids(pages[-1])]


def test_pages_of_a_common_channel_are_full(api: APIClient, mixed: list[int]) -> None:
    pages, _ = walked(api, "/api/notifications/", "next", channel="email", page_size=5)
    assert [len(ids(page)) for page in pages[:6]] == [5] * 6
    assert len({pk for page in pages for pk in ids(page)}) == 30


def test_a_channel_and_a_person_are_wanted_together(api: APIClient, mixed: list[int], user: Recipient) -> None:
    Notification.objects.filter(pk=mixed[1]).update(recipient=user, to=None)
    pages, _ = walked(api, "/api/notifications/", "next", channel="sms", user_id=user.pk)
    assert [pk for page in pages for pk in ids(page)] == [mixed[1]]
