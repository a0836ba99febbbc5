"""Rows by one statement: each keeps its own, in the order given, whatever they have in common."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from notifier import prepared
from notifier.intake import accept, accept_for_each, accept_many
from notifier.models import Notification, Organization, Recipient
from tests.api.checks import stored
from tests.conftest import default_organization

LATER = (timezone.now() + timedelta(days=1)).replace(microsecond=0).isoformat()
TO = {"to": {"email": "user@example.com"}}


def sent(organization: Organization, *bodies: dict[str, Any]) -> list[Notification]:
    """The rows of a bulk, in its order."""
    made = accept_many(organization, [{**TO, "message": "Hello", **body} for body in bodies])
    rows = Notification.objects.in_bulk([one.pk for one in made])
    return [rows[one.pk] for one in made]


LIKE: dict[str, list[Any]] = {
    "numbers that Python calls equal": [1, True, 1.0, 0, False, None, "1"],
    "only such": [1, True, 1.0],
    "nothing and empty": [{}, [], "", None],
    "unicode": ["Привет", "\N{GRINNING FACE}", "%s %(a)s", "back\\slash", "quo'te\"", "\t", "{}", "NULL"],
}


@pytest.mark.parametrize("values", LIKE.values(), ids=LIKE)
def test_json_stays_what_it_was(organization: Organization, values: list[Any]) -> None:
    rows = sent(organization, *({"metadata": {"a": value}} for value in values))
    assert [repr(row.metadata["a"]) for row in rows] == [repr(value) for value in values]
    assert repr(stored(organization, metadata={"a": values[0]}).metadata["a"]) == repr(values[0])


def test_each_keeps_its_own_text(organization: Organization) -> None:
    texts = LIKE["unicode"]
    rows = sent(organization, *({"message": f"{text}!", "reference": text.strip()} for text in texts))
    assert [(row.message, row.reference) for row in rows] == [(f"{text}!", text.strip()) for text in texts]
    assert len({row.key for row in rows}) == len(rows)


def test_those_for_later_stand_beside_those_for_now(organization: Organization) -> None:
    later = (timezone.now() + timedelta(days=1)).replace(microsecond=0)
    now, then, again = sent(organization, {}, {"send_at": later.isoformat()}, {})
    assert then.due_at == then.send_at == later
    assert now.due_at == now.created_at == again.due_at
    assert now.send_at is None


def test_chains_that_differ(organization: Organization) -> None:
    rows = sent(organization, {}, {"channels": ["sms"]}, {"channels": [{"channel": "email", "within": 5}]})
    assert [row.steps for row in rows] == [
        [{"channel": "email"}, {"channel": "sms"}, {"channel": "telegram"}],
        [{"channel": "sms"}],
        [{"channel": "email", "within": 5}],
    ]


def test_a_stored_user_beside_a_person_who_is_not(organization: Organization, user: Any, api: APIClient) -> None:
    body = {"notifications": [{**TO, "message": "a"}, {"user_id": user.pk, "message": "b"}, {**TO, "message": "c"}]}
    ids = api.post("/api/notifications/bulk/", body).json()["ids"]
    shown = [api.get(f"/api/notifications/{pk}/").json() for pk in ids]
    assert [(one["message"], one["user_id"]) for one in shown] == [("a", None), ("b", user.pk), ("c", None)]


def test_files_go_with_their_own_notification(organization: Organization) -> None:
    file = {"filename": "a.txt", "content_type": "text/plain", "content": "YQ=="}
    none, one, two = sent(organization, {}, {"attachments": [file]}, {"attachments": [file, {**file, "filename": "b"}]})
    assert [[each.filename for each in row.attachments.all()] for row in (none, one, two)] == [
        [],
        ["a.txt"],
        ["a.txt", "b"],
    ]


@pytest.mark.parametrize(
    "body", [{}, {"reference": "a"}, {"channels": ["sms"]}, {"send_at": LATER}, {"html": "100 %s"}]
)
def test_the_row_is_told_as_it_was_stored(organization: Organization, user: Recipient, body: dict[str, Any]) -> None:
    told = accept(organization, {"user_id": user.pk, "message": "Hello", "subject": "50 % off", **body})
    kept = Notification.objects.get(pk=told.pk)
    assert {field.attname: getattr(told, field.attname) for field in told._meta.concrete_fields} == {
        field.attname: getattr(kept, field.attname) for field in kept._meta.concrete_fields
    }
    assert (told.organization, told.recipient) == (organization, user)


@pytest.mark.parametrize("own", [[], ["sms"], ["telegram", "email"]])
def test_a_chain_of_ones_own_goes_before_the_default_one(
    organization: Organization, user: Recipient, own: list[str]
) -> None:
    Recipient.objects.filter(pk=user.pk).update(channels=own)
    for body, names in (({}, own or list(settings.DEFAULT_CHAIN)), ({"channels": ["email", "sms"]}, ["email", "sms"])):
        told = accept(organization, {"user_id": user.pk, "message": "Hello", **body})
        kept = Notification.objects.get(pk=told.pk)
        assert told.steps == kept.steps == [{"channel": name} for name in names]


def test_one_content_is_stored_as_if_each_had_been_given_its_own(organization: Organization, user: Recipient) -> None:
    other = Recipient.objects.create(organization=organization, email="other@example.com", channels=["sms"])
    content = {"message": "Hello\nyou", "priority": "high", "metadata": {"a": 1}, "send_at": LATER}
    users = [user.pk, other.pk]
    one = accept_for_each(organization, content, users)
    many = accept_many(organization, [{**content, "user_id": pk} for pk in users])
    rows = Notification.objects.in_bulk([made.pk for made in (*one, *many)])
    differ = {"id", "key", "created_at", "expires_at"}
    shown = [
        {field.attname: getattr(rows[made.pk], field.attname) for field in Notification._meta.concrete_fields}
        for made in (*one, *many)
    ]
    kept = [{name: value for name, value in row.items() if name not in differ} for row in shown]
    assert kept[:2] == kept[2:]
    assert len({row["key"] for row in shown}) == 4
    assert [row["recipient_id"] for row in shown] == users * 2
    assert shown[1]["steps"] == [{"channel": "sms"}]


# --- Prepared statements ---------------------------------------------------------------------------------------------
on_postgresql = pytest.mark.skipif(connection.vendor == "sqlite", reason="PostgreSQL's")


@pytest.fixture
def preparing(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Recipient:
    """A user, outside of any transaction, on a connection that knows no statement."""
    monkeypatch.setattr(prepared, "_may_prepare", True)
    connection.close()
    return Recipient.objects.create(organization=default_organization(), email="user@example.com")


def sends(user: Recipient, **body: Any) -> Notification:
    """One stored."""
    return accept(user.organization, {"user_id": user.pk, "message": "50 % of %s", **body})


def kept() -> list[str]:
    """The statements that the connection keeps."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements")
        return [name for (name,) in cursor.fetchall()]


@on_postgresql
def test_a_statement_is_prepared_once(preparing: Recipient) -> None:
    for number in range(8):
        assert Notification.objects.get(pk=sends(preparing, reference=f"r{number}").pk).message == "50 % of %s"
    assert len(kept()) == 1
    assert prepared._may_prepare


@on_postgresql
@pytest.mark.parametrize("spoil", ["DEALLOCATE ALL", "ALTER TABLE notifier_recipient ALTER name TYPE text"])
def test_a_connection_that_knows_it_no_more(preparing: Recipient, spoil: str) -> None:
    """As behind a PgBouncer that gives each transaction another connection, or after a migration."""
    sends(preparing)
    with connection.cursor() as cursor:
        cursor.execute(spoil)
    try:
        assert [Notification.objects.get(pk=sends(preparing).pk).pk for _ in range(2)]
        assert Notification.objects.count() == 3
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE notifier_recipient ALTER name TYPE varchar(255)")


@on_postgresql
def test_a_connection_that_knows_it_already(preparing: Recipient) -> None:
    sends(preparing)
    connection._prepared = (None, {})  # type: ignore[attr-defined]
    assert Notification.objects.get(pk=sends(preparing).pk)
    assert Notification.objects.count() == 2


@on_postgresql
def test_only_so_many_are_kept(preparing: Recipient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "MOST", 1)
    sends(preparing)
    assert sends(preparing, reference="another set of fields").reference == "another set of fields"
    assert len(kept()) == 1


@on_postgresql
def test_a_new_connection_knows_nothing_of_it(preparing: Recipient) -> None:
    sends(preparing)
    connection.close()
    sends(preparing)
    assert prepared._may_prepare
    assert Notification.objects.count() == 2


def test_credentials_are_each_their_own(organization: Organization) -> None:
    own = {"smtp_user": "ann@example.com", "smtp_password": "one"}
    rows = sent(organization, {}, own, {**own, "smtp_password": "two"})
    assert [row.own_account for row in rows] == [False, True, True]
    assert len({bytes(row.credentials or b"") for row in rows}) == 3
