"""A worker with 50 connections while and after it delivers, against a Celery + Django process (threads) after work."""

import time
from dataclasses import asdict
from typing import Any

from benchmarks import plots, rows
from benchmarks.memory import Sample, Sampler, slope
from benchmarks.reference import tables
from benchmarks.report import Comparison, Goal
from benchmarks.rows import left_open, text_sql
from benchmarks.run import Benchmark, Option, Run, progress
from benchmarks.servers import running, watching
from benchmarks.sinks import Sink
from tests.servers.base import wait_until
from tests.servers.processes import ProjectProcess

REST_SECONDS = 3.0


def measure(run: Run) -> None:
    """In turn; each process is new in every round."""
    ours: list[list[Sample]] = []
    reference: list[list[Sample]] = []
    full = rows.pending(run.servers, run.options.messages)
    with Sink("smtp", delay_ms=run.options.delay) as sink:
        run.in_turn(
            lambda _: ours.append(one_of_ours(run, sink, full)), lambda _: reference.append(one_reference(run, sink))
        )
    half = run.options.messages / 2
    later = [[one for one in samples if half <= one.done < run.options.messages] for samples in ours]
    name = "Celery + Django"
    run.result.add(
        Comparison(
            "PSS after work",
            "MiB",
            [after(one) for one in ours],
            [after(one) for one in reference],
            name,
            Goal(1.25, 1.1, at_most=True),
            digits=1,
        ),
        Comparison("highest PSS", "MiB", [peak(one) for one in ours], [peak(one) for one in reference], name, digits=1),
        Comparison("slope in the second half", "MiB/10,000", [slope(one) for one in later], digits=2),
    )
    run.result.notes.append(
        f"Ours: one worker, {run.options.connections} connections, {run.options.messages:,} messages. "
        f"Reference: a threads pool of 16, {run.options.reference_messages:,} messages by Django's mail backend."
    )
    run.result.raw = {"ours": raw(ours), "reference": raw(reference)}
    draw(run, ours, reference)


def after(samples: list[Sample]) -> float:
    """MiB at the end, when it is at rest."""
    return samples[-1].pss


def peak(samples: list[Sample]) -> float:
    """The most MiB."""
    return max(one.pss for one in samples)


def raw(side: list[list[Sample]]) -> list[list[dict[str, Any]]]:
    """For the JSON."""
    return [[asdict(one) for one in samples] for samples in side]


def watched(process: ProjectProcess, sink: Sink, number: int, what: str) -> list[Sample]:
    """Samples of a running process until so many messages have arrived, and some seconds longer."""
    done = [0]
    with Sampler(process.pid, lambda: done[0]) as sampler, progress(what, number) as tell:

        def both(count: float) -> None:
            done[0] = int(count)
            tell(count)

        sink.wait_for(number, 900, watching(both, process), idle=60)
        time.sleep(REST_SECONDS)
    return sampler.samples


def one_of_ours(run: Run, sink: Sink, full: str) -> list[Sample]:
    """A worker of ours delivers what is in a copy of that database."""
    number = run.options.messages
    database = run.servers.database(full)
    run.servers.forget_broker()
    sink.reset()
    settings = {"SMTP_PORT": sink.port, "SMTP_CONNECTIONS": run.options.connections}
    (worker,) = run.servers.workers(run.servers.environment(database, **settings), 1)
    with running(worker):
        samples = watched(worker, sink, number, "ours")
        with run.servers.connection(database) as cursor:
            wait_until(lambda: not left_open(cursor), 60, "every status is written")
    arrivals = sink.arrivals()
    run.result.count(number, arrivals.distinct, arrivals.doubles)
    run.servers.drop(database)
    return samples


def one_reference(run: Run, sink: Sink) -> list[Sample]:
    """The minimal project's worker sends what was queued for it."""
    number = run.options.reference_messages
    database = run.servers.database("template1")
    run.servers.forget_broker()
    sink.reset()
    with run.servers.connection(database) as cursor:
        text = text_sql("'bench-m' || i")
        cursor.execute(tables.SQL)
        cursor.execute(
            "INSERT INTO message (person_id, subject, text, status)"
            f" SELECT 1, 'Your order', {text}, 'queued' FROM generate_series(1, {number}) i"
        )
    settings = {
        "DATABASE_URL": run.servers.postgres.database_url(database),
        "REDIS_URL": run.servers.redis.url,
        "SINK_PORT": str(sink.port),
        "DJANGO_SETTINGS_MODULE": "benchmarks.reference.mailer",
    }
    with run.servers.program(settings, "-m", "benchmarks.reference.mailer", str(number)) as queue:
        queue.wait(120)
    worker = run.servers.program(settings, "-m", "celery", "-A", "benchmarks.reference.mailer", "worker")
    with running(worker):
        samples = watched(worker, sink, number, "Celery + Django")
    run.servers.drop(database)
    return samples


def draw(run: Run, ours: list[list[Sample]], reference: list[list[Sample]]) -> None:
    """PSS over the messages done and over time."""
    title = f"Memory of a worker with {run.options.connections} connections"
    with plots.figure(run.plot, title, columns=2, width=10) as (left, right):
        for side, colour, name in (
            (ours, plots.OURS, f"Notifier, {run.options.connections} connections"),
            (reference, plots.REFERENCE, "Celery + Django, 16 threads"),
        ):
            for number, samples in enumerate(side):
                label = name if number == 0 else None
                left.plot([one.done for one in samples], [one.pss for one in samples], color=colour, label=label)
                right.plot([one.seconds for one in samples], [one.pss for one in samples], color=colour, label=label)
        left.set_xlabel("messages delivered")
        right.set_xlabel("seconds since the start of the process")
        for axes in (left, right):
            axes.set_ylabel("PSS, MiB")
            axes.set_ylim(bottom=0)
            axes.legend(frameon=False, loc="lower right")


BENCHMARK = Benchmark(
    "memory",
    "memory of a worker with 50 connections while and after it delivers, against a Celery + Django process",
    measure,
    (
        Option("messages", 20_000, 3_000, "that our worker delivers in each run"),
        Option("connections", 50, 50, "of our worker"),
        Option("reference-messages", 3_000, 300, "that the reference sends in each run"),
        Option("delay", 5, 5, "milliseconds that the server takes for each message, so that all connections are used"),
    ),
)
