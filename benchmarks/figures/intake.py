"""A single POST with everything that is checked, against a plain Django view with one INSERT under the same server."""

from collections.abc import Callable
from typing import Any

from benchmarks import load, plots, services
from benchmarks.load import Load
from benchmarks.reference import tables
from benchmarks.report import Comparison, Goal
from benchmarks.rows import TEXT
from benchmarks.run import Benchmark, Option, Run, progress


def body(user: int, number: int) -> dict[str, Any]:
    """What every client posts."""
    return {"user_id": user, "subject": "Your order", "message": TEXT.format(tag=f"bench-p{number}")}


def post(run: Run, port: int, user: int, what: str) -> Load:
    """The clients at work."""
    options = run.options
    with progress(what, options.seconds + options.warm_up, "s") as tell:
        return load.closed_loop(
            port,
            lambda number: load.request("POST", "/api/notifications/", body(user, number)),
            clients=options.clients,
            seconds=options.seconds,
            warm_up=options.warm_up,
            expected=202,
            tell=tell,
        )


def measure(run: Run) -> None:
    """The two servers in turn, each on a fresh database; never both at once."""
    ours: list[Load] = []
    plain: list[Load] = []

    def one_of_ours(_: int) -> None:
        database = run.servers.database()
        with services.ours(run.servers, database, WEB_CONCURRENCY=run.options.processes) as port:
            ours.append(post(run, port, services.user(port), "ours"))
        stored(run, database, "notifier_notification", ours[-1])

    def one_plain(_: int) -> None:
        database = run.servers.database("template1")
        with run.servers.connection(database) as cursor:
            cursor.execute(tables.SQL)
        with services.plain(run.servers, database, run.options.processes) as port:
            plain.append(post(run, port, 1, "plain view"))
        stored(run, database, "message", plain[-1])

    run.in_turn(one_of_ours, one_plain)
    name = "plain view"
    milliseconds: Callable[[list[Load], float], list[float]] = lambda side, share: [  # noqa: E731
        one.percentile(share) * 1000 for one in side
    ]
    run.result.add(
        Comparison("POST", "requests/s", [o.rate for o in ours], [o.rate for o in plain], name, Goal(0.6, 0.8)),
        Comparison("p50", "ms", milliseconds(ours, 0.5), milliseconds(plain, 0.5), name, digits=1),
        Comparison("p99", "ms", milliseconds(ours, 0.99), milliseconds(plain, 0.99), name, digits=1),
    )
    run.result.raw = {
        "ours": [rounded(one) for one in ours],
        "plain": [rounded(one) for one in plain],
    }
    draw(run, ours, plain)


def rounded(load: Load) -> list[float]:
    """Milliseconds, for the JSON."""
    return [round(seconds * 1000, 2) for seconds in load.latencies]


def stored(run: Run, database: str, table: str, found: Load) -> None:
    """Every 202 is a row; then the database goes."""
    with run.servers.connection(database) as cursor:
        cursor.execute(f'SELECT count(*) FROM "{table}"')
        count = cursor.fetchone()[0]
    if table == "notifier_notification":
        run.result.count(found.accepted, min(count, found.accepted), max(0, count - found.accepted))
    run.servers.drop(database)


def draw(run: Run, ours: list[Load], plain: list[Load]) -> None:
    """Throughput, and the latencies' distribution."""
    title = f"POST /api/notifications/, {run.options.clients} clients, PostgreSQL, same server"
    with plots.figure(run.plot, title, columns=2, width=10) as (left, right):
        plots.pair_of_bars(
            left,
            run.result.comparisons[:1],
            unit="requests per second",
            ours="Notifier, all checks",
            reference="plain Django view, one INSERT",
        )
        plots.cumulative(right, "Notifier, all checks", [x * 1000 for one in ours for x in one.latencies], plots.OURS)
        plots.cumulative(right, "plain view", [x * 1000 for one in plain for x in one.latencies], plots.REFERENCE)
        plots.label_cumulative(right, "milliseconds until the answer")


BENCHMARK = Benchmark(
    "intake",
    "single POST with validation, 16 clients, against a plain Django view with one INSERT under the same server",
    measure,
    (
        Option("processes", 2, 2, "web processes, of either side: one a processor"),
        Option("clients", 16, 16, "keep-alive connections, each with one request at a time"),
        Option("seconds", 10.0, 3.0, "of each run"),
        Option("warm-up", 2.0, 1.0, "seconds before that which do not count"),
    ),
)
