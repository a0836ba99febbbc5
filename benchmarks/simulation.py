"""Many workers at one ledger, simulated event by event from the costs of their statements; the same seed, the same run.

A worker does what `notifier/dispatcher.py` does: it marks and hands over as many messages as its connections take and a
few more, settles together what came back together, claims when half of what it wants at hand is gone, and looks five
times a second for something more urgent. Each statement occupies a core of the database for its constant and its rows,
then waits for network and disk; each message occupies the worker's own core, then one of its connections for the
provider's time. Everything that is due stands in the table from the beginning.

What it leaves out, all of it to the disadvantage of real services: failures, retries and callbacks; POSTs and lists on
the same database; autovacuum, checkpoints and the growth of tables; waits for locks and for the end of the write-ahead
log; that disk and network get slower when they are busy; that a provider who is asked for too much refuses, instead of
making us wait; opening connections. It also leaves out what helps: cores that share a statement's work. Costs are those
of one connection at a time, on the machine where they were measured.

As a program (`python -m benchmarks.simulation`) it measures those costs on the database of the settings.
"""

import heapq
import json
import os
import random
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import django

Resume = Callable[[], None]
Wait = Callable[[Resume], None]
"""What a course of events waits for: it is given what to call when that is over."""

Course = Generator[Wait, None, None]

LOOK, GATHER, AHEAD, BEHIND = 0.2, 0.01, 0.05, 0.03  # as in the dispatcher
LEAST, MOST = 64, 500
POLL = 2.0  # seconds between the looks of a worker, as in `work.py`
BELL = 0.01  # seconds from a commit to the worker that hears of it
SPAN = 2.0  # seconds that are simulated at least, so that there are enough urgent messages
CHUNK = 8  # messages that are composed before the first of them leaves


# --- Costs -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Cost:
    """Seconds of processor: of a statement, and of each of its rows."""

    once: float
    row: float

    def of(self, rows: float) -> float:
        """With so many rows."""
        return self.once + self.row * rows


@dataclass(frozen=True)
class Costs:
    """In seconds. `database`: of its processors, by statement; `worker`: of the worker's, for the same statements.

    `message`: the worker's, for all else that a message needs. `passed`: the database's, for each row that a claim
    finds locked by another. `poll`: the database's, for one idle worker, a second. `besides`: how much the database's
    other processes use for each second of those that serve clients.
    """

    database: dict[str, Cost]
    worker: dict[str, Cost]
    message: float
    passed: float
    poll: float
    besides: float


@dataclass(frozen=True)
class Setting:
    """One service. `delay`: seconds that the provider takes for a message; `limit`: the most that it takes a second of
    all workers together, 0 for any; `trip`: seconds that a statement spends in the network and at the disk; `cores`:
    the database's; `shared`: they are the workers' too; `urgent`: messages of high priority a second.
    """

    workers: int
    connections: int
    delay: float
    cores: int
    trip: float
    limit: float = 0.0
    shared: bool = False
    urgent: float = 20.0
    bell: bool = True


@dataclass(frozen=True)
class Outcome:
    """`busy`: which share of their time the parts were at work, by name; `waits`: seconds of each urgent message, from
    its commit until a connection took it; `claims`: statements a second."""

    rate: float
    busy: dict[str, float]
    waits: list[float]
    claims: float

    @property
    def wall(self) -> str:
        """What is busiest."""
        return max(self.busy, key=lambda name: self.busy[name])

    @property
    def p95(self) -> float:
        """The wait that 19 of 20 urgent messages do not exceed, in seconds."""
        ordered = sorted(self.waits)
        return ordered[int(0.95 * (len(ordered) - 1))] if ordered else 0.0


# --- Time and what works in it ---------------------------------------------------------------------------------------
class Clock:
    """Does everything at its time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Resume]] = []
        self._order = count()

    def after(self, seconds: float, do: Resume) -> None:
        """Do this so much later."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), do))

    def pause(self, seconds: float) -> Wait:
        """Let so much time pass."""
        return lambda resume: self.after(seconds, resume)

    def begin(self, course: Course) -> None:
        """Let it run from now on."""

        def step() -> None:
            wait = next(course, None)
            if wait is not None:
                wait(step)

        step()

    def run(self, done: Callable[[], bool]) -> None:
        """Until that is true, or nothing happens any more."""
        while self._events and not done():
            self.now, _, do = heapq.heappop(self._events)
            do()


class Cores:
    """So many of them; who finds them busy waits in line. `below`: what they are threads of."""

    def __init__(self, clock: Clock, number: int, *, below: "Cores | None" = None) -> None:
        self._clock, self._number, self._below = clock, number, below
        self._line: deque[tuple[float, Resume]] = deque()
        self.running = 0
        self.spent = 0.0

    def work(self, seconds: float) -> Wait:
        """Be at work for so long."""

        def begin(resume: Resume) -> None:
            self._line.append((seconds, resume))
            self._next()

        return begin

    def _next(self) -> None:
        while self._line and self.running < self._number:
            seconds, resume = self._line.popleft()
            self.running += 1
            self.spent += seconds

            def end(resume: Resume = resume) -> None:
                self.running -= 1
                resume()
                self._next()

            if self._below is None:
                self._clock.after(seconds, end)
            else:
                self._below.work(seconds)(end)


# --- The service -----------------------------------------------------------------------------------------------------
class Service:
    """The ledger, the provider and all workers."""

    def __init__(self, setting: Setting, costs: Costs, seed: int) -> None:
        self.setting, self.costs, self.clock = setting, costs, Clock()
        self.random = random.Random(seed)  # noqa: S311 - a simulation
        self.database = Cores(self.clock, setting.cores)
        self.claiming = 0
        self.urgent: deque[float] = deque()
        self.waits: list[float] = []
        self.sent = self.claims = 0
        self.provider_free = 0.0
        self.workers = [Worker(self) for _ in range(setting.workers)]

    def statement(self, name: str, rows: float) -> Course:
        """One of them, from its begin to its answer."""
        seconds = self.costs.database[name].of(rows)
        if name == "claim":
            self.claims += 1
            # Those that run at the same time have locked half of their rows on average.
            seconds += self.costs.passed * self.claiming * LEAST / 2
            self.claiming += 1
        yield self.database.work(seconds * (1 + self.costs.besides))
        if name == "claim":
            self.claiming -= 1
        yield self.clock.pause(self.setting.trip)

    def posts(self) -> Course:
        """Urgent messages are stored, one at a time, and rung for."""
        while True:
            yield self.clock.pause(self.random.expovariate(self.setting.urgent))
            self.urgent.append(self.clock.now)
            if self.setting.bell:
                self.clock.after(BELL, self.random.choice(self.workers).hear)

    def polls(self) -> Course:
        """What a worker asks by itself, busy or not."""
        yield self.clock.pause(self.random.uniform(0, POLL))
        while True:
            yield self.database.work(self.costs.poll * POLL)
            yield self.clock.pause(POLL)


class Worker:
    """One process: a dispatcher, and a thread in which all mail leaves, on one core."""

    def __init__(self, service: Service) -> None:
        self._service, self._clock = service, service.clock
        shared = service.database if service.setting.shared else None
        self.core = Cores(self._clock, 1, below=shared)
        self._free = service.setting.connections
        self._line: deque[float | None] = deque()  # composed: when it was posted, None where it is not urgent
        self.held = 0.0  # seconds for which connections were taken
        self._at_hand = self._flying = self._landed = 0
        self._urgent: deque[float] = deque()
        self._since, self._counted, self._pace = 0.0, 0, 0.0
        self._next_look = self._next_refill = 0.0
        self._resume: Resume | None = None
        self._patience = self._turn = 0

    def hear(self) -> None:
        """The bell: look at once."""
        self._next_look = self._next_refill = 0.0
        self._wake()

    def life(self) -> Course:
        """From now on."""
        yield self._clock.pause(self._service.random.uniform(0, LOOK))
        while True:
            yield from self._hand_over()
            if self._landed:
                number, self._landed = self._landed, 0
                self._count(number)
                yield from self._write("settle", number)
            yield from self._hand_over()
            if not (yield from self._claim()):
                yield from self._land()

    def _hand_over(self) -> Course:
        width = self._service.setting.connections
        behind = min(8 * width, round(self._pace * BEHIND))
        number = min(self._at_hand, width + behind - self._flying)
        if number <= 0:
            return
        self._at_hand -= number
        self._flying += number
        yield from self._write("mark", number)
        while number > 0:
            chunk = min(CHUNK, number)
            number -= chunk
            posted = [self._urgent.popleft() for _ in range(min(chunk, len(self._urgent)))]
            self.core.work(chunk * self._service.costs.message)(partial(self._leave, chunk, posted))

    def _write(self, name: str, rows: int) -> Course:
        yield self.core.work(self._service.costs.worker[name].of(rows))
        yield from self._service.statement(name, rows)

    def _leave(self, number: int, posted: Sequence[float]) -> None:
        """Composed: they line up for a connection, the urgent ones among them first."""
        self._line.extend(posted)
        self._line.extend([None] * (number - len(posted)))
        self._send()

    def _send(self) -> None:
        service, now = self._service, self._clock.now
        while self._line and self._free:
            posted = self._line.popleft()
            self._free -= 1
            begin = now
            if service.setting.limit:
                begin = max(now, service.provider_free)
                service.provider_free = begin + 1 / service.setting.limit
            if posted is not None:
                service.waits.append(begin - posted)
            taken = begin - now + service.setting.delay
            self.held += taken
            self._clock.after(taken, self._came_back)

    def _came_back(self) -> None:
        self._free += 1
        self._flying -= 1
        self._landed += 1
        self._service.sent += 1
        self._send()
        if self._landed >= self._patience:
            self._wake()

    def _wake(self) -> None:
        resume, self._resume = self._resume, None
        if resume is not None:
            resume()

    def _wait(self, seconds: float, enough: int) -> Wait:
        """For so many answers, for so long."""

        def begin(resume: Resume) -> None:
            self._turn += 1
            turn = self._turn
            self._patience, self._resume = enough, resume
            self._clock.after(seconds, lambda: self._wake() if self._turn == turn else None)

        return begin

    def _land(self) -> Course:
        if not self._landed:
            yield self._wait(LOOK, 1)
        enough = max(1, (self._flying + self._landed) // 2)
        if 0 < self._landed < enough:
            yield self._wait(GATHER, enough)

    def _count(self, number: int) -> None:
        self._counted += number
        elapsed = self._clock.now - self._since
        if elapsed >= AHEAD:
            self._pace, self._since, self._counted = self._counted / elapsed, self._clock.now, 0

    def _claim(self) -> Generator[Wait, None, bool]:
        now, service = self._clock.now, self._service
        at_most = min(MOST, max(LEAST, round(self._pace * AHEAD)))
        room = at_most - self._at_hand
        refill = not (self._at_hand + self._flying) or (2 * room >= at_most and now >= self._next_refill)
        if not refill and now < self._next_look:
            return False
        taken = [service.urgent.popleft() for _ in range(min(len(service.urgent), room if refill else LEAST))]
        number = room if refill else len(taken)
        self._next_look = now + LOOK
        yield self.core.work(service.costs.worker["claim"].of(number))
        yield from service.statement("claim", number)
        self._urgent.extend(taken)
        self._at_hand += number
        return bool(number)


def simulate(setting: Setting, costs: Costs, *, seconds: float, messages: int, seed: int) -> Outcome:
    """After a beginning that does not count, until so many messages were sent or so much time is over."""
    service = Service(setting, costs, seed)
    for worker in service.workers:
        service.clock.begin(worker.life())
        service.clock.begin(service.polls())
    service.clock.begin(service.posts())
    warm = min(1.0, seconds / 3)
    service.clock.run(lambda: service.clock.now >= warm)
    before = _spent(service)
    began, sent, claims, waits = service.clock.now, service.sent, service.claims, len(service.waits)
    enough = min(seconds, warm + SPAN)
    service.clock.run(
        lambda: service.clock.now >= seconds or (service.sent - sent >= messages and service.clock.now >= enough)
    )
    span = max(service.clock.now - began, 1e-9)
    workers = setting.workers
    most = {"database": setting.cores, "worker": workers, "connections": workers * setting.connections}
    busy = {name: min(1.0, (after - before[name]) / span / most[name]) for name, after in _spent(service).items()}
    rate = (service.sent - sent) / span
    if setting.limit:
        busy["provider"] = min(1.0, rate / setting.limit)
        busy["connections"] = 0.0 if busy["provider"] > 0.9 else busy["connections"]
    return Outcome(rate, busy, service.waits[waits:], (service.claims - claims) / span)


def _spent(service: Service) -> dict[str, float]:
    return {
        "database": service.database.spent,
        "worker": sum(worker.core.spent for worker in service.workers),
        "connections": sum(worker.held for worker in service.workers),
    }


# --- Measuring the costs ---------------------------------------------------------------------------------------------
SIZES, ROUNDS = (8, 64, 250), 10
LOCKED, DEAD = 500, 10_000
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
SIZE = """SELECT (pg_total_relation_size('notifier_notification') + pg_total_relation_size('notifier_attempt'))
    / count(*) FROM notifier_notification"""
ROWS = ROUNDS * sum(SIZES) + DEAD + 2000
"""How many due rows the measurement needs."""


def processor_seconds(pid: int) -> float:
    """What this process has used of a processor so far, as Linux counts it, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def fit(samples: Sequence[tuple[int, float]]) -> Cost:
    """The line through (rows, seconds): medians by size, each as far off as its share of the value allows."""
    sizes = sorted({size for size, _ in samples})
    points = [(size, median(seconds for other, seconds in samples if other == size)) for size in sizes]
    weights = [1 / seconds**2 for _, seconds in points]
    total = sum(weights)
    x = sum(w * size for w, (size, _) in zip(weights, points, strict=True)) / total
    y = sum(w * seconds for w, (_, seconds) in zip(weights, points, strict=True)) / total
    across = sum(w * (size - x) * (seconds - y) for w, (size, seconds) in zip(weights, points, strict=True))
    row = across / sum(w * (size - x) ** 2 for w, (size, _) in zip(weights, points, strict=True))
    return Cost(max(0.0, y - row * x), row)


class Measurement:
    """Claims, marks and settles due rows through the ledger, and notes what that costs both sides."""

    def __init__(self) -> None:
        from django.db import connection  # noqa: PLC0415 - Django has to be set up first

        from notifier import erasure, ledger  # noqa: PLC0415
        from notifier.chain import Finish  # noqa: PLC0415
        from notifier.models import Attempt  # noqa: PLC0415
        from notifier.states import Outcome, Status  # noqa: PLC0415

        self._connection, self._ledger, self._erasure = connection, ledger, erasure
        self._sent = Finish(Status.SENT)
        self._attempt: Callable[[int, Any], Any] = lambda pk, now: Attempt(
            notification_id=pk, step=0, round=0, channel="email", outcome=Outcome.ACCEPTED, account="default",
            provider_id=f"<{pk}@bench.test>", started_at=now,
        )  # fmt: skip
        self._pid = int(self._ask("SELECT pg_backend_pid()"))
        self.database: dict[str, list[tuple[int, float]]] = {}
        self.worker: dict[str, list[tuple[int, float]]] = {}

    def _ask(self, sql: str, connection: Any = None) -> Any:
        with (connection or self._connection).cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0] if cursor.description else None

    def timed(self, name: str, rows: int, do: Callable[[], Any]) -> Any:
        """Do it, and note it under this name."""
        database, worker = processor_seconds(self._pid), time.thread_time()
        done = do()
        worker = time.thread_time() - worker
        time.sleep(0.001)  # the server tidies up after its answer
        self.database.setdefault(name, []).append((rows, processor_seconds(self._pid) - database))
        self.worker.setdefault(name, []).append((rows, worker))
        return done

    def claim(self, rows: int, name: str = "claim") -> Any:
        """So many of those that are due."""
        found = self.timed(name, rows, lambda: self._ledger.claim(limit=rows, lapsed=False))
        if len(found.rows) != rows:
            raise RuntimeError(f"only {len(found.rows)} of {rows} rows were due")
        return found

    def deliver(self, rows: int) -> None:
        """Once from claim to settlement, with nothing sent."""
        claim = self.claim(rows)
        ids = [row.pk for row in claim.rows]
        self.timed("mark", rows, lambda: self._ledger.mark(claim, {0: ids}))
        now = claim.now()
        settlements = [self._ledger.Settlement(pk, [self._attempt(pk, now)], self._sent) for pk in ids]
        self.timed("settle", rows, lambda: self._ledger.settle(claim, settlements))

    def beside(self, sql: str, name: str, between: Callable[[], None] = lambda: None) -> float:
        """How much longer a claim of a few rows takes while another connection is inside of such a transaction."""
        other = self._connection.copy()
        other.set_autocommit(False)
        self._ask(sql, other)
        between()
        for _ in range(7):
            self.claim(SIZES[0], name)
        other.rollback()
        other.close()
        alone = median(seconds for rows, seconds in self.database["claim"] if rows == SIZES[0])
        return max(0.0, median(seconds for _, seconds in self.database[name]) - alone)

    def run(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        self.deliver(SIZES[0])
        self.database, self.worker = {}, {}
        before = self._ask("SELECT pg_current_wal_lsn()")
        for _ in range(ROUNDS):
            for size in SIZES:
                self.deliver(size)
        log = float(self._ask(f"SELECT pg_current_wal_lsn() - '{before}'::pg_lsn"))
        names = list(self.database)
        found = {
            "database": {name: vars(fit(self.database[name])) for name in names},
            "worker": {name: vars(fit(self.worker[name])) for name in names},
            "log": log / (ROUNDS * sum(SIZES)),
            "hot": self._hot() / (ROUNDS * sum(SIZES)),
        }
        due = f"SELECT id FROM notifier_notification WHERE status = 'queued' ORDER BY due_at LIMIT {LOCKED} FOR UPDATE"
        found["passed"] = self.beside(due, "locked") / LOCKED
        found["dead"] = self.beside(f"{SNAPSHOT}; SELECT 1", "dead", self._many) / DEAD
        found["size"] = float(self._ask(SIZE))
        rows = self.timed("purge", 1, lambda: self._erasure.purge(timedelta(0)))
        found["purge"] = self.database["purge"][0][1] / max(1, rows)
        return found

    def _hot(self) -> int:
        """Row versions written within their page. The server tells its statistics once a second."""
        time.sleep(1.1)
        self._ask("SELECT 1")
        return int(self._ask("SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'notifier_notification'"))

    def _many(self) -> None:
        for _ in range(DEAD // SIZES[-1]):
            self.deliver(SIZES[-1])


def main() -> None:
    """Measure and print."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifier.settings")
    django.setup()
    print(json.dumps(Measurement().run()))


if __name__ == "__main__":
    main()
