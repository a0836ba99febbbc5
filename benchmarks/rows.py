"""Many rows quickly: one that the program itself has stored is copied in SQL, so they are what it would have stored."""

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.servers import MIGRATED, Installation
from tests.servers.base import ServerError

NOTIFICATION, ATTEMPT = "notifier_notification", "notifier_attempt"
TEXT = "Hello,\n\nyour order is on its way and will be with you tomorrow.\nIts number is {tag}.\n\nYour shop\n"
"""What every message of the benchmarks says: a tag for the sink, otherwise plain and short, on all sides the same.
No line is so long that a mail library would encode it."""


def text_sql(tag: str) -> str:
    """TEXT as an SQL expression, with the tag from another one."""
    before, after = (part.replace("\n", "\\n") for part in TEXT.split("{tag}"))
    return f"E'{before}' || {tag} || E'{after}'"


def copy(cursor: Any, table: str, source: int, number: int, changed: Mapping[str, str]) -> None:
    """Store so many copies of a row; in `changed`, SQL expressions of `i`, which counts from 1, by column."""
    cursor.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND column_name <> 'id'", [table]
    )
    columns = [name for (name,) in cursor.fetchall()]
    values = ", ".join(changed.get(name, f'source."{name}"') for name in columns)
    names = ", ".join(f'"{name}"' for name in columns)
    cursor.execute(
        f'INSERT INTO "{table}" ({names}) SELECT {values} FROM "{table}" source, generate_series(1, %s) i'
        " WHERE source.id = %s ORDER BY i",
        [number, source],
    )


def seed(servers: Installation, database: str, **wanted: Any) -> int:
    """Store one notification through the service's own door and return its id."""
    environment = servers.environment(database, SMS_PROVIDER="http", SMS_HTTP_URL="http://127.0.0.1:9/")
    program = servers.program(environment, "-m", "benchmarks.seed", json.dumps(wanted))
    with program:
        if program.wait(60) != 0:
            raise ServerError(program.output)
    servers.forget_broker()
    return int(program.output.split()[-1])


def pending(
    servers: Installation,
    number: int,
    *,
    priority: str = "normal",
    channels: tuple[str, ...] = ("email",),
    template: str = MIGRATED,
    mark: str = "n",
) -> str:
    """A new database with so many notifications that are due; its name."""
    database = servers.database(template)
    add_pending(servers, database, number, priority=priority, channels=channels, mark=mark)
    return database


def add_pending(
    servers: Installation,
    database: str,
    number: int,
    *,
    priority: str = "normal",
    channels: tuple[str, ...] = ("email",),
    mark: str = "n",
) -> None:
    """So many due notifications, with the tags `bench-<mark>1` and so on, all of them there at the same moment."""
    source = seed(
        servers,
        database,
        to="seed@sink.test",
        message="seed",
        subject="Your order",
        channels=list(channels),
    )
    rank = {"low": 0, "normal": 1, "high": 2}[priority]
    phone = "'+1202555' || lpad(mod(i, 10000)::text, 4, '0')"
    address = f"jsonb_build_object('email', 'u' || i || '@sink.test', 'phone', {phone})"
    with servers.connection(database) as cursor:
        cursor.execute("BEGIN")
        copy(
            cursor,
            NOTIFICATION,
            source,
            number,
            {
                "key": "gen_random_uuid()",
                "to": address,
                "message": text_sql(f"'bench-{mark}' || i"),
                "priority": str(rank),
                "created_at": "now()",
                "due_at": "now()",
            },
        )
        cursor.execute(f'DELETE FROM "{NOTIFICATION}" WHERE id = %s', [source])
        cursor.execute("COMMIT")
        cursor.execute("VACUUM ANALYZE")


def left_open(cursor: Any) -> bool:
    """Whether some notification is not final yet.

    In the order of the ledger's own indexes: asked for any such row, PostgreSQL reads the whole history as soon as
    there is none, and that would count as the delivery's end.
    """
    cursor.execute(
        f"(SELECT id FROM \"{NOTIFICATION}\" WHERE status = 'sending' ORDER BY lease_until LIMIT 1) UNION ALL"
        f" (SELECT id FROM \"{NOTIFICATION}\" WHERE status IN ('queued', 'waiting')"
        " ORDER BY priority DESC, due_at LIMIT 1)"
    )
    return cursor.fetchone() is not None


def statuses(cursor: Any) -> dict[str, int]:
    """How many notifications have each status."""
    cursor.execute(f'SELECT status, count(*) FROM "{NOTIFICATION}" GROUP BY status')
    return dict(cursor.fetchall())


def add_users(cursor: Any, number: int) -> list[int]:
    """So many recipients of the default organization; their ids."""
    cursor.execute(
        'INSERT INTO "notifier_recipient" (organization_id, email, phone, telegram_chat_id, name, language, timezone,'
        " channels, created_at, updated_at)"
        " SELECT (SELECT min(id) FROM \"notifier_organization\"), 'u' || i || '@sink.test', '', '', '', '', '',"
        " '[]', now(), now() FROM generate_series(1, %s) i RETURNING id",
        [number],
    )
    return [row[0] for row in cursor.fetchall()]
