"""A bulk of 1,000 over HTTP, everything checked, against django-post_office's `send_many` inside the process."""

import time
from typing import Any

from benchmarks import load, peers, plots, rows, services
from benchmarks.load import Client
from benchmarks.report import Comparison, Goal
from benchmarks.rows import TEXT
from benchmarks.run import Benchmark, Option, Run, progress

OWN, SAME, PEER = "each its own text", "one text, user_ids", "send_many"


def measure(run: Run) -> None:
    """Our two forms and the peer's, in turn, each on a fresh database."""
    took: dict[str, list[list[float]]] = {OWN: [], SAME: [], PEER: []}
    run.in_turn(lambda _: ours(run, took), lambda _: the_peer(run, took))
    rates = {
        side: [run.options.size * len(seconds) / sum(seconds) for seconds in rounds] for side, rounds in took.items()
    }
    run.result.add(
        *(Comparison(side, "messages/s", rates[side], rates[PEER], PEER, Goal(3, 10)) for side in (OWN, SAME))
    )
    run.result.raw["seconds"] = took
    with plots.figure(run.plot, f"Accepting {run.options.size:,} messages at once, one client") as axes:
        plots.pair_of_bars(
            axes,
            run.result.comparisons,
            unit="messages per second",
            ours="Notifier, over HTTP",
            reference="django-post_office, send_many in process",
        )


def ours(run: Run, took: dict[str, list[list[float]]]) -> None:
    """Both forms, one after the other."""
    size, bulks = run.options.size, run.options.bulks
    database = run.servers.database()
    with run.servers.connection(database) as cursor:
        users = rows.add_users(cursor, size)
    with services.ours(run.servers, database) as port:
        took[OWN].append(post(port, [different(users, bulk) for bulk in range(bulks)], f"ours, {OWN}"))
        took[SAME].append(post(port, [same(users)] * bulks, f"ours, {SAME}"))
    with run.servers.connection(database) as cursor:
        stored = sum(rows.statuses(cursor).values())
    wanted = 2 * size * (bulks + 1)
    run.result.count(wanted, min(wanted, stored), max(0, stored - wanted))
    run.servers.drop(database)


def the_peer(run: Run, took: dict[str, list[list[float]]]) -> None:
    """The first batch does not count there, either."""
    size, bulks = run.options.size, run.options.bulks
    database = peers.migrated(run.servers)
    with progress(PEER, bulks) as tell:
        took[PEER].append(peers.send_many(run.servers, database, count=size, batches=bulks + 1)[1:])
        tell(bulks)
    run.servers.drop(database)


def different(users: list[int], bulk: int) -> bytes:
    """Everybody gets a text of his own."""
    wanted: list[dict[str, Any]] = [
        {"user_id": user, "subject": "Your order", "message": TEXT.format(tag=f"bench-b{bulk}x{number}")}
        for number, user in enumerate(users)
    ]
    return load.request("POST", "/api/notifications/bulk/", {"notifications": wanted})


def same(users: list[int]) -> bytes:
    """Everybody gets the same."""
    content = {"subject": "Your order", "message": TEXT.format(tag="bench-all")}
    return load.request("POST", "/api/notifications/bulk/", {**content, "user_ids": users})


def post(port: int, requests: list[bytes], what: str) -> list[float]:
    """Seconds for each; the first one, sent before them, does not count."""

    async def one_after_the_other() -> list[float]:
        client: Client = await load.connected(port)
        await client.ask(requests[0], 202)
        took = []
        with progress(what, len(requests)) as tell:
            for request in requests:
                asked = time.perf_counter()
                await client.ask(request, 202)
                took.append(time.perf_counter() - asked)
                tell(len(took))
        client.close()
        return took

    return load.run(one_after_the_other())


BENCHMARK = Benchmark(
    "bulk",
    "a bulk of 1,000 over HTTP against django-post_office's send_many in process",
    measure,
    (
        Option("size", 1000, 1000, "messages in each bulk"),
        Option("bulks", 20, 3, "in each run, one after the other"),
    ),
)
