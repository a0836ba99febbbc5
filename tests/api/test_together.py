"""Requests of the same moment are stored by one statement: each as if it had come alone."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from django.db import OperationalError, connection, transaction
from django.forms.models import model_to_dict
from django.utils import timezone

from notifier import insertion, intake
from notifier.inputs import NotificationInput
from notifier.insertion import Wish
from notifier.models import Notification, Organization, Recipient
from tests.api.test_races import in_thread
from tests.conftest import default_organization

pytestmark = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="only PostgreSQL stores them by one statement"
)

LATER = (timezone.now() + timedelta(days=1)).isoformat()
TO = {"to": {"email": "user@example.com", "phone": "+12025550123"}}
BODIES: dict[str, dict[str, Any]] = {
    "to a user": {"user_id": 0, "message": "Hello"},
    "to another user": {"user_id": 1, "message": "Привет \\ \" ' {} % %s \N{GRINNING FACE}"},
    "to one with a chain of his own": {"user_id": 2, "message": "Hello"},
    "to that one by another chain": {"user_id": 2, "message": "Hello", "channels": ["telegram", "email"]},
    "to an address": {**TO, "message": "Hello"},
    "to an address, later": {**TO, "message": "Hello", "send_at": LATER},
    "with all": {
        "user_id": 0,
        "message": "Hello",
        "subject": "A subject",
        "html": "<p>Hello</p>",
        "channels": [{"channel": "email", "until": "delivered", "within": 7}],
        "priority": "high",
        "on_unknown": "retry",
        "reference": "order-1",
        "metadata": {"a": [1, True, None, "\t"]},
        "smtp_user": "me@gmail.com",
        "smtp_password": "secret",
    },
}


@pytest.fixture
def people(organization: Organization) -> list[int]:
    """Users of the organization: the last one has a chain of his own."""
    chains: list[list[str]] = [[], [], ["telegram", "email"]]
    return [
        Recipient.objects.create(organization=organization, email=f"user{number}@example.com", channels=chain).pk
        for number, chain in enumerate(chains)
    ]


def wish(organization: Organization, body: dict[str, Any], people: list[int]) -> Wish:
    """What intake wishes for this body."""
    if "user_id" in body:
        body = {**body, "user_id": people[body["user_id"]]}
    wanted = NotificationInput.shared().read(organization, body, timezone.now())
    wanted.values["key"] = uuid4()
    return Wish(wanted.columns(), own_chain=wanted.user is not None and wanted.chain is None)


def told(row: Notification) -> dict[str, Any]:
    """What must be the same however it was stored."""
    known = {
        **model_to_dict(row),
        "status": row.status,
        "has_credentials": bool(row.credentials),
        "due": row.due_at is not None,
    }
    return {name: value for name, value in known.items() if name not in {"id", "due_at", "expires_at"}}


def test_each_as_if_it_had_come_alone(organization: Organization, people: list[int]) -> None:
    wishes = [wish(organization, body, people) for body in BODIES.values() for _ in range(2)]
    granted = insertion.insert_some(wishes)
    for index, (own, got) in enumerate(zip(wishes, granted, strict=True)):
        assert got is not None
        stored, recipient = got
        row = Notification.objects.get(pk=stored.pk)
        assert row.key == own.values["key"]
        assert (stored.created_at, stored.due_at) == (row.created_at, row.due_at)
        assert recipient == row.recipient
        alone = insertion.insert_one(wish(organization, list(BODIES.values())[index // 2], people))
        assert alone is not None
        assert told(row) == told(Notification.objects.get(pk=alone[0].pk))


def test_a_user_of_nobody_or_of_others_is_his_own_senders_trouble(
    organization: Organization, people: list[int]
) -> None:
    other = Organization.objects.create(slug="other", name="Other")
    theirs = Recipient.objects.create(organization=other, email="user@example.com").pk
    people += [theirs, 2**62]
    wishes = [wish(organization, {"user_id": number, "message": "Hello"}, people) for number in range(5)]
    granted = insertion.insert_some(wishes)
    assert [got and got[1] and got[1].pk for got in granted] == [*people[:3], None, None]
    assert Notification.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_many_at_the_same_moment_over_the_door() -> None:
    organization = default_organization()
    users = [Recipient.objects.create(organization=organization, email=f"u{n}@example.com").pk for n in range(8)]

    def accept(number: int) -> tuple[int, str]:
        body = {"user_id": users[number % 8], "message": f"Message {number}"}
        wanted = body if number % 5 else {**TO, "message": f"Message {number}"}
        row: Notification = in_thread(lambda: intake.accept(organization, wanted))
        return row.pk, row.message

    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(accept, range(200)))
    assert len({pk for pk, _text in accepted}) == 200
    rows = Notification.objects.in_bulk()
    assert all(rows[pk].message == text for pk, text in accepted)
    assert [rows[pk].recipient_id for pk, _text in accepted] == [users[n % 8] if n % 5 else None for n in range(200)]


@pytest.mark.django_db(transaction=True)
def test_a_person_who_is_just_changed_holds_nobody_else_up() -> None:
    organization = default_organization()
    locked, free = (Recipient.objects.create(organization=organization, email=f"u{n}@example.com").pk for n in (1, 2))
    held, done = Event(), Event()

    def hold() -> None:
        with transaction.atomic():
            Recipient.objects.select_for_update().get(pk=locked)
            held.set()
            assert done.wait(60)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(in_thread, hold)
        assert held.wait(30)
        wishes = [wish(organization, {"user_id": n, "message": "Hello"}, [locked, free]) for n in (0, 1, 1)]
        granted = insertion.insert_some(wishes)
        done.set()
        holding.result(60)
    assert [got and got[1] and got[1].pk for got in granted] == [None, free, free]
    assert insertion.insert_one(wishes[0]) is not None


@pytest.mark.parametrize("code", ["55P03", "40P01", "57014", "23505"])
def test_what_postgresql_refuses_is_tried_alone_and_a_lost_connection_is_not(code: str) -> None:
    told: Any = type("Told", (Exception,), {"pgcode": code})
    refused, lost = OperationalError(), OperationalError()
    refused.__cause__, lost.__cause__ = told(), psycopg2.OperationalError("server closed the connection")
    assert intake._is_refusal(refused)
    assert not intake._is_refusal(lost)
