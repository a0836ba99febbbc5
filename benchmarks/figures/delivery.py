"""From ledger to sink, with the results persisted, against django-post_office with as many connections."""

from benchmarks import deliveries, peers, plots, rows
from benchmarks.deliveries import Delivery
from benchmarks.report import Comparison, Goal
from benchmarks.run import Benchmark, Option, Run
from benchmarks.sinks import Sink
from tests.servers.base import ServerError

PEER = "django-post_office"
GOALS = {0: Goal(3, 5), 5: Goal(2, 3)}


def measure(run: Run) -> None:
    """For each delay, the two sides in turn."""
    if len(run.options.delays) != len(run.options.messages):
        raise ServerError("--messages needs as many numbers as --delays")
    for delay, number in zip(run.options.delays, run.options.messages, strict=True):
        one_delay(run, delay, number)
    run.result.notes.append(
        f"{run.options.processes} processes with {run.options.connections // run.options.processes} connections each, "
        f"on both sides. {PEER}: batches of 1,000, log level 0. Rate: messages between the first and the last "
        "acceptance at the sink; persisted: until the last status is written."
    )
    draw(run)


def one_delay(run: Run, delay: int, number: int) -> None:
    """One row of the table for the rate, one for the rate until everything is written."""
    width = {"processes": run.options.processes, "connections": run.options.connections // run.options.processes}
    ours_full, peer_full = rows.pending(run.servers, number), peers.pending(run.servers, number)
    ours: list[Delivery] = []
    peer: list[Delivery] = []
    with Sink("smtp", delay_ms=delay) as sink:

        def one_of_ours(_: int) -> None:
            database = run.servers.database(ours_full)
            ours.append(deliveries.ours(run.servers, database, sink, number, what=f"ours, {delay} ms", **width))
            deliveries.count(run, ours[-1], number)
            run.servers.drop(database)

        def one_of_the_peer(_: int) -> None:
            database = run.servers.database(peer_full)
            peer.append(peers.deliver(run.servers, database, sink, number, what=f"{PEER}, {delay} ms", **width))
            run.servers.drop(database)

        run.in_turn(one_of_ours, one_of_the_peer)
    run.servers.drop(ours_full)
    run.servers.drop(peer_full)
    goal = GOALS.get(delay)
    run.result.add(
        Comparison(f"{delay} ms", "messages/s", rates(ours), rates(peer), goal=goal),
        Comparison(f"{delay} ms, persisted", "messages/s", persisted(ours), persisted(peer), goal=goal),
    )
    run.result.raw[f"{delay} ms"] = {"ours": [one.raw() for one in ours], PEER: [one.raw() for one in peer]}


def rates(side: list[Delivery]) -> list[float]:
    """At the sink."""
    return [one.rate for one in side]


def persisted(side: list[Delivery]) -> list[float]:
    """Until everything was written."""
    return [one.persisted_rate for one in side]


def draw(run: Run) -> None:
    """Bars."""
    title = f"Delivery from ledger to sink, {run.options.connections} connections in {run.options.processes} processes"
    with plots.figure(run.plot, title) as axes:
        plots.pair_of_bars(
            axes, run.result.comparisons, unit="messages per second", ours="Notifier", reference=f"{PEER}, best setting"
        )
        axes.set_xlabel("time the mail server takes for each message")


BENCHMARK = Benchmark(
    "delivery",
    "from ledger to sink, results persisted, against django-post_office's best setting",
    measure,
    (
        Option("delays", (0, 5), (0, 5), "milliseconds that the server takes for each message"),
        Option("messages", (30_000, 20_000), (2_000, 2_000), "for each of the delays"),
        Option("connections", 20, 20, "in all processes together, on both sides"),
        Option("processes", 2, 2, "on both sides"),
    ),
)
