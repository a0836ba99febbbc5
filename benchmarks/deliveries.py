"""One delivery: the rows are there, then the workers start; how fast the sink gets them, when all is written down."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.rows import left_open, statuses
from benchmarks.run import Run, progress
from benchmarks.servers import Installation, running, watching
from benchmarks.sinks import Arrivals, Sink
from tests.servers.base import ServerError, wait_until
from tests.servers.processes import ProjectProcess


@dataclass(frozen=True)
class Delivery:
    """`rate`: between the first and the last acceptance. `persisted_rate`: until the last status was written."""

    rate: float
    persisted_rate: float
    arrivals: Arrivals
    timeline: list[tuple[float, int]]

    def raw(self) -> dict[str, Any]:
        """For the JSON."""
        return asdict(self)


def timeline(sink: Sink, step: float = 0.1) -> list[tuple[float, int]]:
    """How many had arrived, every so many seconds after the first."""
    moments = sorted(sink.moments().values())
    points: list[tuple[float, int]] = []
    for number, moment in enumerate(moments, 1):
        second = round((moment - moments[0]) // step * step + step, 3)
        if points and points[-1][0] == second:
            points[-1] = (second, number)
        else:
            points.append((second, number))
    return points


def finish(sink: Sink, number: int, written: Callable[[], bool], what: str, *processes: ProjectProcess) -> Delivery:
    """Wait until all have arrived and are written down."""
    with progress(what, number) as tell:
        arrivals = sink.wait_for(number, seconds=900, tell=watching(tell, *processes), idle=60)
    wait_until(written, 60, "every status is written")
    persisted = max(time.monotonic(), arrivals.last)
    span = persisted - arrivals.first
    return Delivery(arrivals.rate, number / span if span else 0.0, arrivals, timeline(sink))


def ours(
    servers: Installation, database: str, sink: Sink, number: int, *, processes: int, connections: int, what: str
) -> Delivery:
    """Our workers, each with so many connections, deliver what is due in this database."""
    servers.forget_broker()
    sink.reset()
    settings = {"SMTP_PORT": sink.port, "SMTP_CONNECTIONS": connections}
    workers = servers.workers(servers.environment(database, **settings), processes)
    with servers.connection(database) as cursor, running(*workers):
        delivery = finish(sink, number, lambda: not left_open(cursor), what, *workers)
        found = statuses(cursor)
    delivery = replace(delivery, arrivals=sink.arrivals())  # again, after the workers' end: a double may come late
    if set(found) != {"sent"}:
        raise ServerError(f"not everything was sent: {found}")
    return delivery


def count(run: Run, delivery: Delivery, number: int) -> None:
    """A healthy run: nothing lost, nothing double."""
    run.result.count(number, delivery.arrivals.distinct, delivery.arrivals.doubles)
