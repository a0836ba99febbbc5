"""From ledger to sink, with the results persisted, against django-post_office.

Without a delay both sides have the number of connections that is best for them, with one the same."""

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
    options = run.options
    if not len(options.delays) == len(options.messages) == len(options.connections) == len(options.peer_connections):
        raise ServerError("--messages, --connections and --peer-connections need as many numbers as --delays")
    for which, (delay, number) in enumerate(zip(options.delays, options.messages, strict=True)):
        one_delay(run, delay, number, options.connections[which], options.peer_connections[which])
    used = "; ".join(
        f"{delay} ms: {ours} connections, the peer {peer}"
        for delay, ours, peer in zip(options.delays, options.connections, options.peer_connections, strict=True)
    )
    run.result.notes.append(
        f"{options.processes} processes on both sides. {used}. {PEER}: batches of 1,000, log level 0; without a delay "
        "more than 10 threads a process make it slower. Rate: messages between first and last acceptance at the "
        "sink; persisted: until the last status is written."
    )
    draw(run)


def one_delay(run: Run, delay: int, number: int, connections: int, peer_connections: int) -> None:
    """One row of the table for the rate, one for the rate until everything is written."""
    processes = run.options.processes
    width = {"processes": processes, "connections": connections // processes}
    peer_width = {"processes": processes, "connections": peer_connections // processes}
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
            peer.append(peers.deliver(run.servers, database, sink, number, what=f"{PEER}, {delay} ms", **peer_width))
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
    title = f"Delivery from ledger to sink, {run.options.processes} processes"
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
        Option("messages", (80_000, 30_000), (2_000, 2_000), "for each of the delays"),
        Option("connections", (100, 20), (100, 20), "ours, in all processes together, for each of the delays"),
        Option("peer-connections", (20, 20), (20, 20), "django-post_office's, its best without a delay"),
        Option("processes", 2, 2, "on both sides"),
    ),
)
