"""What the lists read of a long history: counted by PostgreSQL in pages of its tables, not timed."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone
from rest_framework.test import APIClient

from api.queries import ids_between
from notifier import erasure, ledger
from notifier.models import Notification, Organization, Recipient
from tests.api.checks import ended, stored

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="asks PostgreSQL's planner")

ROWS = 20_000
MOST = 300  # pages of 8 KB: 21 rows with their recipients; the table has 1,500
TABLE = "notifier_notification"


@pytest.fixture
def history(organization: Organization, user: Recipient) -> None:
    """20,000 rows, one a minute, of two people in turn; one in 10,000 goes by SMS. The oldest quarter failed, with one
    reference: an outage."""
    with connection.cursor() as cursor:
        # What the tests before have rolled back still fills the table and its indexes.
        cursor.execute(f"TRUNCATE {TABLE} CASCADE")
    source = ended(stored(organization, user_id=user.pk, channels=["email"]), "sent")
    other = Recipient.objects.create(organization=organization, email="other@example.com")
    names = [str(field.column) for field in Notification._meta.concrete_fields if not field.primary_key]
    changed = {
        "key": "gen_random_uuid()",
        "status": f"CASE WHEN i < {ROWS // 4} THEN 'failed' ELSE 'sent' END",
        "failure_code": f"CASE WHEN i < {ROWS // 4} THEN 'rejected' ELSE '' END",
        "reference": f"CASE WHEN i < {ROWS // 4} THEN 'outage' ELSE '' END",
        "created_at": f"now() - interval '1 minute' * ({ROWS} - i)",
        "finished_at": f"now() - interval '1 minute' * ({ROWS} - i)",
        "recipient_id": f"CASE WHEN mod(i, 2) = 0 THEN {user.pk} ELSE {other.pk} END",
        "steps": """CASE WHEN mod(i, 10000) = 99 THEN '[{"channel": "sms"}]'::jsonb ELSE source.steps END""",
    }
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(changed.get(name, f'source."{name}"') for name in names)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TABLE} ({columns}) SELECT {values} FROM {TABLE} AS source, generate_series(1, {ROWS}) AS i"  # noqa: S608 - our own words
            " WHERE source.id = %s ORDER BY i",
            [source.pk],
        )
        cursor.execute(f"ANALYZE {TABLE}")
    Notification.objects.filter(pk=source.pk).delete()


class Pages:
    """How many pages of tables and indexes the statements meanwhile have read, and by which indexes."""

    read = 0
    plans = ""

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """Ask PostgreSQL to say it; then go on."""
        if TABLE in sql and sql.startswith(("SELECT", "WITH RECURSIVE")):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
                plan = cursor.fetchone()[0][0]["Plan"]
            self.read += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            self.plans += str(plan)
        return execute(sql, params, many, context)


@pytest.fixture
def pages(history: None) -> Iterator[Pages]:
    """From here on."""
    counted = Pages()
    with connection.execute_wrapper(counted):
        yield counted


def ago(**span: float) -> str:
    return (timezone.now() - timedelta(**span)).isoformat()


# Each row: what is asked for, and how many rows the page has.
ASKED: list[tuple[dict[str, Any], int]] = [
    ({}, 20),
    ({"status": "sent"}, 20),
    ({"status": "failed"}, 20),  # a quarter of all, and none of them new: not to be looked for from the newest on
    ({"status": "expired"}, 0),
    ({"reference": "outage"}, 20),
    ({"created_before": {"days": 10}}, 20),
    ({"created_before": {"days": 13.8}}, 20),
    ({"created_before": {"days": 400}}, 0),
    ({"created_after": {"minutes": 5}}, 5),
    ({"created_after": {"days": -1}}, 0),
    ({"created_after": {"days": 10, "minutes": 10}, "created_before": {"days": 10}}, 10),
    ({"created_before": {"days": 10}, "status": "sent"}, 20),
    ({"created_after": {"minutes": 5}, "channel": "sms"}, 0),
]


@pytest.mark.parametrize(("asked", "found"), ASKED)
def test_a_page_reads_little_of_a_long_history(api: APIClient, pages: Pages, asked: dict[str, Any], found: int) -> None:
    asked = {name: ago(**value) if isinstance(value, dict) else value for name, value in asked.items()}
    assert len(api.get("/api/notifications/", asked).json()["results"]) == found
    assert pages.read < MOST


def test_one_users_page_reads_little(api: APIClient, pages: Pages, user: Recipient) -> None:
    assert len(api.get("/api/notifications/", {"user_id": user.pk}).json()["results"]) == 20
    assert pages.read < MOST


def test_of_another_organizations_user_nothing_is_read(
    api: APIClient, history: None, strangers: Recipient, user: Recipient
) -> None:
    Notification.objects.filter(recipient=user).update(recipient=strangers)
    counted = Pages()
    with connection.execute_wrapper(counted):
        assert api.get("/api/notifications/", {"user_id": strangers.pk}).json()["results"] == []
    assert counted.read < 10


def test_a_page_of_a_rare_channel_looks_at_so_many_rows_and_no_more(
    api: APIClient, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.pagination.NewestFirst.LOOK", 1000)
    page = api.get("/api/notifications/", {"channel": "sms"}).json()
    assert page["results"] == []
    assert page["next"]
    assert pages.read < MOST  # some 80 for 1,000 rows
    number = 1
    found = []
    while page["next"]:
        page = api.get(page["next"]).json()
        found += page["results"]
        number += 1
    assert len(found) == 2
    assert number in {20, 21}


def test_a_span_of_time_is_a_span_of_ids(history: None) -> None:
    now = timezone.now()
    for after, before in (({"days": 3}, {"days": 2}), ({"days": 90}, {"days": 10}), ({"minutes": 9}, {"days": -9})):
        begin, end = now - timedelta(**after), now - timedelta(**before)
        within = Notification.objects.filter(created_at__gt=begin, created_at__lt=end)
        assert within.exists()
        near = Notification.objects.filter(**ids_between(begin, end))
        assert not within.difference(near).exists()
        assert near.count() - within.count() <= 4  # a minute on either side


def test_rows_out_of_order_by_less_than_a_minute_are_found(history: None) -> None:
    """Ids are given out before the row is stored, and one statement may store 10,000 rows."""
    border = timezone.now() - timedelta(days=5)
    late = Notification.objects.filter(created_at__gt=border).order_by("pk").first()
    assert late is not None
    Notification.objects.filter(pk=late.pk).update(created_at=border - timedelta(seconds=2))
    assert Notification.objects.filter(pk=late.pk, **ids_between(None, border)).exists()
    Notification.objects.filter(pk=late.pk).update(created_at=border + timedelta(seconds=2))
    assert Notification.objects.filter(pk=late.pk, **ids_between(border, None)).exists()


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("name", ["created_after", "created_before"])
def test_the_first_and_the_last_moment_are_moments_too(api: APIClient, history: None, name: str, moment: str) -> None:
    found = len(api.get("/api/notifications/", {name: moment}).json()["results"])
    assert found == (20 if (name == "created_after") == moment.startswith("0") else 0)


def test_an_empty_table_has_every_span(organization: Organization) -> None:
    assert ids_between(timezone.now(), None) == {"pk__gte": 0, "pk__lt": 2**63 - 1}


def test_how_long_the_oldest_is_due_is_one_look_a_rank(history: None) -> None:
    waiting = list(Notification.objects.filter(status="sent").values_list("pk", flat=True)[:5000])
    Notification.objects.filter(pk__among=waiting).update(status="queued", finished_at=None, due_at=Now())
    Notification.objects.filter(pk=waiting[7]).update(due_at=Now() - timedelta(hours=3), priority=0)
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {TABLE}")
    counted = Pages()
    with connection.execute_wrapper(counted):
        assert ledger.overdue_by() >= timedelta(hours=3)
    assert "Sort" not in counted.plans
    assert counted.read < MOST


def test_a_batch_of_the_purge_reads_its_own_rows_only(history: None) -> None:
    counted = Pages()
    with connection.execute_wrapper(counted):
        assert erasure.purge(timedelta(days=13.8), batch=10_000) > 100
    assert "ledger_purge" in counted.plans
    assert "Sort" not in counted.plans
