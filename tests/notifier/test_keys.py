"""Keys that begin with the time."""

import time
from collections.abc import Callable
from uuid import RFC_4122, UUID

import pytest
from django.db import connection
from rest_framework.test import APIClient

from notifier.keys import NEW_KEY, uuid7
from notifier.models import Notification


def of_postgres() -> UUID:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {NEW_KEY}")
        found: UUID = cursor.fetchone()[0]
    return found


@pytest.mark.django_db
@pytest.mark.parametrize(
    "made",
    [
        uuid7,
        pytest.param(
            of_postgres, marks=pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's words")
        ),
    ],
)
def test_it_is_of_version_7_and_says_when_it_was_made(made: Callable[[], UUID]) -> None:
    now = time.time() * 1000
    keys = [made() for _ in range(200)]
    assert {(key.version, key.variant) for key in keys} == {(7, RFC_4122)}
    assert len(set(keys)) == 200
    assert all(abs((key.int >> 80) - now) < 60_000 for key in keys)
    for bit in (0, 61, 64, 75):  # both ends of what is random, on either side of the variant
        assert len({key.int >> bit & 1 for key in keys}) == 2


@pytest.mark.django_db
def test_every_notification_has_one(api: APIClient) -> None:
    hello = {"to": {"email": "ann@example.com"}, "message": "Hello"}
    assert api.post("/api/notifications/", hello).status_code == 202
    assert api.post("/api/notifications/bulk/", {"notifications": [hello] * 20}).status_code == 202
    assert (
        api.post("/api/notifications/bulk/", {"notifications": [{**hello, "message": "a"}, hello]}).status_code == 202
    )
    keys = list(Notification.objects.order_by("id").values_list("key", flat=True))
    assert (len(set(keys)), {key.version for key in keys}) == (23, {7})
    assert [key.int >> 80 for key in keys] == sorted(key.int >> 80 for key in keys)
