"""What is asked most often, as PostgreSQL takes it at once: whose key it is; and claim, mark, settle.

The last three are one round trip each for a whole batch. Said in Django's words the same takes 16 statements and
transactions, whose preparation alone costs more processor time than a batch of 20 messages. `ledger` says what they
mean, does the same in Django's words for other databases, and for the rare rows that these statements leave alone.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Model
from django.db.models.base import ModelState
from django.db.models.functions import Now

from notifier import prepared
from notifier.models import ApiKey, Attempt, Notification, Organization, Recipient

_DUE = """SELECT id FROM (
    SELECT id FROM notifier_notification
    WHERE status = 'queued' AND priority = {rank} AND due_at <= STATEMENT_TIMESTAMP() {among}
    ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED) AS due_{rank}"""

_LAPSED = """SELECT id FROM (
    SELECT id FROM notifier_notification
    WHERE status = 'sending' AND lease_until <= STATEMENT_TIMESTAMP() AND claim_token <> %s {among}
    ORDER BY lease_until LIMIT %s FOR UPDATE SKIP LOCKED) AS lapsed"""

# `= ANY (ARRAY(…))` and not a join: that the planner would answer by reading a table of some thousand rows whole.
_CLAIM = """WITH claimed AS (
    UPDATE notifier_notification
    SET status = 'sending', due_at = NULL, claim_token = %s, lease_until = STATEMENT_TIMESTAMP() + %s::interval
    WHERE id = ANY (ARRAY(SELECT id FROM ({taken} LIMIT %s) AS taken))
    RETURNING *)
SELECT STATEMENT_TIMESTAMP(),
    EXISTS (SELECT FROM notifier_attempt WHERE notification_id = row.id),
    EXISTS (SELECT FROM notifier_attachment WHERE notification_id = row.id)
        OR EXISTS (SELECT FROM notifier_transientattachment WHERE notification_id = row.id), {columns}
FROM claimed AS row LEFT JOIN notifier_recipient AS recipient ON recipient.id = row.recipient_id"""

_HELD = "row.claim_token = %s AND row.status = 'sending' AND row.acknowledged_at IS NULL"

_MARK = f"""UPDATE notifier_notification AS row SET handover_step = given.step
FROM unnest(%s::bigint[], %s::smallint[]) AS given (id, step)
WHERE row.id = given.id AND {_HELD} AND row.lease_until > STATEMENT_TIMESTAMP()
RETURNING row.id"""  # noqa: S608 - constants

_MOVE = """moved_{number} AS (UPDATE notifier_notification AS row SET {values}
    WHERE row.id = ANY(%s) AND {held} RETURNING row.id, row.organization_id, row.status)"""

_SETTLE = """WITH {moves}, moved AS ({together}),
told AS (INSERT INTO notifier_attempt ({columns})
    SELECT {columns} FROM unnest({arrays}) WITH ORDINALITY AS given ({columns}, position)
    WHERE notification_id IN (SELECT id FROM moved) ORDER BY position RETURNING notification_id),
changed AS (INSERT INTO notifier_event (organization_id, notification_id, status, at)
    SELECT organization_id, id, status, STATEMENT_TIMESTAMP() FROM moved
    WHERE status <> 'sending' AND (status <> 'queued' OR id IN (SELECT notification_id FROM told)))
SELECT id FROM moved"""


_KEYS = """SELECT {columns} FROM notifier_apikey AS key
JOIN notifier_organization AS organization ON organization.id = key.organization_id
WHERE key.prefix = %s AND key.revoked_at IS NULL
    AND (key.expires_at IS NULL OR key.expires_at > STATEMENT_TIMESTAMP())"""


def keys(prefix: str) -> list[ApiKey]:
    """The good keys that begin so, with their organizations. In Django's words it takes ten times as long: 0.6 ms of
    processor, as much as all the rest of a POST."""
    rows, organizations = _reader(ApiKey), _reader(Organization)
    statement = _KEYS.format(columns=f"{rows.columns('key')}, {organizations.columns('organization')}")
    found = []
    for values in prepared.fetch(statement, [prefix]):
        key = rows.read(list(values[: rows.width]))
        key.organization = organizations.read(list(values[rows.width :]))
        found.append(key)
    return found


class Claimed(NamedTuple):
    """A row that is ours now, with its recipient; and whether there are attempts and files of it."""

    now: datetime
    was_tried: bool
    has_files: bool
    row: Notification


def claim(
    token: UUID, *, limit: int, ids: Sequence[int] | None, lapsed: bool, ranks: Sequence[int], lease: timedelta
) -> list[Claimed]:
    """Take due rows of these ranks, in this order; before them, where asked for, those whose lease ran out."""
    among, only = ("", []) if ids is None else ("AND id = ANY(%s)", [list(ids)])
    parts = [_LAPSED.format(among=among)] if lapsed else []
    params = [token, lease, *([token, *only, limit] if lapsed else [])]
    for rank in ranks:
        parts.append(_DUE.format(rank=int(rank), among=among))
        params += [*only, limit]
    rows, people = _reader(Notification), _reader(Recipient)
    columns = f"{rows.columns('row')}, {people.columns('recipient')}"
    statement = _CLAIM.format(taken=" UNION ALL ".join(parts), columns=columns)
    claimed = []
    for now, was_tried, has_files, *values in prepared.fetch(statement, [*params, limit]):
        row = rows.read(values[: rows.width])
        row.recipient = people.read(values[rows.width :]) if row.recipient_id is not None else None
        claimed.append(Claimed(now, was_tried, has_files, row))
    return claimed


def mark(token: UUID, steps: Mapping[int, int]) -> set[int]:
    """Write the step (row -> step) that is about to be handed over. Returns the rows that are ours, and unacknowledged.

    Only this one column changes, which no index holds: PostgreSQL then writes the row within its page.
    """
    return {pk for (pk,) in prepared.fetch(_MARK, [list(steps), list(steps.values()), token])}


def settle(
    token: UUID, moves: Sequence[tuple[Mapping[str, Any], Sequence[int]]], attempts: Sequence[Attempt]
) -> set[int]:
    """Change the rows (columns and values, and whose they are) that are ours and unacknowledged, append their attempts
    and the events. Returns which they were; nothing is written for the others. A row that goes back to the queue as it
    came, without an attempt, is no event."""
    parts, params = [], []
    for number, (values, ids) in enumerate(moves):
        parts.append(_MOVE.format(number=number, values=", ".join(map(_assigned, values.items())), held=_HELD))
        params += [value for value in values.values() if value is not None and not isinstance(value, Now)]
        params += [list(ids), token]
    together = " UNION ALL ".join(f"SELECT * FROM moved_{number}" for number in range(len(parts)))  # noqa: S608
    columns = _reader(Attempt).names[1:]
    arrays = ", ".join(f"%s::{kind}[]" for kind in _reader(Attempt).types[1:])
    statement = _SETTLE.format(moves=", ".join(parts), together=together, columns=", ".join(columns), arrays=arrays)
    told = attrgetter(*columns)
    params += map(list, zip(*map(told, attempts), strict=True)) if attempts else [[] for _ in columns]
    # Where rows go many ways, hardly two batches have the same text.
    return {pk for (pk,) in prepared.fetch(statement, params, once=len(moves) > 1)}


def _assigned(assignment: tuple[str, Any]) -> str:
    name, value = assignment
    if value is None:
        return f"{name} = NULL"
    return f"{name} = STATEMENT_TIMESTAMP()" if isinstance(value, Now) else f"{name} = %s"


class _Reader:
    """Makes model instances of rows as the driver gives them."""

    def __init__(self, model: type[Model]) -> None:
        self.model = model
        fields = model._meta.concrete_fields
        self.width = len(fields)
        self.names = [str(field.column) for field in fields]
        self.types = [str(field.db_type(connection)).split("(")[0] for field in fields]
        self._attributes = [field.attname for field in fields]
        self._converters: list[tuple[int, Callable[..., Any]]] = [
            (at, converter) for at, field in enumerate(fields) for converter in field.get_db_converters(connection)
        ]

    def columns(self, alias: str) -> str:
        """For SELECT and RETURNING."""
        return ", ".join(f'{alias}."{name}"' for name in self.names)

    def read(self, values: list[Any]) -> Any:
        """The instance, as a query would give it; made as it is when it is unpickled, in a third of the time."""
        for at, converter in self._converters:
            if values[at] is not None:
                values[at] = converter(values[at], None, connection)
        instance = self.model.__new__(self.model)
        state = ModelState()
        state.adding, state.db = False, connection.alias
        instance.__dict__.update(zip(self._attributes, values, strict=True), _state=state)
        return instance


@cache
def _reader(model: type[Model]) -> _Reader:
    return _Reader(model)
