"""What a long history costs: delivery, POST, the list and one user's latest with millions of finished notifications."""

from dataclasses import dataclass, field
from functools import partial
from statistics import median

from benchmarks import deliveries, history, load, plots, services
from benchmarks.figures.intake import body
from benchmarks.report import Comparison, Goal
from benchmarks.rows import NOTIFICATION, add_pending
from benchmarks.run import Benchmark, Option, Run, progress
from benchmarks.sinks import Sink

READERS = 4  # one alone would mostly measure how soon two processors wake each other up
RATE, TIME = Goal(0.9, 1.0), Goal(2.0, 1.2, at_most=True)


@dataclass
class Figures:
    """Of one size, a value a round. `page`, `latest`: milliseconds; the others a second."""

    delivery: list[float] = field(default_factory=list)
    post: list[float] = field(default_factory=list)
    page: list[float] = field(default_factory=list)
    latest: list[float] = field(default_factory=list)


NAMED = {"delivery": "delivery", "post": "POST", "page": "list page", "latest": "one user's latest"}


def measure(run: Run) -> None:
    """One database a size, side by side, so that the sizes can be measured in turn."""
    sizes = [0, *run.options.rows]
    databases = history.databases(run.servers, sizes)
    found = {size: Figures() for size in sizes}
    with Sink("smtp") as sink:

        def side(size: int, _: int) -> None:
            reads_and_posts(run, databases[size], found[size], shown(size))
            deliver(run, databases[size], sink, found[size], shown(size))

        run.in_turn(*[partial(side, size) for size in sizes])
    for size in sizes[1:]:
        for name, label in NAMED.items():
            is_rate = name in {"delivery", "post"}
            run.result.add(
                Comparison(
                    f"{label}, {shown(size)}",
                    "a second" if is_rate else "ms",
                    getattr(found[size], name),
                    getattr(found[0], name),
                    "empty",
                    RATE if is_rate else TIME,
                    digits=0 if is_rate else 2,
                )
            )
    run.result.notes.append(
        f"Empty: {history.PAGE * 2} finished rows, so that a page is full there, too. "
        f"The figure of a list is its median time with {READERS} clients."
    )
    run.result.raw = {str(size): vars(figures) for size, figures in found.items()}
    for database in databases.values():
        run.servers.drop(database)
    draw(run, found)


def shown(size: int) -> str:
    """As people say it."""
    return f"{size / 1_000_000:g} million" if size >= 1_000_000 else f"{size:,} rows"


def reads_and_posts(run: Run, database: str, figures: Figures, what: str) -> None:
    """Pages by a few clients, then POST by many; what those stored is removed: delivery has its own."""
    seconds = run.options.seconds
    with services.ours(run.servers, database) as port, progress(f"{what}: pages and POST", 3 * seconds, "s") as tell:
        user = history.first_user(run.servers, database)
        for number, (path, kept) in enumerate(
            (("/api/notifications/", figures.page), (f"/api/notifications/?user_id={user}", figures.latest))
        ):
            asked = load.request("GET", path)
            came = load.closed_loop(port, asked, clients=READERS, seconds=seconds, warm_up=0.5, expected=200)
            kept.append(median(came.latencies) * 1000)
            tell((number + 1) * seconds)
        came = load.closed_loop(
            port,
            lambda number: load.request("POST", "/api/notifications/", body(user, number)),
            clients=16,
            seconds=seconds,
            warm_up=1,
            expected=202,
        )
        figures.post.append(came.rate)
        tell(3 * seconds)
    with run.servers.connection(database) as cursor:
        cursor.execute(f"DELETE FROM \"{NOTIFICATION}\" WHERE status = 'queued'")
        cursor.execute(f'VACUUM "{NOTIFICATION}"')


def deliver(run: Run, database: str, sink: Sink, figures: Figures, what: str) -> None:
    """So many new ones, beside the finished ones."""
    number = run.options.messages
    add_pending(run.servers, database, number, mark="g")
    run.servers.postgres.query("CHECKPOINT", seconds=300)
    width = {"processes": run.options.processes, "connections": run.options.connections // run.options.processes}
    one = deliveries.ours(run.servers, database, sink, number, what=f"{what}: delivery", **width)
    figures.delivery.append(one.persisted_rate)
    deliveries.count(run, one, number)


def draw(run: Run, found: dict[int, Figures]) -> None:
    """Relative to the empty table: rates left, times right."""
    sizes = list(found)
    with plots.figure(run.plot, "A long history, relative to an empty table", columns=2, width=10) as (left, right):
        for axes, names, unit in (
            (left, ("delivery", "post"), "rate, relative to empty"),
            (right, ("page", "latest"), "time, relative to empty"),
        ):
            for name, colour in zip(names, (plots.OURS, plots.THIRD), strict=True):
                base = median(getattr(found[0], name))
                relative = [[value / base for value in getattr(found[size], name)] for size in sizes]
                middles = [median(values) for values in relative]
                reach = [
                    [middle - min(values) for middle, values in zip(middles, relative, strict=True)],
                    [max(values) - middle for middle, values in zip(middles, relative, strict=True)],
                ]
                axes.errorbar(
                    range(len(sizes)), middles, yerr=reach, color=colour, marker="o", capsize=4, label=NAMED[name]
                )
            axes.axhline(1, color=plots.REFERENCE, linewidth=1)
            axes.axhline(
                0.9 if axes is left else 2,
                color=plots.REFERENCE,
                linewidth=1,
                linestyle="--",
                label="at least" if axes is left else "at most",
            )
            axes.set_xticks(range(len(sizes)), ["empty", *map(shown, sizes[1:])])
            axes.set_xlabel("finished notifications in the table")
            axes.set_ylabel(unit)
            axes.set_ylim(0, max(axes.get_ylim()[1], 1.2))
            axes.margins(x=0.15)
            axes.legend(frameon=False, loc="lower left" if axes is left else "lower right")


BENCHMARK = Benchmark(
    "growth",
    "delivery, POST, list page and one user's latest with 1,000,000 and 5,000,000 finished rows, against none",
    measure,
    (
        Option("rows", (1_000_000, 5_000_000), (20_000,), "finished notifications, ascending"),
        Option("messages", 20_000, 1_500, "to deliver in each run"),
        Option("seconds", 5.0, 1.0, "of each kind of request in each run"),
        Option("connections", 20, 20, "in all workers together"),
        Option("processes", 2, 2, "workers"),
    ),
)
