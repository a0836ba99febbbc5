"""How long a message of high priority takes, from the POST to the mail server, while a flood of low ones is sent."""

import asyncio
import time

from benchmarks import load, plots, rows, services
from benchmarks.report import Comparison, Goal
from benchmarks.run import Benchmark, Option, Run, progress
from benchmarks.servers import running, watching
from benchmarks.sinks import Sink
from tests.servers.base import ServerError, wait_until

CLIENTS = 8
WARM_UP = 10


def measure(run: Run) -> None:
    """The idle service and the flooded one in turn."""
    idle: list[list[float]] = []
    busy: list[list[float]] = []
    full = rows.pending(run.servers, run.options.low, priority="low", mark="low")
    with Sink("smtp", delay_ms=run.options.delay) as sink:
        run.in_turn(
            lambda number: idle.append(latencies(run, sink, run.servers.database(), f"idle{number}", 0)),
            lambda number: busy.append(
                latencies(run, sink, run.servers.database(full), f"busy{number}", run.options.low)
            ),
        )
    p95 = Goal(1.0, 0.2, at_most=True)
    run.result.add(
        Comparison("p95 under low ones", "s", [share(one, 0.95) for one in busy], goal=p95, digits=3),
        Comparison(
            "p95", "s", [share(one, 0.95) for one in busy], [share(one, 0.95) for one in idle], "idle", digits=3
        ),
        Comparison("p50", "s", [share(one, 0.5) for one in busy], [share(one, 0.5) for one in idle], "idle", digits=3),
        Comparison("longest", "s", [max(one) for one in busy], [max(one) for one in idle], "idle", digits=3),
    )
    run.result.raw = {"idle": idle, "busy": busy}
    title = f"High priority, from POST to mail server, while {run.options.low:,} low ones are sent"
    with plots.figure(run.plot, title) as axes:
        plots.cumulative(axes, "idle", [x * 1000 for one in idle for x in one], plots.REFERENCE)
        plots.cumulative(axes, "among low ones", [x * 1000 for one in busy for x in one], plots.OURS)
        axes.axvline(1000, color=plots.FAINT, linestyle="--")
        axes.axvline(200, color=plots.FAINT, linestyle=":")
        plots.label_cumulative(axes, "milliseconds (dotted: 200, dashed: 1,000)")


def share(values: list[float], of: float) -> float:
    """The value that this share does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(of * len(ordered)))]


def latencies(run: Run, sink: Sink, database: str, mark: str, low: int) -> list[float]:
    """Seconds for each high one, from the moment at which its POST was due."""
    settings = {"SMTP_PORT": sink.port, "SMTP_CONNECTIONS": run.options.connections // run.options.processes}
    environment = run.servers.environment(database, **settings)
    workers = run.servers.workers(environment, run.options.processes)
    number = run.options.samples
    sink.reset()
    with services.ours(run.servers, database, **settings) as port, running(*workers):
        if low:
            wait_until(lambda: sink.arrivals().accepted > min(500, low / 10), 60, "the low ones are being sent")
        else:
            run.servers.wait_for_listeners(run.options.processes)
            load.run(flow(port, "warm", WARM_UP, 0.2))
            wait_until(lambda: sink.arrivals().accepted >= WARM_UP, 60, "the service is warm")
        with progress(f"{number} high ones, {'busy' if low else 'idle'}", number) as tell:
            due = load.run(flow(port, mark, number, run.options.every / 1000, tell))
            before = sink.arrivals().accepted
            if low and before >= low + number:
                raise ServerError("the low ones were over too soon: more of them (--low), or fewer samples")
        warm = 0 if low else WARM_UP
        with progress("all of them", low + number + warm) as tell:
            sink.wait_for(low + number + warm, 900, watching(tell, *workers))
    arrivals, moments = sink.arrivals(), sink.moments()
    run.result.count(low + number, arrivals.distinct - warm, arrivals.doubles)
    run.servers.drop(database)
    return [moments[tag] - moment for tag, moment in due.items()]


async def flow(port: int, mark: str, number: int, every: float, tell: object = None) -> dict[str, float]:
    """POST one every so many seconds, whether the one before is answered or not; when each was due, by tag."""
    free: asyncio.Queue[load.Client] = asyncio.Queue()
    for _ in range(CLIENTS):
        free.put_nowait(await load.connected(port))
    due: dict[str, float] = {}

    async def post(tag: str) -> None:
        client = await free.get()
        body = {
            "to": {"email": "high@sink.test"},
            "subject": "Your order",
            "message": rows.TEXT.format(tag=tag),
            "channels": ["email"],
            "priority": "high",
        }
        await client.ask(load.request("POST", "/api/notifications/", body), 202)
        free.put_nowait(client)

    begin = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for count in range(number):
            tag = f"bench-{mark}x{count}"
            due[tag] = begin + count * every
            await asyncio.sleep(max(0.0, due[tag] - time.monotonic()))
            tasks.create_task(post(tag))
            if callable(tell):
                tell(count + 1)
    while not free.empty():
        free.get_nowait().close()
    return due


BENCHMARK = Benchmark(
    "priority",
    "a high-priority message, from POST to mail server, while 100,000 low ones are being sent",
    measure,
    (
        Option("low", 100_000, 5_000, "messages of low priority that wait"),
        Option("samples", 100, 20, "messages of high priority in each run"),
        Option("every", 50, 50, "milliseconds between two of them"),
        Option("delay", 0, 0, "milliseconds that the mail server takes for each message"),
        Option("connections", 20, 20, "in all workers together"),
        Option("processes", 2, 2, "workers"),
    ),
)
