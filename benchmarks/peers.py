"""django-post_office at its best: its rows, its processes."""

import json
from collections.abc import Mapping

from benchmarks.deliveries import Delivery, finish
from benchmarks.rows import copy, text_sql
from benchmarks.servers import Installation, running
from benchmarks.sinks import Sink
from tests.servers.base import ServerError

SETTINGS = "benchmarks.reference.outbox"
EMAIL = "post_office_email"
QUEUED = "status IN (2, 3)"


def environment(servers: Installation, database: str, sink_port: int = 9, threads: int = 10) -> Mapping[str, str]:
    """Its settings: batches of 1,000, so many threads with a connection each in every process."""
    return {
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "DATABASE_URL": servers.postgres.database_url(database),
        "SINK_PORT": str(sink_port),
        "THREADS": str(threads),
    }


def migrated(servers: Installation) -> str:
    """A new database with its tables."""
    name = servers.database("template1")
    program = servers.program(environment(servers, name), "-m", "django", "migrate", "--verbosity=0")
    with program:
        if program.wait(60) != 0:
            raise ServerError(program.output)
    return name


def pending(servers: Installation, number: int) -> str:
    """A new database with so many queued mails; its name."""
    database = migrated(servers)
    send_many(servers, database, count=1, batches=1)
    with servers.connection(database) as cursor:
        cursor.execute(f'SELECT id FROM "{EMAIL}"')
        source = cursor.fetchone()[0]
        cursor.execute("BEGIN")
        changed = {"to": "'u' || i || '@sink.test'", "message": text_sql("'bench-n' || i")}
        copy(cursor, EMAIL, source, number, changed)
        cursor.execute(f'DELETE FROM "{EMAIL}" WHERE id = %s', [source])
        cursor.execute("COMMIT")
        cursor.execute("VACUUM ANALYZE")
    return database


def send_many(servers: Installation, database: str, *, count: int, batches: int) -> list[float]:
    """Seconds that each `mail.send_many` of so many mails took, in process."""
    arguments = ("-m", "benchmarks.reference.send_many", str(count), str(batches))
    program = servers.program(environment(servers, database), *arguments)
    with program:
        if program.wait(120) != 0:
            raise ServerError(program.output)
    found: list[float] = json.loads(program.output.splitlines()[-1])
    return found


def deliver(
    servers: Installation, database: str, sink: Sink, number: int, *, processes: int, connections: int, what: str
) -> Delivery:
    """Its processes, each with so many threads, deliver what is queued in this database."""
    sink.reset()
    lock = servers.directory / f"{database}.lock"
    command = ("-m", "django", "send_queued_mail", "-p", str(processes), "--log-level=0", f"--lockfile={lock}")
    program = servers.program(environment(servers, database, sink.port, connections), *command)
    with servers.connection(database) as cursor:

        def written() -> bool:
            cursor.execute(f'SELECT EXISTS (SELECT 1 FROM "{EMAIL}" WHERE {QUEUED})')
            return not cursor.fetchone()[0]

        with running(program):
            delivery = finish(sink, number, written, what, program)
            program.wait(60)
        cursor.execute(f'SELECT count(*) FROM "{EMAIL}" WHERE status = 0')
        if cursor.fetchone()[0] != number:
            raise ServerError("django-post_office did not send everything")
    return delivery
