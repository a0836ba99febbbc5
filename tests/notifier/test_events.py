"""Events: written with every change of a status, and read in an order without gaps."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from notifier import erasure, events, ledger, receipts
from notifier.chain import AwaitReceipt, Finish, Wait
from notifier.ledger import Settlement
from notifier.models import Attempt, Event, Notification, Organization
from notifier.states import FINAL, Outcome, Status
from tests.notifier.rows import event, in_state, person, stored

POSTGRESQL = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")


def told_of(row: Notification) -> list[str]:
    """The statuses that its events tell, in their order."""
    rows = Event.objects.filter(notification_id=row.pk, organization_id=row.organization_id).order_by("id")
    return list(rows.values_list("status", flat=True))


# --- What is an event ------------------------------------------------------------------------------------------------
def _settled(row: Notification, move: Any, *, tried: bool = True) -> None:
    claim = ledger.claim(limit=9)
    attempt = Attempt(
        notification_id=row.pk, step=0, round=0, channel="email", outcome=Outcome.FAILED, temporary=True,
        code="unreachable", started_at=timezone.now(),
    )  # fmt: skip
    assert ledger.settle(claim, [Settlement(row.pk, [attempt] if tried else [], move)]) == {row.pk}


def _soon() -> Any:
    return timezone.now() + timedelta(hours=1)


CHANGES: dict[str, tuple[Status, Callable[[Notification], Any], list[str]]] = {
    "sent": (Status.QUEUED, lambda row: _settled(row, Finish(Status.SENT)), ["sent"]),
    "waiting": (Status.QUEUED, lambda row: _settled(row, AwaitReceipt(0, _soon())), ["waiting"]),
    "failed": (Status.QUEUED, lambda row: _settled(row, Finish(Status.FAILED, "rejected")), ["failed"]),
    "expired": (Status.QUEUED, lambda row: _settled(row, Finish(Status.EXPIRED), tried=False), ["expired"]),
    "tried, and again later": (Status.QUEUED, lambda row: _settled(row, Wait(_soon(), 1)), ["queued"]),
    "given back untried": (Status.QUEUED, lambda row: _settled(row, Wait(_soon(), 0), tried=False), []),
    "still in hand": (Status.QUEUED, lambda row: _settled(row, None), []),
    "cancelled": (Status.WAITING, ledger.cancel, ["cancelled"]),
    "not cancelled": (Status.SENT, ledger.cancel, []),
    "retried": (Status.FAILED, lambda row: ledger.retry(row, None), ["queued"]),
    "acknowledged": (Status.SENT, receipts.acknowledge, ["acknowledged"]),
    "delivered": (Status.SENT, lambda row: ledger.place(row, Finish(Status.DELIVERED)), ["delivered"]),
    "re-opened": (Status.SENT, lambda row: ledger.place(row, Wait(_soon(), 1)), ["queued"]),
    "queued as before": (Status.QUEUED, lambda row: ledger.place(row, Wait(_soon(), 0)), []),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", CHANGES)
def test_each_change_of_a_status_is_an_event(name: str) -> None:
    status, happens, told = CHANGES[name]
    row, other = stored(**in_state(status)), stored(**in_state(Status.SENT))
    assert told_of(row) == []  # its acceptance is answered to who asked for it
    happens(row)
    assert told_of(row) == told
    assert told_of(other) == []


@pytest.mark.django_db
def test_what_the_worker_finds_acknowledged_is_told_as_that(organization: Organization) -> None:
    row = stored()
    claim = ledger.claim(limit=9)
    receipts.acknowledge(row)
    ledger.settle(claim, [Settlement(row.pk, [], Finish(Status.SENT))])
    assert told_of(row) == ["acknowledged"]


@pytest.mark.django_db
def test_what_ends_with_its_person_is_told() -> None:
    user = person()
    row, sent = stored(recipient=user), stored(recipient=user, **in_state(Status.SENT))
    erasure.erase(user)
    assert (told_of(row), told_of(sent)) == (["cancelled"], [])


@pytest.mark.django_db(transaction=True)
def test_what_is_undone_was_no_event() -> None:
    row = stored(**in_state(Status.WAITING))
    with transaction.atomic():
        assert ledger.cancel(row)
        transaction.set_rollback(True)
    assert told_of(row) == []


@pytest.mark.django_db
def test_events_are_kept_for_a_day(organization: Organization) -> None:
    other = Organization.objects.create(slug="other", name="Other")
    row = stored()
    for owner in (organization, other):
        for _ in range(7):
            event(row, organization=owner)
    Event.objects.filter(organization_id=other.pk).update(at=Now() - timedelta(days=2))
    Event.objects.filter(organization_id=organization.pk).update(at=F("at") - timedelta(hours=23))
    events.forget(batch=3)
    assert set(Event.objects.values_list("organization_id", flat=True)) == {organization.pk}
    assert Event.objects.count() == 7


@pytest.mark.django_db
def test_what_is_old_takes_nothing_with_it(organization: Organization) -> None:
    """A copy of another server's database has old events above its new ones; a clock may be set back."""
    row = stored()
    kept, old = event(row), event(row)
    Event.objects.filter(pk=old).update(at=Now() - timedelta(days=2))
    events.forget()
    assert list(Event.objects.values_list("pk", flat=True)) == [kept]


# --- In which order they are read ------------------------------------------------------------------------------------
@pytest.fixture
def elsewhere() -> Iterator[Callable[..., Any]]:
    """Makes connections that hold transactions of their own."""
    made: list[Any] = []

    def connect(**others: str) -> Any:
        parameters = {**connection.get_connection_params(), **others}
        names = ("host", "port", "user", "password", "dbname")
        made.append(psycopg2.connect(**{name: parameters[name] for name in names if parameters.get(name)}))
        return made[-1]

    yield connect
    for one in made:
        one.close()


def write(other: Any, organization: Organization, number: int) -> int:
    """An event in that connection's transaction, which stays open; its id."""
    with other.cursor() as cursor:
        cursor.execute(
            "INSERT INTO notifier_event (organization_id, notification_id, status, at)"
            " VALUES (%s, %s, 'sent', now()) RETURNING id",
            [organization.pk, number],
        )
        return int(cursor.fetchone()[0])


@POSTGRESQL
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_nothing_appears_below_what_was_read(
    organization: Organization, elsewhere: Callable[[], Any], ends: str
) -> None:
    """The first takes its number before the second, and is there after it."""
    first, second = elsewhere(), elsewhere()
    position = events.position()

    def read() -> list[int]:
        nonlocal position
        found = events.after({organization.pk: position}).get(organization.pk, [])
        position = found[-1].id if found else max(position, events.position())
        return [one.notification_id for one in found]

    low = write(first, organization, 1)
    assert low < write(second, organization, 2)
    second.commit()
    assert read() == []  # not yet: the first one may still come before it
    assert position < low
    write(second, organization, 3)
    getattr(first, ends)()
    assert read() == ([1, 2] if ends == "commit" else [2])
    second.commit()
    assert read() == [3]
    assert read() == []


@POSTGRESQL
@pytest.mark.django_db(transaction=True)
def test_a_transaction_of_another_database_holds_nobody_up(
    organization: Organization, elsewhere: Callable[..., Any]
) -> None:
    position = events.position()
    stranger = elsewhere(dbname="postgres")
    with stranger.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")
    told = event(stored())
    assert [one.id for one in events.after({organization.pk: position})[organization.pk]] == [told]
    stranger.rollback()


@pytest.mark.django_db(transaction=True)
def test_each_organization_is_read_from_its_own_position(organization: Organization) -> None:
    other = Organization.objects.create(slug="other", name="Other")
    row = stored()
    ours = [event(row) for _ in range(4)]
    theirs = [event(row, organization=other) for _ in range(3)]
    found = events.after({organization.pk: ours[0], other.pk: theirs[2]}, 2)
    assert {owner: [one.id for one in changes] for owner, changes in found.items()} == {organization.pk: ours[1:3]}


def test_final_statuses_are_among_what_is_told() -> None:
    """Whatever ends, somebody may have waited for."""
    assert {told[-1] for _, _, told in CHANGES.values() if told} >= FINAL - {Status.CANCELLED}
