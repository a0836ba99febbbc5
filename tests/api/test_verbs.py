"""cancel, retry, and what becomes of a person's notifications when the person is erased."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from channels.errors import PermanentError
from notifier import delivery, ledger
from notifier.models import Attachment, Attempt, Notification, Organization, Recipient
from notifier.states import FINAL
from tests.api.checks import NOTIFICATION_FIELDS, assert_problem, ended, moment, stored
from tests.conftest import FakeRegistry

URL = "/api/notifications/"
ACCOUNT = {"smtp_user": "me@example.com", "smtp_password": "canary-pa55word"}


def waiting(row: Notification) -> Notification:
    Notification.objects.filter(pk=row.pk).update(status="waiting")
    return row


def sending(row: Notification) -> Notification:
    ledger.claim(limit=1, ids=[row.pk])
    return row


def in_status(row: Notification, status: str) -> Notification:
    if status in FINAL:
        return ended(row, status, "rejected" if status == "failed" else "")
    return {"waiting": waiting, "sending": sending}[status](row) if status != "queued" else row


STATUSES = ["queued", "sending", "waiting", "sent", "delivered", "acknowledged", "failed", "cancelled", "expired"]


# --- cancel ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", STATUSES)
def test_what_is_queued_or_waiting_can_be_cancelled(api: APIClient, organization: Organization, status: str) -> None:
    row = in_status(stored(organization, **ACCOUNT), status)
    response = api.post(f"{URL}{row.pk}/cancel/")
    row.refresh_from_db()
    if status in {"queued", "waiting"}:
        assert response.status_code == 200
        body = response.json()
        assert set(body) == NOTIFICATION_FIELDS | {"attempts"}
        assert (body["status"], body["due_at"], row.credentials) == ("cancelled", None, None)
        assert moment(body["finished_at"]) >= moment(body["created_at"])
    else:
        assert_problem(response, 409, None, "conflict")
        assert row.status == status


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ("reason=x", "application/x-www-form-urlencoded", 415),
        ("--x--", "multipart/form-data; boundary=x", 415),
        ('{"reason": "x"}', "application/json", 400),
        ("[]", "application/json", 400),
        ("{", "application/json", 400),
    ],
)
@pytest.mark.parametrize("verb", ["cancel", "acknowledge", "retry"])
def test_no_verb_passes_over_what_it_is_told(
    api: APIClient, organization: Organization, verb: str, body: str, content_type: str, status: int
) -> None:
    row = in_status(stored(organization), "failed" if verb == "retry" else "queued")
    before = row.status
    assert_problem(api.generic("POST", f"{URL}{row.pk}/{verb}/", body, content_type), status)
    row.refresh_from_db()
    assert row.status == before


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("verb", ["cancel", "acknowledge", "retry"])
def test_a_verb_needs_no_body_whatever_that_is_called(
    api: APIClient, organization: Organization, verb: str, content_type: str
) -> None:
    row = in_status(stored(organization), "failed" if verb == "retry" else "queued")
    answer = api.generic("POST", f"{URL}{row.pk}/{verb}/", "", content_type)
    assert answer.status_code == (202 if verb == "retry" else 200), answer.content


def test_a_second_cancel_is_a_conflict(api: APIClient, organization: Organization) -> None:
    row = stored(organization)
    assert api.post(f"{URL}{row.pk}/cancel/").status_code == 200
    assert_problem(api.post(f"{URL}{row.pk}/cancel/"), 409)


def test_what_is_cancelled_is_never_sent(api: APIClient, organization: Organization, fakes: FakeRegistry) -> None:
    row = stored(organization)
    api.post(f"{URL}{row.pk}/cancel/")
    delivery.deliver([row.pk])
    assert not fakes["email"].sent


# --- retry -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", STATUSES)
def test_only_what_failed_can_be_retried(api: APIClient, organization: Organization, status: str) -> None:
    row = in_status(stored(organization), status)
    response = api.post(f"{URL}{row.pk}/retry/")
    row.refresh_from_db()
    if status == "failed":
        assert response.status_code == 202
        body = response.json()
        assert set(body) == NOTIFICATION_FIELDS | {"attempts"}
        assert (body["status"], body["failure_code"], body["finished_at"]) == ("queued", None, None)
        assert moment(body["due_at"])
    else:
        assert_problem(response, 409, None, "conflict")
        assert row.status == status


def test_every_step_is_alive_again(api: APIClient, organization: Organization, fakes: FakeRegistry) -> None:
    row = stored(organization, channels=["email"])
    fakes["email"].fail_next(PermanentError("no"))
    delivery.deliver([row.pk])
    assert api.get(f"{URL}{row.pk}/").json()["status"] == "failed"
    assert api.post(f"{URL}{row.pk}/retry/").status_code == 202
    delivery.deliver([row.pk])
    body = api.get(f"{URL}{row.pk}/").json()
    assert body["status"] == "sent"
    assert [attempt["outcome"] for attempt in body["attempts"]] == ["failed", "accepted"]


def test_a_retry_after_the_end_of_its_life_gives_a_new_one(api: APIClient, organization: Organization) -> None:
    late, in_time = (ended(stored(organization), "failed", "rejected") for _ in range(2))
    Notification.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(hours=1))
    fresh = moment(api.post(f"{URL}{late.pk}/retry/").json()["expires_at"])
    assert abs(fresh - timezone.now() - timedelta(hours=24)) < timedelta(minutes=1)
    assert moment(api.post(f"{URL}{in_time.pk}/retry/").json()["expires_at"]) == in_time.expires_at


@pytest.mark.parametrize("given", [True, False])
def test_the_own_account_is_given_again_or_the_step_is_skipped(
    api: APIClient, organization: Organization, fakes: FakeRegistry, *, given: bool
) -> None:
    row = stored(organization, channels=["email"], **ACCOUNT)
    fakes["email"].fail_next(PermanentError("no"))
    delivery.deliver([row.pk])
    response = api.post(f"{URL}{row.pk}/retry/", ACCOUNT if given else {})
    assert response.status_code == 202
    assert ACCOUNT["smtp_password"] not in response.content.decode()
    delivery.deliver([row.pk])
    last = api.get(f"{URL}{row.pk}/").json()["attempts"][-1]
    if given:
        assert (last["outcome"], last["account"]) == ("accepted", "request")
    else:
        assert (last["outcome"], last["code"]) == ("skipped", "not_configured")
        assert not fakes["email"].sent


def test_credentials_for_a_notification_that_had_none_are_not_lost_in_silence(
    api: APIClient, organization: Organization
) -> None:
    row = ended(stored(organization), "failed", "rejected")
    assert_problem(api.post(f"{URL}{row.pk}/retry/", ACCOUNT), 400, "smtp_user")
    row.refresh_from_db()
    assert (row.status, row.credentials) == ("failed", None)


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"smtp_user": "me@example.com"}, "smtp_password"),
        ({"smtp_password": "secret"}, "smtp_user"),
        ({"smtp_pasword": "secret"}, "smtp_pasword"),
        ({"smtp_host": "smtp.gmail.com"}, "smtp_host"),
        ({**ACCOUNT, "smtp_host": "evil.example.com"}, "smtp_host"),
        ({"message": "Another"}, "message"),
        ([], None),
        ([ACCOUNT], None),
        ("", None),
        (0, None),
        (False, None),
        (None, None),
    ],
)
def test_a_retry_with_a_wrong_body_changes_nothing(
    api: APIClient, organization: Organization, body: Any, attr: str | None
) -> None:
    row = ended(stored(organization, **ACCOUNT), "failed", "rejected")
    assert_problem(api.generic("POST", f"{URL}{row.pk}/retry/", json.dumps(body), "application/json"), 400, attr)
    row.refresh_from_db()
    assert row.status == "failed"


# --- Erasing a person ------------------------------------------------------------------------------------------------
def test_an_erased_person_leaves_countable_notifications_and_nothing_else(
    api: APIClient, user: Recipient, fakes: FakeRegistry
) -> None:
    canary = "canary-text"
    fields: dict[str, Any] = {
        "message": canary,
        "subject": canary,
        "html": canary,
        "reference": canary,
        "metadata": {canary: canary},
        "attachments": [{"filename": canary, "content_type": "text/plain", "content": "YQ=="}],
    }
    rows = [stored(user.organization, user_id=user.pk, **fields) for _ in STATUSES]
    delivery.deliver([rows[0].pk])
    for row, status in zip(rows, STATUSES, strict=True):
        if status != "queued":
            in_status(row, status)
    queued = stored(user.organization, user_id=user.pk, **ACCOUNT, **fields)
    rows.append(queued)

    response = api.delete(f"/api/users/{user.pk}/")
    assert response.status_code == 204
    assert response.content == b""
    assert_problem(api.get(f"/api/users/{user.pk}/"), 404)
    assert_problem(api.delete(f"/api/users/{user.pk}/"), 404)
    assert not Attachment.objects.exists()
    for row in rows:
        shown = api.get(f"{URL}{row.pk}/")
        assert shown.status_code == 200
        body = shown.json()
        assert (body["user_id"], body["to"], body["message"], body["subject"]) == (None, None, "", "")
        assert body["status"] in FINAL
        assert body["due_at"] is None
        assert canary not in shown.content.decode()
    assert len(api.get(URL).json()["results"]) == len(rows)
    kept = repr([*Notification.objects.values(), *Attempt.objects.values(), *Recipient.objects.values()])
    for trace in (canary, "user@example.com", "+12025550123", "123456789"):
        assert trace not in kept


def test_final_statuses_stay_and_open_ones_end(api: APIClient, user: Recipient) -> None:
    rows = {name: in_status(stored(user.organization, user_id=user.pk), name) for name in STATUSES}
    api.delete(f"/api/users/{user.pk}/")
    for name, row in rows.items():
        row.refresh_from_db()
        assert row.status == (name if name in FINAL else "cancelled")


def test_nobody_elses_notifications_are_touched(api: APIClient, user: Recipient) -> None:
    other = Recipient.objects.create(organization=user.organization, email="ada@example.com")
    theirs = stored(user.organization, user_id=other.pk, message="Stays")
    unstored = stored(user.organization, message="Stays too")
    api.delete(f"/api/users/{user.pk}/")
    assert api.get(f"{URL}{theirs.pk}/").json()["message"] == "Stays"
    assert api.get(f"{URL}{unstored.pk}/").json()["to"] == {"email": "u***@example.com"}


def test_an_erased_person_cannot_be_written_to_again(api: APIClient, user: Recipient, fakes: FakeRegistry) -> None:
    row = ended(stored(user.organization, user_id=user.pk), "failed", "rejected")
    api.delete(f"/api/users/{user.pk}/")
    assert_problem(api.post(URL, {"user_id": user.pk, "message": "Hello"}), 400, "user_id")
    api.post(f"{URL}{row.pk}/retry/")
    delivery.deliver([row.pk])
    assert not any(fake.sent for fake in fakes.values())
    assert api.get(f"{URL}{row.pk}/").json()["status"] == "failed"
