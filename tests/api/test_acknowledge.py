"""`POST /api/notifications/{id}/acknowledge/`: the person confirmed, and the chain stops for good."""

import pytest
from rest_framework.test import APIClient

from notifier import delivery
from notifier.models import Notification, Organization, Recipient
from notifier.states import Status
from tests.api.checks import NOTIFICATION_FIELDS, assert_problem, stored
from tests.api.test_verbs import STATUSES, in_status
from tests.conftest import FakeRegistry

URL = "/api/notifications/"


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "sending"])
def test_all_but_what_was_cancelled_or_expired_can_be_acknowledged(
    api: APIClient, organization: Organization, status: str
) -> None:
    row = in_status(stored(organization), status)
    for _ in range(2):  # once more is fine
        response = api.post(f"{URL}{row.pk}/acknowledge/")
        if status in {"cancelled", "expired"}:
            assert_problem(response, 409, None, "conflict")
        else:
            assert response.status_code == 200
            body = response.json()
            assert set(body) == NOTIFICATION_FIELDS | {"attempts"}
            assert (body["status"], body["failure_code"], body["due_at"]) == ("acknowledged", None, None)
            assert body["finished_at"]
    row.refresh_from_db()
    assert row.status == (status if status in {"cancelled", "expired"} else "acknowledged")


def test_while_it_is_sent_it_is_noted_and_counts_afterwards(
    api: APIClient, organization: Organization, fakes: FakeRegistry
) -> None:
    row = stored(organization)
    statuses = []
    plain = fakes["email"].send

    def send(*args: object) -> object:
        # As if the person answered faster than the server; the pool's thread leaves the database to this one.
        Notification.objects.filter(pk=row.pk)
        return plain(*args)  # type: ignore[arg-type]

    fakes["email"].send = send  # type: ignore[method-assign,assignment]
    in_status(row, "sending")
    for _ in range(2):
        response = api.post(f"{URL}{row.pk}/acknowledge/")
        assert response.status_code == 200
        statuses.append(response.json()["status"])
    assert statuses == ["sending", "sending"]
    Notification.objects.filter(pk=row.pk).update(lease_until=row.created_at)
    delivery.deliver_due()
    assert api.get(f"{URL}{row.pk}/").json()["status"] == "acknowledged"
    assert not any(fake.sent for fake in fakes.values())


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_what_is_acknowledged_is_neither_cancelled_nor_retried(
    api: APIClient, organization: Organization, verb: str
) -> None:
    row = stored(organization)
    api.post(f"{URL}{row.pk}/acknowledge/")
    assert_problem(api.post(f"{URL}{row.pk}/{verb}/"), 409)


def test_nothing_leaves_afterwards(api: APIClient, organization: Organization, fakes: FakeRegistry) -> None:
    row = stored(organization)
    assert api.post(f"{URL}{row.pk}/acknowledge").status_code == 200  # also without the slash
    delivery.deliver_due()
    assert not any(fake.sent for fake in fakes.values())


def test_a_chain_with_that_bar_waits_for_it(api: APIClient, organization: Organization, fakes: FakeRegistry) -> None:
    row = stored(organization, channels=[{"channel": "email", "until": "acknowledged"}])
    delivery.deliver([row.pk])
    assert api.get(f"{URL}{row.pk}/").json()["status"] == Status.WAITING
    assert api.post(f"{URL}{row.pk}/acknowledge/").json()["status"] == Status.ACKNOWLEDGED


def test_others_are_not_found(api: APIClient, strangers: Recipient) -> None:
    theirs = stored(strangers.organization)
    for pk in (theirs.pk, theirs.pk + 10, 0, 10**30):
        assert_problem(api.post(f"{URL}{pk}/acknowledge/"), 404)
    theirs.refresh_from_db()
    assert (theirs.status, theirs.acknowledged_at) == (Status.QUEUED, None)


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_other_methods_are_not_allowed(api: APIClient, organization: Organization, method: str) -> None:
    row = stored(organization)
    assert_problem(getattr(api, method)(f"{URL}{row.pk}/acknowledge/"), 405)
