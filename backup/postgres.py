"""PostgreSQL as a source: one snapshot, in which the rows are counted and which `pg_dump` reads."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone
from psycopg2.extensions import make_dsn

from backup.errors import BusyError
from backup.facts import Facts, left_empty
from backup.programs import Program, Stop, environment, find

_ONE_AT_A_TIME = 0x6E6F7469666965
"""The number of the advisory lock: one backup of a database, whatever machine makes it."""

_KNOWS_TRANSACTION_TIMEOUT = 17

_TABLES = """SELECT schema.nspname, named.relname FROM pg_class AS named
JOIN pg_namespace AS schema ON schema.oid = named.relnamespace
WHERE named.relkind IN ('r', 'p') AND NOT named.relispartition AND named.relpersistence <> 't'
    AND schema.nspname <> 'information_schema' AND schema.nspname NOT LIKE 'pg\\_%'
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = named.oid AND deptype = 'e')
ORDER BY 1, 2"""


class PostgresSource:
    """The database at one moment. A context manager; BusyError where another backup of it is being made."""

    def __init__(self, *, deadline: float, stop: Stop) -> None:
        self._deadline, self._stop = deadline, stop

    def __enter__(self) -> Self:
        # A connection of its own: its transaction lasts as long as the dump, and its end ends the lock.
        self._connection: BaseDatabaseWrapper = connection.copy()
        try:
            self._begin()
        except BaseException:
            self._connection.close()
            raise
        return self

    def _begin(self) -> None:
        self._run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # LOCAL, and nothing at the start of the connection: PgBouncer takes that too.
        self._run(f"SET LOCAL statement_timeout = {max(1, round(self._left() * 1000))}")
        self._run("SET LOCAL idle_in_transaction_session_timeout = 0")
        self._run("SET LOCAL tcp_keepalives_idle = 30")  # a machine that is gone holds the lock for a minute or two
        if not self._run("SELECT pg_try_advisory_xact_lock(%s)", [_ONE_AT_A_TIME])[0][0]:
            raise BusyError
        [[self._snapshot, number, self._server]] = self._run(
            "SELECT pg_export_snapshot(), current_setting('server_version_num')::int, current_setting('server_version')"
        )
        self._major = number // 10000
        self._program, self._tool = find("pg_dump", self._major)

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def facts(self) -> Facts:
        """Of the snapshot."""
        made_at = timezone.now().isoformat(timespec="seconds")
        tables, migrations = census(self._run, left_empty())
        return Facts("postgresql", self._server, f"pg_dump {self._tool}", made_at, tables, migrations)

    def sql(self) -> Iterator[bytes]:
        """The snapshot as SQL."""
        dsn, secrets = address(self._connection)
        left_out = [f"--exclude-table-data=public.{name}" for name in sorted(left_empty())]
        command = [
            *(str(self._program), "--format=plain", "--no-owner", "--no-privileges", "--no-password"),
            *(f"--snapshot={self._snapshot}", *left_out, f"--dbname={dsn}"),
        ]
        with Program(command, environment(**secrets), deadline=self._deadline, stop=self._stop) as program:
            output = program.output()
            yield from output if self._major >= _KNOWS_TRANSACTION_TIMEOUT else for_older(output)

    def _run(self, statement: str, params: Any = None) -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, params)
            return list(cursor.fetchall()) if cursor.description else []

    def _left(self) -> float:
        return self._deadline - time.monotonic()


def for_older(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same without a setting that a newer pg_dump writes whatever the server: an older one would not restore it."""
    head = b""
    for piece in pieces:
        head += piece
        if b"\nSET client_encoding" in head:
            break
    yield head.replace(b"\nSET transaction_timeout = 0;", b"", 1)
    yield from pieces


def census(run: Any, empty: set[str]) -> tuple[dict[str, int], list[str]]:
    """Rows by table, none of the `empty` ones, and the migrations that were applied; `run` asks the database."""
    tables, migrations = {}, []
    for schema, name in run(_TABLES):
        known = name if schema == "public" else f"{schema}.{name}"
        if known in empty:
            tables[known] = 0
            continue
        tables[known] = run(f"SELECT count(*) FROM {quoted(schema)}.{quoted(name)}")[0][0]  # noqa: S608
        if known == "django_migrations":
            migrations = [".".join(row) for row in run("SELECT app, name FROM django_migrations ORDER BY id")]
    return tables, migrations


def quoted(name: str) -> str:
    """As a name in a statement."""
    return '"' + name.replace('"', '""') + '"'


def address(wrapper: BaseDatabaseWrapper, **changed: str) -> tuple[str, Mapping[str, str]]:
    """How PostgreSQL's programs reach this database: for the command line, and for the environment the secret."""
    params: dict[str, Any] = {**wrapper.get_connection_params(), **changed}
    for name in (
        "cursor_factory",
        "client_encoding",
        "options",
        "sslpassword",
    ):  # Django's; programs set their own limits
        params.pop(name, None)
    password = params.pop("password", "")
    dsn = make_dsn(**{name: value for name, value in params.items() if value is not None})
    return dsn, {"PGPASSWORD": str(password)} if password else {}
