"""Database connections that a process keeps between requests."""

import select
from typing import Any

from django.db import close_old_connections, connection, connections


def look_at_the_connection() -> None:
    """Drop a database connection that broke or is too old, unless its transaction is the caller's."""
    if not connection.in_atomic_block:
        close_old_connections()
        trust_silent_connections()


def trust_silent_connections(**_: Any) -> None:
    """Spare the question `SELECT 1` that CONN_HEALTH_CHECKS asks in every request: one of the three trips of a POST.

    A server that ended or was restarted has closed the connection, and that shows without asking: there is something
    to read where nobody has asked anything.
    """
    for one in connections.all(initialized_only=True):
        inner = one.connection
        if inner is not None and hasattr(inner, "fileno") and not inner.closed:
            one.health_check_done = not _has_something_to_read(inner.fileno())  # type: ignore[attr-defined]


def _has_something_to_read(number: int) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([number], [], [], 0)[0])
    poll = select.poll()  # select() cannot take a number above 1,023
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))
