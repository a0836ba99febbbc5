"""A backup of a large database needs no more memory than that of a small one; and how long it and its proof take."""

import sqlite3
import time
from pathlib import Path

from benchmarks import plots
from benchmarks.memory import Sample, Sampler
from benchmarks.report import Comparison, Goal
from benchmarks.run import Benchmark, Option, Run
from benchmarks.servers import Installation
from tests.servers.processes import ProjectProcess, manage

KILOBYTE_ROWS = 1000
"""Rows of a kilobyte in a megabyte."""
COMMANDS = {"backup": ("backup_database", "--no-mail"), "proof": ("verify_backup",)}

Measured = dict[tuple[str, int, str], list[list[Sample]]]
"""Samples of each repetition."""


def measure(run: Run) -> None:
    """Small and large, of each database, in turn."""
    measured: Measured = {}
    sizes = (run.options.small, run.options.large)
    for name, fill in (("PostgreSQL", _postgres), ("SQLite", _sqlite)):
        made = {size: fill(run.servers, size) for size in sizes}
        for _ in run.rounds():
            for size in sizes:
                for command in COMMANDS:
                    measured.setdefault((name, size, command), []).append(_watched(run.servers, command, made[size]))
        _compare(run, measured, name)
        for settings in made.values():
            _forget(run.servers, settings)
    run.result.notes.append(
        f"{run.options.small} and {run.options.large} MB of rows of a kilobyte; PSS of the command and of "
        "PostgreSQL's program under it."
    )
    _draw(run, measured)


def _compare(run: Run, measured: Measured, name: str) -> None:
    small, large, goal = run.options.small, run.options.large, Goal(1.25, 1.1, at_most=True)
    for command in COMMANDS:
        ours, theirs = ([max(one.pss for one in round_) for round_ in measured[name, size, command]]
                        for size in (large, small))  # fmt: skip
        seconds = [round_[-1].seconds for round_ in measured[name, large, command]]
        run.result.add(
            Comparison(f"{name}: highest PSS, {command}", "MiB", ours, theirs, f"{small} MB", goal),
            Comparison(f"{name}: {command} of {large} MB", "s", seconds, digits=1),
        )


def _watched(servers: Installation, command: str, settings: dict[str, str]) -> list[Sample]:
    """Samples of the command, until it has ended well."""
    process = ProjectProcess(command, ("manage.py", *COMMANDS[command]), settings, servers.directory)
    begun = time.monotonic()
    with process, Sampler(process.pid, lambda: 0, every=0.05) as sampler:
        code = process.wait(7200)
    if code != 0:
        raise RuntimeError(process.output)
    return [*sampler.samples, Sample(time.monotonic() - begun, 0, 0.0, 0.0)]


def _settings(servers: Installation, url: str) -> dict[str, str]:
    directory = servers.directory / f"backups-{url.rpartition('/')[2]}"
    return {
        **servers.environment(""), "DATABASE_URL": url, "LOCAL_BACKUP_DIR": str(directory), "DB_BACKUP_TIMEOUT": "3600",
    }  # fmt: skip


def _postgres(servers: Installation, megabytes: int) -> dict[str, str]:
    database = servers.database()
    with servers.connection(database) as cursor:
        cursor.execute(
            "INSERT INTO django_session (session_key, session_data, expire_date) SELECT md5(i::text) || (i % 256), "
            "repeat(md5(i::text) || md5(random()::text) || md5(random()::text) || ' and some words, ', 8), now() "
            f"FROM generate_series(1, {megabytes * KILOBYTE_ROWS}) i"
        )
    return _settings(servers, servers.postgres.database_url(database))


def _sqlite(servers: Installation, megabytes: int) -> dict[str, str]:
    path = servers.directory / f"{megabytes}.sqlite3"
    settings = _settings(servers, f"sqlite:///{path}")
    manage("migrate", "--verbosity", "0", environment=settings)
    database = sqlite3.connect(path)
    database.execute(
        "WITH RECURSIVE number (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < ?) "
        "INSERT INTO django_session (session_key, session_data, expire_date) SELECT 'key' || i, "
        "replace(hex(zeroblob(4)), '00', hex(randomblob(48)) || ' and some words, ' || hex(randomblob(48))), "
        "'2027-01-01' FROM number",
        [megabytes * KILOBYTE_ROWS],
    )
    database.commit()
    database.close()
    return settings


def _forget(servers: Installation, settings: dict[str, str]) -> None:
    name = settings["DATABASE_URL"].rpartition("/")[2]
    if settings["DATABASE_URL"].startswith("sqlite"):
        (servers.directory / name).unlink()
    else:
        servers.drop(name)
    for left in Path(settings["LOCAL_BACKUP_DIR"]).iterdir():
        left.unlink()


def _draw(run: Run, measured: Measured) -> None:
    """PSS over time."""
    with plots.figure(run.plot, "Memory of a backup", columns=2, width=10) as sides:
        for axes, command in zip(sides, COMMANDS, strict=True):
            for name, colour in (("PostgreSQL", plots.OURS), ("SQLite", plots.REFERENCE)):
                for size, style in ((run.options.small, ":"), (run.options.large, "-")):
                    samples = measured[name, size, command][0][:-1]
                    label = f"{name}, {size} MB"
                    points = [one.seconds for one in samples], [one.pss for one in samples]
                    axes.plot(*points, color=colour, linestyle=style, label=label)
            axes.set_title(command)
            axes.set_xlabel("seconds")
            axes.set_ylabel("PSS, MiB")
            axes.set_ylim(bottom=0)
            axes.legend(frameon=False, loc="lower right")


BENCHMARK = Benchmark(
    "backup",
    "memory and time of a backup and of its proof, of a small and of a large database",
    measure,
    (
        Option("small", 10, 2, "megabytes of rows"),
        Option("large", 1000, 20, "megabytes of rows"),
    ),
)
