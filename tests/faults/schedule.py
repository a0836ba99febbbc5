"""What is done to an installation, and in which order: drawn from a seed, every kind once before any comes again."""

import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event

from tests.faults.installation import Installation
from tests.servers.base import family, signal_all
from tests.servers.processes import ProjectProcess

Fault = Callable[[Installation, random.Random], None]
STOP_SECONDS = 45
"""More than a worker needs that must bring sixteen messages home from a provider that is silent for 3 s."""


def _for_a_while(chance: random.Random, most: float = 3.0) -> None:
    """An outage has a length."""
    Event().wait(chance.uniform(0.5, most))


def _killed(process: ProjectProcess, chance: random.Random) -> None:
    process.kill()
    _for_a_while(chance, 1.5)
    process.start()


def kill_a_worker(house: Installation, chance: random.Random) -> None:
    """As `kill -9` of its whole group, or a power cut."""
    _killed(chance.choice(house.workers), chance)


def kill_both_workers(house: Installation, chance: random.Random) -> None:
    """Nobody works for a while."""
    for process in house.workers:
        process.kill()
    _for_a_while(chance)
    for process in house.workers:
        process.start()


def kill_a_child_of_the_pool(house: Installation, chance: random.Random) -> None:
    """As the kernel does when memory is short."""
    children = family(house.workers[1].pid)[1:]
    signal_all(chance.sample(children, min(1, len(children))), signal.SIGKILL)


def replace_a_worker(house: Installation, chance: random.Random) -> None:
    """A deployment: SIGTERM, then the new one."""
    process = chance.choice(house.workers)
    code = process.stop(signal.SIGTERM, STOP_SECONDS)
    if code != 0:
        house.deaths.append(f"{process.name} answered SIGTERM with exit code {code}")
    process.start()


def freeze_a_worker(house: Installation, chance: random.Random) -> None:
    """Shorter than a lease: it wakes up late and still owns its rows."""
    process = chance.choice(house.workers)
    process.pause()
    _for_a_while(chance)
    process.resume()


def kill_the_web_process(house: Installation, chance: random.Random) -> None:
    """Clients do not know then whether they were heard, and ask again."""
    _killed(house.web, chance)


def kill_a_beat(house: Installation, chance: random.Random) -> None:
    """The other one goes on alone."""
    _killed(chance.choice(house.beats), chance)


def empty_redis(house: Installation, chance: random.Random) -> None:
    """Killed, and back with nothing of what it held."""
    house.redis.kill()
    _for_a_while(chance)
    house.redis.restart()


def flush_redis(house: Installation, _chance: random.Random) -> None:
    """All bells are gone in a moment."""
    house.tell_redis("FLUSHALL")


def freeze_redis(house: Installation, chance: random.Random) -> None:
    """Connections stay open, and nothing answers."""
    house.redis.pause()
    _for_a_while(chance, 4)
    house.redis.resume()


def cut_redis_connections(house: Installation, _chance: random.Random) -> None:
    """The network drops them; Redis itself is well."""
    for kind in ("normal", "pubsub"):
        house.tell_redis("CLIENT", "KILL", "TYPE", kind)


def restart_postgres(house: Installation, _chance: random.Random) -> None:
    """As an upgrade does: every connection ends, and for a moment nobody answers."""
    house.postgres.restart()


def kill_postgres(house: Installation, chance: random.Random) -> None:
    """It must recover by its own log."""
    house.postgres.kill()
    _for_a_while(chance, 1.5)
    house.postgres.restart()


def cut_postgres_connections(house: Installation, _chance: random.Random) -> None:
    """In the middle of whatever they do."""
    house.ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")


def lose_the_answers(house: Installation, chance: random.Random) -> None:
    """Providers take messages and hang up before they say so."""
    channel = chance.choice(["email", "sms"])
    house.sandbox.switches.set(channel, "lost_answer")
    _for_a_while(chance, 1.0)
    house.sandbox.switches.set(channel, "ok")


def cut_mail_connections(house: Installation, _chance: random.Random) -> None:
    """In the middle of a conversation, perhaps after the message and before its answer."""
    house.mail_line.cut()


def refuse_mail(house: Installation, chance: random.Random) -> None:
    """The mail server is down for a while."""
    house.sandbox.switches.set("email", "refused")
    _for_a_while(chance)
    house.sandbox.switches.set("email", "ok")


FAULTS: tuple[Fault, ...] = (
    kill_a_worker,
    kill_both_workers,
    kill_a_child_of_the_pool,
    replace_a_worker,
    freeze_a_worker,
    kill_the_web_process,
    kill_a_beat,
    empty_redis,
    flush_redis,
    freeze_redis,
    cut_redis_connections,
    restart_postgres,
    kill_postgres,
    cut_postgres_connections,
    lose_the_answers,
    cut_mail_connections,
    refuse_mail,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One fault, and how many seconds of peace come before it."""

    fault: Fault
    peace: float

    @property
    def name(self) -> str:
        """What it does, in words."""
        return self.fault.__name__.replace("_", " ")


def schedule(chance: random.Random) -> Iterator[Entry]:
    """Without end."""
    while True:
        for fault in chance.sample(FAULTS, len(FAULTS)):
            yield Entry(fault, chance.uniform(0.2, 1.5))
