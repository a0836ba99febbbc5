"""Databases with a long history: finished notifications with attempts, copies of one that was really delivered."""

from typing import Any

from benchmarks import rows
from benchmarks.rows import ATTEMPT, NOTIFICATION, copy
from benchmarks.run import progress
from benchmarks.servers import Installation, running
from benchmarks.sinks import Sink
from tests.servers.base import wait_until

PAGE = 20
USERS = 1000
CHUNK = 100_000


def databases(servers: Installation, sizes: list[int]) -> dict[int, str]:
    """One for each size, ascending, each begun as a copy of the one before. 0: two users have a full page each."""
    found: dict[int, str] = {}
    name = base(servers)
    with servers.connection(name) as cursor:
        add_finished(cursor, 2 * PAGE, users=2)
        settle(cursor)
    found[sizes[0]] = name
    there = 0
    for size in sizes[1:]:
        name = servers.database(name)
        with servers.connection(name) as cursor, progress(f"{size:,} finished rows", size) as tell:
            while there < size:
                number = min(CHUNK, size - there)
                add_finished(cursor, number, users=USERS)
                there += number
                tell(there)
            settle(cursor)
        found[size] = name
    return found


def base(servers: Installation) -> str:
    """A database with the users, and one notification that a worker has delivered."""
    name = servers.database()
    with servers.connection(name) as cursor:
        rows.add_users(cursor, USERS)
    rows.seed(servers, name, to="seed@sink.test", message=rows.TEXT.format(tag="bench-seed"), channels=["email"])
    with Sink("smtp") as sink, servers.connection(name) as cursor:
        environment = servers.environment(name, SMTP_PORT=sink.port)
        with running(*servers.workers(environment, 1)):
            wait_until(lambda: rows.statuses(cursor) == {"sent": 1}, 60, "the first notification is sent")
    return name


def first_user(servers: Installation, database: str) -> int:
    """One of the two who have a full page in every database."""
    with servers.connection(database) as cursor:
        cursor.execute("SELECT min(id) FROM notifier_recipient")
        return int(cursor.fetchone()[0])


def add_finished(cursor: Any, number: int, *, users: int) -> None:
    """So many more, spread over so many users, each with its attempt."""
    cursor.execute("SET session_replication_role = replica")  # no look-up of foreign keys: they are copies of good ones
    cursor.execute(f'SELECT min(id), max(id) FROM "{NOTIFICATION}"')
    source, last = cursor.fetchone()
    copy(
        cursor,
        NOTIFICATION,
        source,
        number,
        {
            "key": "gen_random_uuid()",
            "to": "NULL",
            "recipient_id": f"(SELECT min(id) FROM notifier_recipient) + mod(i, {users})",
        },
    )
    cursor.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
        " AND column_name NOT IN ('id', 'notification_id')",
        [ATTEMPT],
    )
    values = {name: f'a."{name}"' for (name,) in cursor.fetchall()}
    values["provider_id"] = "replace(n.key::text, '-', '') || '@sink.test'"  # the Message-ID of each
    cursor.execute(
        f'INSERT INTO "{ATTEMPT}" (notification_id, {", ".join(values)}) SELECT n.id, {", ".join(values.values())}'
        f' FROM "{NOTIFICATION}" n, "{ATTEMPT}" a WHERE n.id > %s AND a.notification_id = %s ORDER BY n.id',
        [last, source],
    )
    cursor.execute("SET session_replication_role = origin")


def settle(cursor: Any) -> None:
    """What autovacuum and the checkpointer would have done in the meantime."""
    cursor.execute("VACUUM ANALYZE")
    cursor.execute("CHECKPOINT")
