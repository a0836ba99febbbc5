"""Two requests at the same moment, about the same person."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from notifier.inputs import NotificationInput, RecipientInput
from notifier.models import Notification, Recipient
from tests.api.checks import assert_problem
from tests.conftest import default_organization
from tests.servers.base import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def person(transactional_db: None) -> Recipient:
    """A user whom other connections see too."""
    return Recipient.objects.create(organization=default_organization(), email="user@example.com", name="Ada")


def in_thread(call: Callable[[], Any]) -> Any:
    """The answer of a request with a database connection of its own."""
    try:
        return call()
    finally:
        connection.close()


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(cursor.fetchone()[0])


@pytest.fixture
def slow_patch(person: Recipient, monkeypatch: pytest.MonkeyPatch) -> tuple[Event, Event]:
    """Changes of a name stop in their middle: the first event says that one is there, the second lets it go on."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    reached, go_on = Event(), Event()
    plain = RecipientInput.validate

    def validate(self: RecipientInput, attrs: dict[str, Any]) -> dict[str, Any]:
        if "name" in attrs:
            reached.set()
            assert go_on.wait(60)
        return plain(self, attrs)

    monkeypatch.setattr(RecipientInput, "validate", validate)
    return reached, go_on


@pytest.mark.parametrize("method", ["delete", "patch"])
def test_a_change_neither_brings_back_the_erased_nor_undoes_another(
    person: Recipient, slow_patch: tuple[Event, Event], method: str
) -> None:
    reached, go_on = slow_patch
    url = f"/api/users/{person.pk}/"
    with ThreadPoolExecutor(2) as pool:
        change = pool.submit(in_thread, lambda: APIClient().patch(url, {"name": "Grace"}))
        assert reached.wait(30)
        other = pool.submit(in_thread, lambda: getattr(APIClient(), method)(url, {"email": "grace@example.com"}))
        wait_until(lambda: other.done() or somebody_waits_for_a_lock(), 30, "the other one ends or waits")
        go_on.set()
        assert change.result().status_code == 200
        assert other.result().status_code in {200, 204}
    left = [(one.name, one.email) for one in Recipient.objects.all()]
    assert left == ([] if method == "delete" else [("Grace", "grace@example.com")])


@pytest.mark.parametrize("bulk", [False, True])
def test_a_person_erased_in_the_middle_is_not_there(
    person: Recipient, monkeypatch: pytest.MonkeyPatch, *, bulk: bool
) -> None:
    plain = NotificationInput.read

    def row(self: NotificationInput, *arguments: Any, **options: Any) -> Any:
        made = plain(self, *arguments, **options)
        Recipient.objects.all().delete()
        return made

    monkeypatch.setattr(NotificationInput, "read", row)
    body = {"user_id": person.pk, "message": "Hello"}
    url, whole = ("bulk/", {"notifications": [body]}) if bulk else ("", body)
    response = APIClient().post(f"/api/notifications/{url}", whole)
    assert_problem(response, 400, "notifications.0.user_id" if bulk else "user_id", "does_not_exist")
    assert not Notification.objects.exists()
