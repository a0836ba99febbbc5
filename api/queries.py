"""What a list is asked for, in its query string."""

from datetime import datetime, timedelta

from django.db import connection

SKEW = timedelta(minutes=1)
"""By how much the order of ids and the order of times may disagree: twice as long as any statement may take."""

# The halves of what may still hold it, down to one row: on 5,000,000 rows 22 looks into the primary key, 0.2 ms.
_FIRST_SINCE = """WITH RECURSIVE half (low, high) AS (
    SELECT min(id), max(id) + 1 FROM notifier_notification
    UNION ALL
    SELECT CASE WHEN found.is_before THEN found.id + 1 ELSE low END,
        CASE WHEN found.is_before THEN high ELSE (low + high) / 2 END
    FROM half LEFT JOIN LATERAL (
        SELECT id, created_at < %(moment)s::timestamptz + make_interval(secs => %(skew)s) AS is_before
        FROM notifier_notification
        WHERE id >= (low + high) / 2 AND id < high ORDER BY id LIMIT 1) AS found ON true
    WHERE low < high)
SELECT low FROM half WHERE low >= high"""

_BEYOND = 2**63 - 1


def ids_between(after: datetime | None, before: datetime | None) -> dict[str, int]:
    """Between which ids the notifications of this span stand, as a filter; those at its edges have to be looked at.

    They are numbered in the order in which they are created, so that a span of time is a span of every list, and no
    index holds the times: it would be one more to write three times a message. Of a clock that was put back by more
    than a minute the rows of the time that came twice may be left out. None: open.
    """
    if connection.vendor != "postgresql" or not (after or before):
        return {}  # SQLite's table, for one machine, is read whole
    # Both ends, always: behind one alone the planner supposes a third of the table, and reads and sorts all of it.
    low, high = 0, _BEYOND
    with connection.cursor() as cursor:
        if after:
            cursor.execute(_FIRST_SINCE, {"moment": after, "skew": -SKEW.total_seconds()})
            low = next((number for (number,) in cursor.fetchall()), low)
        if before:
            cursor.execute(_FIRST_SINCE, {"moment": before, "skew": SKEW.total_seconds()})
            high = next((number for (number,) in cursor.fetchall()), high)
    return {"pk__gte": low, "pk__lt": high}
