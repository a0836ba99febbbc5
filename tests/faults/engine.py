"""A fault run: clients ask, faults come as a seed says, and in the end a judge compares promises with what arrived."""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.clients import Answers, Clients
from tests.faults.installation import Installation
from tests.faults.oracle import Verdict, judge, rows_of
from tests.faults.schedule import schedule
from tests.servers.base import ServerError, wait_until

Say = Callable[[str], None]
QUIET_SECONDS = 120.0
"""By then nothing may be open: a dead worker's lease is 30 s, and rounds follow within 2 s."""


@dataclass
class Report:
    """What came of a run."""

    seed: int
    verdict: Verdict
    answers: Answers
    seconds: float
    quiet_after: float
    faults: Counter[str] = field(default_factory=Counter)
    deaths: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """Every broken promise; none is what is wanted."""
        return [*self.verdict.lost, *self.verdict.wrong, *self.answers.contradictions, *self.deaths]

    def table(self) -> str:
        """The figures, a line each."""
        statuses = ", ".join(f"{count} {name}" for name, count in sorted(self.verdict.statuses.items()))
        refusals = ", ".join(f"{count} {name}" for name, count in sorted(self.answers.refusals.items())) or "none"
        figures = {
            "seed": self.seed,
            "seconds": f"{self.seconds:.0f}, quiet {self.quiet_after:.0f} s after the last fault",
            "faults": sum(self.faults.values()),
            "accepted": f"{self.verdict.accepted} (slowest answer {self.answers.slowest:.2f} s)",
            "refused tries": refusals,
            "in the ledger": statuses,
            "arrived": self.verdict.arrived,
            "doubles": self.verdict.doubles,
            "unknown": self.verdict.unknown,
            "lost": len(self.verdict.lost),
            "other problems": len(self.problems) - len(self.verdict.lost),
        }
        lines = [f"{name:>16}  {figure}" for name, figure in figures.items()]
        lines += [f"{'':>16}  {count} x {name}" for name, count in sorted(self.faults.items())]
        return "\n".join([*lines, *(f"PROBLEM: {problem}" for problem in self.problems)])


def run(
    seed: int, seconds: float, directory: Path, *, rate: float = 10.0, say: Say = print, kinds: int = 0, wishes: int = 0
) -> Report:
    """Run for about so long, and judge. `directory` receives the processes' logs.

    A busy machine has up to three times as long for so many kinds of faults and so many accepted wishes.
    """
    faults: Counter[str] = Counter()
    with Installation(directory) as house:
        began = time.monotonic()

        def tell(text: str) -> None:
            say(f"{time.monotonic() - began:7.1f} s  {text}")

        with (
            house.supervised(house.arrivals.all),
            Clients(house.port, seed=seed, rate=rate) as clients,
        ):
            for entry in schedule(random.Random(seed)):
                _peace(entry.peace)
                house.replace_dead()
                is_enough = len(faults) >= kinds and len(clients.answers.accepted) >= wishes
                if time.monotonic() - began > seconds * (1 if is_enough else 3):
                    break
                tell(f"{len(clients.answers.accepted):5} accepted, {len(house.arrivals.all()):5} arrived: {entry.name}")
                faults[entry.name] += 1
                try:
                    entry.fault(house, random.Random(f"{seed}/{faults.total()}"))
                except ServerError as error:
                    house.deaths.append(f"{entry.name}: {error}")
                    break
        over = time.monotonic()
        tell(f"{len(clients.answers.accepted):5} accepted, no fault comes any more")
        _wait_for_quiet(house)
        quiet_after = time.monotonic() - over
        verdict = judge(clients.answers.accepted, rows_of(house), house.arrivals.all())
        if objection := house.audit():
            verdict.wrong.append(objection)
        house.replace_dead()
        return Report(seed, verdict, clients.answers, time.monotonic() - began, quiet_after, faults, house.deaths)


def _peace(seconds: float) -> None:
    time.sleep(seconds)  # there is nothing to wait for: the schedule says when


def _wait_for_quiet(house: Installation) -> None:
    """Until nothing is open. What still is by then, the judge finds."""

    def quiet() -> bool:
        house.replace_dead()
        return not house.still_open()

    try:
        wait_until(quiet, QUIET_SECONDS, "nothing is open")
    except ServerError as error:
        house.deaths.append(str(error))
