"""Statements that PostgreSQL plans once for many times."""

from collections.abc import Iterator

import pytest
from django.db import connection

from notifier import prepared

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's own"),
]
STATEMENT = "SELECT id FROM grown WHERE id = ANY(ARRAY(SELECT id FROM grown WHERE id = %s))"


@pytest.fixture
def grown() -> Iterator[None]:
    """A table that is empty, and known to be."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE grown (id bigint PRIMARY KEY)")
        cursor.execute("VACUUM ANALYZE grown")
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE grown")
    connection.close()


def plan() -> str:
    """What PostgreSQL does for the only statement that it keeps."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements")
        ((name,),) = cursor.fetchall()
        cursor.execute(f"EXPLAIN EXECUTE {name} (1)")
        return "\n".join(line for (line,) in cursor.fetchall())


def test_a_plan_for_an_empty_table_is_not_kept_when_it_has_grown(grown: None) -> None:
    for _ in range(10):  # the plan for all values comes with the sixth
        assert prepared.fetch(STATEMENT, [1]) == []
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO grown SELECT generate_series(1, 20000)")
    assert prepared.fetch(STATEMENT, [1]) == [(1,)]
    assert "Seq Scan" in plan(), "else this proves nothing"
    for _ in range(prepared.RUNS):
        assert prepared.fetch(STATEMENT, [1]) == [(1,)]
    assert "Seq Scan" not in plan()
