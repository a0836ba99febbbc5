"""Simulated, not measured: what 1 to 400 workers get out of one PostgreSQL, and what stops them first.

What the statements cost is measured at the beginning, on a real PostgreSQL in the same run; the simulation
(`benchmarks/simulation.py` says what it leaves out) is checked against small real deliveries of 1 and 2 workers.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import psutil

from benchmarks import plots, rows, simulation
from benchmarks.report import Comparison
from benchmarks.rows import left_open
from benchmarks.run import Benchmark, Option, Run
from benchmarks.servers import running
from benchmarks.simulation import Cost, Costs, Outcome, Setting, simulate
from benchmarks.sinks import Sink
from tests.servers.base import ServerError, wait_until

CHECK_TRIP = 0.0003  # seconds of a statement outside of processors, on one machine
IDLE = 4.0  # seconds for which an idle worker is watched: it looks every two
GROUP = 32  # rows of a statement, on average, while one worker sends as fast as it can
FULL = 0.95  # a part that is busy for this share of the time is a wall

CLIENTS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)


@dataclass(frozen=True)
class Watched:
    """A small real delivery. `worker`: processor seconds of the workers for a message; `clients`: database connections;
    `left`: the share of the machine that nobody else used, the sink neither; `besides`, `poll`: as in `Costs`."""

    rate: float
    worker: float
    besides: float
    left: float
    clients: int
    poll: float


def measure(run: Run) -> None:
    """Costs, check, simulation."""
    found = statements(run)
    number = run.options.check
    full = rows.pending(run.servers, number)
    alone = deliver(run, full, 1, 0)
    costs = costs_of(found, alone)
    check(run, full, costs, alone)
    grid = simulated(run, costs)
    table(run, grid, costs, alone)
    run.result.notes += notes(run, grid, found, costs, alone)
    run.result.raw = {
        "costs": asdict(costs),
        "found": found,
        "watched": asdict(alone),
        "simulated": [{"setting": asdict(setting), "outcome": asdict(outcome)} for setting, outcome in grid],
    }
    draw(run, grid, costs)


# --- Measured --------------------------------------------------------------------------------------------------------
def statements(run: Run) -> dict[str, Any]:
    """What the ledger's statements cost, measured by a program of its own with our settings."""
    database = rows.pending(run.servers, simulation.ROWS)
    program = run.servers.program(run.servers.environment(database), "-m", "benchmarks.simulation")
    with program:
        if program.wait(120) != 0:
            raise ServerError(f"the costs could not be measured (Linux only): {program.output}")
    run.servers.drop(database)
    measured: dict[str, Any] = json.loads(program.output.splitlines()[-1])
    return measured


def costs_of(found: dict[str, Any], alone: Watched) -> Costs:
    """From both measurements. What the worker spends on statements is not counted again for the message."""
    database = {name: Cost(**cost) for name, cost in found["database"].items()}
    worker = {name: Cost(**cost) for name, cost in found["worker"].items()}
    message = max(1e-6, alone.worker - sum(cost.of(GROUP) / GROUP for cost in worker.values()))
    return Costs(database, worker, message, found["passed"], alone.poll, alone.besides)


def deliver(run: Run, full: str, workers: int, delay: int) -> Watched:
    """Watch so many real workers deliver, and then do nothing for a moment."""
    database, number = run.servers.database(full), run.options.check
    run.servers.forget_broker()
    with Sink("smtp", delay_ms=delay) as sink, run.servers.connection(database) as cursor:
        settings = {"SMTP_PORT": sink.port, "SMTP_CONNECTIONS": run.options.connections}
        processes = run.servers.workers(run.servers.environment(database, **settings), workers)
        with running(*processes):
            wait_until(lambda: sink.arrivals().accepted > number / 20, 60, "the messages are being sent")
            pids = [process.pid for process in processes]
            began, before = sink.arrivals().accepted, _Usage(run, cursor, pids)
            arrivals = sink.wait_for(number, 120)
            wait_until(lambda: not left_open(cursor), 60, "every status is written")
            used = _Usage(run, cursor, pids).since(before)
            time.sleep(0.5)
            idle = _Usage(run, cursor, pids)
            time.sleep(IDLE if workers == 1 else 0)
            poll = _Usage(run, cursor, pids).since(idle).clients
        arrivals = sink.arrivals()
    run.servers.drop(database)
    run.result.count(number, arrivals.distinct, arrivals.doubles)
    done = max(1, number - began)
    besides = max(0.0, used.server / used.clients - 1) if used.clients else 0.0
    return Watched(arrivals.rate, used.workers / done, besides, used.left, len(idle.each), poll / IDLE)


@dataclass(frozen=True)
class _Used:
    """Processor seconds of the workers, the database and its clients' processes; `left`: as in `Watched`."""

    workers: float
    server: float
    clients: float
    left: float


class _Usage:
    """How much of the processors everybody has used up to now."""

    def __init__(self, run: Run, cursor: Any, pids: Sequence[int]) -> None:
        cursor.execute(CLIENTS)
        self.each = {pid: simulation.processor_seconds(pid) for (pid,) in cursor.fetchall()}
        self.workers = sum(_tree(pid) for pid in pids)
        self.server = _tree(run.servers.postgres.pid)
        times = psutil.cpu_times()
        self.idle = times.idle + getattr(times, "iowait", 0.0)
        self.at = time.monotonic()

    def since(self, before: "_Usage") -> _Used:
        """Between the two."""
        workers, server = self.workers - before.workers, self.server - before.server
        clients = sum(used - before.each.get(pid, 0.0) for pid, used in self.each.items())
        most = (self.at - before.at) * (os.cpu_count() or 1)
        left = min(1.0, (self.idle - before.idle + workers + server) / most)
        return _Used(workers, server, clients, max(0.1, left))


def _tree(pid: int) -> float:
    """A process, its children and those that have ended."""
    top = psutil.Process(pid)
    used = 0.0
    for process in (top, *top.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system
    ended = top.cpu_times()
    return float(used + ended.children_user + ended.children_system)


def check(run: Run, full: str, costs: Costs, alone: Watched) -> None:
    """The simulation of what was really run, beside it."""
    delay = run.options.check_delay
    given = dict(zip((1, 2), run.options.measured, strict=False))
    cases = [(1, 0, alone)] if not any(given.values()) else []
    for workers in (1, 2):
        known = given.get(workers, 0.0)
        cases.append((workers, delay, replace(alone, rate=known) if known else deliver(run, full, workers, delay)))
    for workers, milliseconds, real in cases:
        cores = os.cpu_count() or 1
        first = Setting(workers, run.options.connections, milliseconds / 1000, cores, CHECK_TRIP, urgent=1)
        setting = replace(first, shared=True)
        outcome = simulate(setting, costs, seconds=10, messages=run.options.check * 4, seed=run.options.seed)
        what = f"check: {workers} real worker{'s' if workers > 1 else ''}, {milliseconds} ms"
        named = f"measured; others used {1 - real.left:.0%} of the processors"
        run.result.add(Comparison(what, "messages/s", [outcome.rate], [real.rate], named))


# --- Simulated -------------------------------------------------------------------------------------------------------
def simulated(run: Run, costs: Costs) -> list[tuple[Setting, Outcome]]:
    """Every number of workers with every delay; then with one delay without a bell, and with the provider's limit."""
    options = run.options
    first = Setting(1, options.connections, options.delays[0] / 1000, options.cores, options.trip / 1000)
    settings = [
        replace(first, workers=workers, delay=delay / 1000) for delay in options.delays for workers in options.workers
    ]
    middle = replace(first, delay=options.delays[len(options.delays) // 2] / 1000)
    settings += [replace(middle, workers=workers, bell=False) for workers in options.workers]
    if options.limit:
        settings += [replace(middle, workers=workers, limit=options.limit) for workers in options.workers]
    return [
        (one, simulate(one, costs, seconds=options.seconds, messages=options.messages, seed=options.seed))
        for one in settings
    ]


def ladder(grid: Sequence[tuple[Setting, Outcome]], **wanted: Any) -> list[tuple[Setting, Outcome]]:
    """Those with these settings, by the number of workers; with a bell and without a limit, unless wanted."""
    wanted = {"bell": True, "limit": 0.0, **wanted}
    return [one for one in grid if all(getattr(one[0], name) == value for name, value in wanted.items())]


def table(run: Run, grid: Sequence[tuple[Setting, Outcome]], costs: Costs, alone: Watched) -> None:
    """Rows for the report: of a few numbers of workers; the plot and the JSON have all."""
    shown = [number for number in run.options.workers if number in {1, 10, 100, max(run.options.workers)}]
    for setting, outcome in grid:
        if not setting.bell or setting.workers not in shown:
            continue
        what = f"{setting.workers} × {setting.connections} connections, {setting.delay * 1000:.0f} ms"
        what += f", limit {setting.limit:,.0f}/s" if setting.limit else ""
        named = f"{outcome.wall} {outcome.busy[outcome.wall]:.0%}"
        run.result.add(Comparison(what, "messages/s", [outcome.rate], named=named))
    middle = run.options.delays[len(run.options.delays) // 2] / 1000
    cases: list[tuple[str, dict[str, Any]]] = [("with the bell", {}), ("no bell", {"bell": False})]
    if run.options.limit:
        cases.append((f"limit {run.options.limit}/s", {"limit": run.options.limit}))
    for name, case in cases:
        for setting, outcome in ladder(grid, delay=middle, **case):
            if setting.workers in shown:
                what = f"p95 of high priority, {setting.workers} workers, {name}"
                run.result.add(Comparison(what, "ms", [outcome.p95 * 1000]))
    for workers in shown:
        load = 100 * workers * costs.poll * (1 + costs.besides) / run.options.cores
        run.result.add(Comparison(f"idle looks of {workers} workers", "% of cores", [load], digits=2))
    run.result.add(Comparison("database connections of a worker", "", [float(alone.clients)]))


def notes(
    run: Run, grid: Sequence[tuple[Setting, Outcome]], found: dict[str, Any], costs: Costs, alone: Watched
) -> list[str]:
    """The costs, and where each ladder ends."""
    lines = [
        f"{name}: database {1e6 * cost.once:.0f} + {1e6 * cost.row:.1f} µs a row, worker "
        f"{1e6 * costs.worker[name].once:.0f} + {1e6 * costs.worker[name].row:.1f} µs a row"
        for name, cost in costs.database.items()
    ]
    lines.append(
        f"worker besides: {1e6 * costs.message:.0f} µs a message. A row locked by another: "
        f"{1e6 * costs.passed:.2f} µs; a dead one behind an open snapshot: {1e6 * found['dead']:.2f} µs; a purged one: "
        f"{1e6 * found['purge']:.0f} µs. Write-ahead log: {found['log']:,.0f} octets a message, "
        f"on disk {found['size']:,.0f}; {found['hot']:.0%} of the marks stayed within their page. An idle worker: "
        f"{1e3 * costs.poll:.2f} ms of the database a second. The server's other processes: +{costs.besides:.0%}."
    )
    for delay in run.options.delays:
        ends = [one for one in ladder(grid, delay=delay / 1000) if one[1].busy["database"] >= FULL]
        where = f"full with {ends[0][0].workers} workers" if ends else "never full"
        best = max(outcome.rate for _, outcome in ladder(grid, delay=delay / 1000))
        lines.append(f"{delay} ms: at most {best:,.0f} messages/s; the database's {run.options.cores} cores: {where}.")
    most = (run.options.max_connections - 3) // max(1, alone.clients)
    lines.append(
        f"max_connections = {run.options.max_connections} is used up by {most} workers without any web process."
    )
    return lines


# --- Drawn -----------------------------------------------------------------------------------------------------------
def draw(run: Run, grid: Sequence[tuple[Setting, Outcome]], costs: Costs) -> None:
    """Throughput, waits, idle looks."""
    options = run.options
    title = f"Simulated: one PostgreSQL with {options.cores} cores, workers with {options.connections} connections"
    with plots.figure(run.plot, title, columns=3, width=14.0, height=4.8) as (left, middle, right):
        draw_rates(run, grid, left)
        delay = options.delays[len(options.delays) // 2] / 1000
        for bell, name, colour in ((True, "with the bell", plots.OURS), (False, "broker lost", plots.THIRD)):
            steps = ladder(grid, delay=delay, bell=bell)
            waits = [outcome.p95 * 1000 for _, outcome in steps]
            middle.plot([one.workers for one, _ in steps], waits, "o-", color=colour, label=name)
        middle.set_title(f"wait of high priority under a backlog, p95, {delay * 1000:.0f} ms", fontsize=10)
        middle.set_ylabel("milliseconds until a connection takes it")
        middle.set_ylim(bottom=0)
        loads = [100 * number * costs.poll * (1 + costs.besides) / options.cores for number in options.workers]
        right.plot(options.workers, loads, "o-", color=plots.OURS, label="looks of idle workers")
        right.set_title("nothing to do", fontsize=10)
        right.set_ylabel("% of the database's cores")
        right.set_ylim(bottom=0)
        for axes in (left, middle, right):
            axes.set_xscale("log")
            axes.set_xticks(options.workers, [str(number) for number in options.workers])
            axes.minorticks_off()
            axes.set_xlabel("workers")
            axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def draw_rates(run: Run, grid: Sequence[tuple[Setting, Outcome]], axes: Any) -> None:
    """A line for each delay, beside what so many connections could carry."""
    colours = [plots.OURS, plots.THIRD, plots.INK, plots.REFERENCE]
    for number, delay in enumerate(run.options.delays):
        steps = ladder(grid, delay=delay / 1000)
        colour = colours[number % len(colours)]
        workers = [one.workers for one, _ in steps]
        axes.plot(workers, [one.rate for _, one in steps], "o-", color=colour, label=f"{delay} ms a message")
        if delay:
            ideal = [one.workers * one.connections / one.delay for one, _ in steps]
            axes.plot(workers, ideal, ":", color=colour, linewidth=1)
    if run.options.limit:
        axes.axhline(run.options.limit, color=plots.REFERENCE, linestyle="--", label="the provider's limit")
    axes.set_yscale("log")
    axes.set_ylim(top=3 * max(outcome.rate for _, outcome in grid))
    axes.set_title("messages per second (dotted: connections / delay)", fontsize=10)


BENCHMARK = Benchmark(
    "scaling",
    "simulated: 1 to 400 workers at one PostgreSQL, from costs measured here",
    measure,
    (
        Option("workers", (1, 2, 5, 10, 20, 50, 100, 200, 400), (1, 10, 100), "numbers of workers"),
        Option("delays", (5, 50, 200), (5, 50), "milliseconds that the provider takes for each message"),
        Option("connections", 16, 16, "of each worker to the provider"),
        Option("limit", 500, 500, "messages a second that the provider takes of all together (0: any)"),
        Option("cores", 8, 8, "of the database server"),
        Option("trip", 1.0, 1.0, "milliseconds of a statement in the network and at the disk"),
        Option("max-connections", 100, 100, "of the database server"),
        Option("seconds", 10.0, 4.0, "simulated at most, of each case"),
        Option("messages", 40_000, 10_000, "simulated at most, of each case"),
        Option("seed", 1, 1, "the same seed gives the same simulation from the same costs"),
        Option("check", 5_000, 2_000, "messages of each real delivery that the simulation is checked against"),
        Option("check-delay", 20, 20, "milliseconds a message in the check of 1 and 2 workers"),
        Option("measured", (0.0, 0.0), (0.0, 0.0), "messages/s of 1 and of 2 workers in that check; 0: measured here"),
    ),
)
