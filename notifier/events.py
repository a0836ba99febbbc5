"""Changes of status, written with the change itself and read by those who listen, in an order without gaps.

On PostgreSQL an id begins with the number of its transaction (migration 0008). Whatever lies below the oldest
transaction that is still open in this database is committed or never will be: only that is read, so that nothing can
appear behind a reader's back. SQLite has one writer at a time, and numbers in the order of commits.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Max
from django.db.models.functions import Now

from notifier import wakes
from notifier.models import Event, Notification

BATCH = 100
"""Events of one organization that are read at once."""

# The number that the next transaction will get, when this statement began; or that of the oldest one that was open a
# little later, in this database: others on the same server hold nobody up (`pg_snapshot_xmin` would make them). Of open
# ones only the lower half of the number is told. What is below has ended, and the next statement sees it.
_BORDER = """WITH now AS (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next),
open AS (SELECT backend_xid::text::bigint AS half FROM pg_stat_activity
    WHERE datname = current_database() AND backend_xid IS NOT NULL)
SELECT LEAST(now.next, (SELECT min(now.next - ((now.next - open.half + 2147483648) & 4294967295) + 2147483648)
    FROM open)) << 20 FROM now"""

_NEWS = """SELECT event.* FROM unnest(%s::bigint[], %s::bigint[]) AS reader (organization_id, position)
CROSS JOIN LATERAL (SELECT organization_id, id, notification_id, status, at FROM notifier_event
    WHERE organization_id = reader.organization_id AND id > reader.position AND id < %s
    ORDER BY id LIMIT %s) AS event"""


class Change(NamedTuple):
    """A notification's status became this."""

    id: int
    notification_id: int
    status: str
    at: datetime


def record(ids: Iterable[int]) -> None:
    """Write that the status of these notifications has become what it is now; in the transaction that made it so."""
    rows = Notification.objects.filter(pk__among=list(ids)).order_by("id")
    changes = [
        Event(organization_id=organization_id, notification_id=pk, status=status)
        for pk, organization_id, status in rows.values_list("pk", "organization_id", "status")
    ]
    if changes:
        Event.objects.bulk_create(changes, batch_size=1000)
        wakes.wake_after_commit()


def position() -> int:
    """Where somebody begins who wants to hear of what happens from now on."""
    if connection.vendor != "postgresql":
        return Event.objects.aggregate(last=Max("id"))["last"] or 0
    with connection.cursor() as cursor:
        return _border(cursor) - 1


def _border(cursor: Any) -> int:
    """Below this id nothing will be added any more."""
    cursor.execute(_BORDER)
    return int(cursor.fetchone()[0])


def after(positions: Mapping[int, int], limit: int = BATCH) -> dict[int, list[Change]]:
    """The next events of these organizations, each behind its position, for those that have any."""
    found: dict[int, list[Change]] = {}
    for organization_id, pk, notification_id, status, at in _rows_after(positions, limit):
        found.setdefault(organization_id, []).append(Change(pk, notification_id, status, at))
    return found


def _rows_after(positions: Mapping[int, int], limit: int) -> Iterator[tuple[int, int, int, str, datetime]]:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            border = _border(cursor)
            cursor.execute(_NEWS, [list(positions), list(positions.values()), border, limit])
            yield from cursor.fetchall()
        return
    for organization_id, last in positions.items():
        rows = Event.objects.filter(organization_id=organization_id, id__gt=last).order_by("id")
        yield from rows.values_list("organization_id", "id", "notification_id", "status", "at")[:limit]


def forget(batch: int = 5000) -> None:
    """Delete what is older than a day: of each organization the oldest end, by the table's key alone."""
    organization_id = _next_organization(0)
    while organization_id is not None:
        theirs = Event.objects.filter(organization_id=organization_id)
        left = True
        while left:
            oldest = theirs.order_by("id").values_list("id", "at", Now() - Event.KEPT)[:batch]
            old = [pk for pk, at, limit in oldest if at <= limit]
            if old:
                theirs.filter(id__lte=old[-1], at__lte=Now() - Event.KEPT).delete()
            left = len(old) == batch
        organization_id = _next_organization(organization_id)


def _next_organization(before: int) -> int | None:
    rows = Event.objects.filter(organization_id__gt=before).order_by("organization_id")
    return rows.values_list("organization_id", flat=True).first()
