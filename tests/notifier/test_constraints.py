"""The tables refuse what must never be, whoever writes it."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from notifier.models import (
    ApiKey,
    Attempt,
    EmailSettings,
    IdempotencyKey,
    Membership,
    Notification,
    Recipient,
    SmsSettings,
)
from notifier.states import Outcome, Status
from tests.notifier.rows import in_state, organization, person, stored

pytestmark = pytest.mark.django_db

# Each row: the constraint, and what it must refuse (a change to a row of this status).
IMPOSSIBLE: list[tuple[str, Status, dict[str, Any]]] = [
    ("notification_status", Status.SENT, {"status": "delivering", "finished_at": None}),
    ("notification_due_when_in_nobodys_hands", Status.QUEUED, {"due_at": None}),
    ("notification_due_when_in_nobodys_hands", Status.WAITING, {"due_at": None}),
    ("notification_due_when_in_nobodys_hands", Status.SENDING, {"due_at": Now()}),
    ("notification_due_when_in_nobodys_hands", Status.SENT, {"due_at": Now()}),
    ("notification_claimed_while_sending", Status.SENDING, {"claim_token": None}),
    ("notification_claimed_while_sending", Status.SENDING, {"lease_until": None}),
    ("notification_claimed_while_sending", Status.QUEUED, {"claim_token": uuid4()}),
    ("notification_claimed_while_sending", Status.QUEUED, {"lease_until": Now()}),
    ("notification_claimed_while_sending", Status.WAITING, {"handover_step": 0}),
    ("notification_final_keeps_no_credentials", Status.SENT, {"credentials": b"sealed"}),
    ("notification_final_keeps_no_credentials", Status.EXPIRED, {"finished_at": None}),
    ("notification_final_keeps_no_credentials", Status.QUEUED, {"finished_at": Now()}),
    ("notification_failed_says_why", Status.FAILED, {"failure_code": ""}),
    ("notification_failed_says_why", Status.SENT, {"failure_code": "rejected"}),
    ("notification_round", Status.QUEUED, {"first_round": 1}),
    ("notification_round", Status.QUEUED, {"first_round": -1, "round": 0}),
]


@pytest.mark.parametrize(("name", "status", "changes"), IMPOSSIBLE)
def test_an_impossible_notification_is_refused(name: str, status: Status, changes: dict[str, Any]) -> None:
    row = stored(**in_state(status))
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        Notification.objects.filter(pk=row.pk).update(**changes)


def test_a_notification_has_one_addressee() -> None:
    with pytest.raises(IntegrityError, match="notification_one_addressee"), transaction.atomic():
        stored(recipient=person(), to={"email": "bob@example.com"})


ATTEMPTS: list[tuple[str, dict[str, Any]]] = [
    ("attempt_outcome", {"outcome": Outcome.ACCEPTED, "temporary": True}),
    ("attempt_outcome", {"outcome": Outcome.UNKNOWN, "temporary": False, "code": "outcome_unknown"}),
    ("attempt_outcome", {"outcome": Outcome.FAILED, "temporary": None, "code": "rejected"}),
    ("attempt_outcome", {"outcome": Outcome.SKIPPED, "temporary": None, "code": "no_address"}),
    ("attempt_outcome", {"outcome": "maybe", "temporary": True, "code": "rejected"}),
    ("attempt_says_why", {"outcome": Outcome.ACCEPTED, "temporary": None, "code": "rejected"}),
    ("attempt_says_why", {"outcome": Outcome.UNKNOWN, "temporary": None}),
    ("attempt_says_why", {"outcome": Outcome.FAILED, "temporary": True}),
]


@pytest.mark.parametrize(("name", "fields"), ATTEMPTS)
def test_an_impossible_attempt_is_refused(name: str, fields: dict[str, Any]) -> None:
    common = {"notification": stored(), "step": 0, "round": 0, "channel": "email", "started_at": timezone.now()}
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        Attempt.objects.create(**common, **fields)


def test_a_recipient_has_an_address() -> None:
    with pytest.raises(IntegrityError, match="recipient_has_an_address"), transaction.atomic():
        Recipient.objects.create(organization=organization(), name="Ann")


@pytest.mark.parametrize("first", [{"external_id": "ann"}, {"external_id": None}, {"external_id": ""}])
def test_an_external_id_is_unique_where_there_is_one(first: dict[str, Any]) -> None:
    person(**first)
    if first["external_id"] is None:
        person(**first)
        return
    with pytest.raises(IntegrityError), transaction.atomic():
        person(**first)


def test_a_membership_is_there_once_and_has_a_known_role() -> None:
    member = {"user": User.objects.create(username="ann"), "organization": organization()}
    with pytest.raises(IntegrityError, match="membership_role"), transaction.atomic():
        Membership.objects.create(**member, role="owner")
    Membership.objects.create(**member)
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.create(**member)


def test_an_idempotency_key_is_there_once() -> None:
    key = {"organization": organization(), "key": "order-1017", "fingerprint": "0" * 64}
    IdempotencyKey.objects.create(**key)
    with pytest.raises(IntegrityError), transaction.atomic():
        IdempotencyKey.objects.create(**key)


KEYS_AND_ACCOUNTS: list[tuple[str, type[models.Model], dict[str, Any]]] = [
    ("api_key_kind", ApiKey, {"kind": "demo", "prefix": "ntf_demo", "digest": b"0" * 32}),
    ("email_settings_tls_or_ssl", EmailSettings, {"host": "smtp.example.com", "use_tls": True, "use_ssl": True}),
    ("email_settings_port", EmailSettings, {"host": "smtp.example.com", "port": 0}),
    ("email_settings_port", EmailSettings, {"host": "smtp.example.com", "port": 65536}),
    ("sms_settings_provider", SmsSettings, {"provider": "pigeon"}),
]


@pytest.mark.parametrize(("name", "model", "values"), KEYS_AND_ACCOUNTS)
def test_an_impossible_key_or_account_is_refused(name: str, model: type[models.Model], values: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        model._default_manager.create(organization=organization(), **values)


def test_every_constraint_of_the_domain_is_tried_here() -> None:
    tried = {name for name, *_ in (*IMPOSSIBLE, *ATTEMPTS)} | {name for name, *_ in KEYS_AND_ACCOUNTS}
    tried |= {"notification_one_addressee", "recipient_has_an_address", "recipient_external_id"}
    tried |= {"membership_role", "membership_once", "idempotency_key_once"}
    assert tried == {
        constraint.name for model in apps.get_app_config("notifier").get_models() for constraint in constraints(model)
    }


def constraints(model: type[models.Model]) -> list[models.BaseConstraint]:
    return list(model._meta.constraints)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="asks PostgreSQL's planner")
def test_what_is_due_is_found_by_an_index_however_long_the_history(db: None) -> None:
    stored(due_at=Now() - timedelta(minutes=1))
    due = Notification.objects.filter(status__in=["queued", "waiting"], due_at__lte=Now())
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        assert "ledger_due" in due.order_by("-priority", "due_at")[:16].explain()
        lapsed = Notification.objects.filter(status="sending", lease_until__lte=Now()).order_by("lease_until")
        assert "ledger_leases" in lapsed[:16].explain()
