"""A slow mail server and many connections: how much of what it could take does it get?"""

from benchmarks import deliveries, plots, rows
from benchmarks.deliveries import Delivery
from benchmarks.report import Comparison, Goal
from benchmarks.run import Benchmark, Option, Run
from benchmarks.sinks import Sink


def measure(run: Run) -> None:
    """The reference is arithmetic: each connection can carry a message every so many milliseconds."""
    options = run.options
    width = {"processes": options.processes, "connections": options.connections // options.processes}
    full = rows.pending(run.servers, options.messages)
    most = options.connections / (options.delay / 1000)
    found: list[Delivery] = []
    with Sink("smtp", delay_ms=options.delay) as sink:
        for _ in run.rounds():
            database = run.servers.database(full)
            one = deliveries.ours(run.servers, database, sink, options.messages, what=f"{options.delay} ms", **width)
            found.append(one)
            deliveries.count(run, one, options.messages)
            run.servers.drop(database)
    rates = [one.rate for one in found]
    run.result.add(
        Comparison(
            f"{options.delay} ms, {options.connections} connections",
            "messages/s",
            rates,
            [most],
            "= N/d",
            Goal(0.7, 0.9),
        ),
        Comparison("connections at the sink", "", [float(one.arrivals.peak_open) for one in found]),
    )
    run.result.raw["runs"] = [one.raw() for one in found]
    draw(run, found, most)


def draw(run: Run, found: list[Delivery], most: float) -> None:
    """What had arrived when, against the straight line of the ideal."""
    options = run.options
    title = f"{options.connections} connections to a server that takes {options.delay} ms a message"
    with plots.figure(run.plot, title) as axes:
        for number, one in enumerate(found, 1):
            seconds, arrived = zip(*one.timeline, strict=True)
            axes.plot(
                seconds,
                arrived,
                color=plots.OURS,
                alpha=0.5 + 0.5 / number,
                label=f"round {number}: {one.rate:,.0f} messages/s",
            )
        end = options.messages / most
        axes.plot(
            [0, end], [0, options.messages], color=plots.REFERENCE, linestyle="--", label=f"N/d: {most:,.0f} messages/s"
        )
        axes.set_xlabel("seconds since the first message")
        axes.set_ylabel("messages that the server has taken")
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.legend(frameon=False, loc="lower right")


BENCHMARK = Benchmark(
    "latency50",
    "50 ms a message, 100 connections: the share of what the mail server could take",
    measure,
    (
        Option("messages", 20_000, 2_000, "in each run"),
        Option("delay", 50, 50, "milliseconds that the server takes for each message"),
        Option("connections", 100, 100, "in all processes together"),
        Option("processes", 2, 2, "workers"),
    ),
)
