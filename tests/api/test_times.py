"""`send_at` and `expires_at`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from tests.api.checks import assert_problem, moment

URL = "/api/notifications/"
HELLO: dict[str, Any] = {"to": {"email": "user@example.com"}, "message": "Hello"}
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def from_now(span: timedelta) -> str:
    return (timezone.now() + span).isoformat()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("send_at", "expires_at"),
    [
        (HOUR, None),
        (90 * DAY - HOUR, None),
        (-HOUR, None),  # late is now
        (None, HOUR),
        (None, 10_000 * DAY),
        (HOUR, HOUR + timedelta(seconds=1)),
        (-DAY, HOUR),
    ],
)
def test_times_that_fit(api: APIClient, send_at: timedelta | None, expires_at: timedelta | None) -> None:
    given = {"send_at": send_at, "expires_at": expires_at}
    body = {**HELLO, **{name: from_now(span) if span else None for name, span in given.items()}}
    response = api.post(URL, body)
    assert response.status_code == 202
    shown = response.json()
    for name, span in given.items():
        if span:
            assert moment(shown[name]) == datetime.fromisoformat(body[name])
    assert shown["due_at"] == (shown["send_at"] or shown["created_at"])


@pytest.mark.django_db
def test_the_lifetime_begins_when_it_is_sent(api: APIClient, settings: Settings) -> None:
    settings.NOTIFICATION_TTL = timedelta(hours=2)
    body = api.post(URL, {**HELLO, "send_at": from_now(DAY)}).json()
    assert moment(body["expires_at"]) - moment(body["send_at"]) == timedelta(hours=2)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("send_at", "expires_at", "attr"),
    [
        (90 * DAY + HOUR, None, "send_at"),
        (None, -HOUR, "expires_at"),
        (None, timedelta(0), "expires_at"),
        (HOUR, HOUR, "expires_at"),
        (2 * HOUR, HOUR, "expires_at"),
        (-2 * HOUR, -HOUR, "expires_at"),
    ],
)
def test_times_that_do_not_fit(
    api: APIClient, nothing_stored: None, send_at: timedelta | None, expires_at: timedelta | None, attr: str
) -> None:
    now = timezone.now()
    given = {"send_at": send_at, "expires_at": expires_at}
    body = {**HELLO, **{name: (now + span).isoformat() for name, span in given.items() if span is not None}}
    assert_problem(api.post(URL, body), 400, attr)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "value",
    [
        "2099-11-20T12:00:00",  # no zone
        "2099-11-20",
        "2099-11-20T12:00:00Zjunk",
        "2099-11-20 12:00:00Z",
        "2099-02-30T12:00:00Z",
        "2099-11-20T25:00:00Z",
        "2099-11-20T12:60:00Z",
        "2099-11-20T12:00:00+25:00",
        "2099-11-20T12:00:00 Europe/Berlin",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",  # before the first moment there is
        "9999-12-31T23:59:59-12:00",  # after the last
        "10000-01-01T00:00:00Z",
        "２０９９-11-20T12:00:00Z",
        "tomorrow",
        "now",
        "",
        " ",
        "\n",
        4092206400,
        4092206400.5,
        True,
        [],
        {},
        ["2099-11-20T12:00:00Z"],
    ],
)
@pytest.mark.parametrize("field", ["send_at", "expires_at"])
def test_what_is_no_moment(api: APIClient, nothing_stored: None, field: str, value: Any) -> None:
    assert_problem(api.post(URL, {**HELLO, field: value}), 400, field)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("2099-11-20T12:00:00+05:30", "2099-11-20T06:30:00Z"),
        ("2099-11-20T12:00:00.123456Z", "2099-11-20T12:00:00.123456Z"),
    ],
)
def test_moments_come_back_in_utc(api: APIClient, given: str, kept: str) -> None:
    response = api.post(URL, {**HELLO, "expires_at": given})
    assert response.status_code == 202
    assert response.json()["expires_at"] == kept
    assert api.get(response.headers["Location"]).json()["expires_at"] == kept


@pytest.mark.django_db
def test_the_oldest_moment_is_a_moment(api: APIClient) -> None:
    response = api.post(URL, {**HELLO, "send_at": "0001-01-01T00:00:00Z"})
    assert response.status_code == 202
    assert moment(api.get(response.headers["Location"]).json()["send_at"]) == datetime.min.replace(tzinfo=UTC)
