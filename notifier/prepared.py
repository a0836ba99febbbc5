"""Statements that PostgreSQL reads and plans once a connection: for the hottest of ours that takes longer than to run
them (0.3 ms of its processor for a POST's, 0.4 for a claim's)."""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from django.db import DatabaseError, connection

MOST = 32
"""Statements that one connection keeps: as many as there are sets of fields, of which a client uses few."""

RUNS = 100
"""Times for which a plan is used. PostgreSQL makes it for tables as large as they are, and by itself makes another only
when they have been analyzed, once a minute at most: a plan for the empty tables of a new installation would read them
whole until then, however large they have become."""

_UNUSABLE = {"26000", "42P05", "0A000"}  # not known here; known already; its tables changed
_may_prepare = True


def fetch(statement: str, params: Sequence[Any], *, once: bool = False) -> list[Any]:
    """Run a statement of ours and get its rows. `once`: it is not worth preparing.

    Not prepared in a transaction, which an error would end. Behind a PgBouncer that changes the connection after each
    one, the next may know nothing of it: then the plain text is taken for good.
    """
    global _may_prepare  # noqa: PLW0603 - one kind of connection a process
    with connection.cursor() as cursor:
        if _may_prepare and not once and not connection.in_atomic_block:
            try:
                if name := _name(cursor, statement):
                    cursor.execute(f"EXECUTE {name} ({', '.join(['%s'] * len(params))})", params)
                    return list(cursor.fetchall())
            except DatabaseError as error:
                if getattr(error.__cause__, "pgcode", None) not in _UNUSABLE:
                    raise
                _may_prepare = False
        cursor.execute(statement, params)
        return list(cursor.fetchall())


def _name(cursor: Any, statement: str) -> str | None:
    """Under which this connection knows it. None: it knows enough others."""
    known: dict[str, int]  # the names, and how often each may still be used
    inner, known = getattr(connection, "_prepared", (None, {}))
    if inner is not connection.connection:
        inner, known = connection.connection, {}
        connection._prepared = inner, known  # type: ignore[attr-defined]
    name = _name_of(statement)
    if known.get(name) == 0:
        cursor.execute(f"DEALLOCATE {name}")
        del known[name]
    if name not in known:
        if len(known) == MOST:
            return None
        numbers = count(1)
        text = re.sub("%[%s]", lambda sign: "%" if sign[0] == "%%" else f"${next(numbers)}", statement)
        cursor.execute(f"PREPARE {name} AS {text}")
        known[name] = RUNS
    known[name] -= 1
    return name


@lru_cache(2 * MOST)
def _name_of(statement: str) -> str:
    """It says what the statement is, so that whoever else made one of that name made the same."""
    return f"notifier_{hashlib.sha256(statement.encode()).hexdigest()[:24]}"
