"""Everything breaks, again and again, as a seed says: nothing that was accepted is lost, and no double is a secret.

`FAULT_SEED` repeats a run, `FAULT_SECONDS` makes it longer; `scripts/chaos.sh` is the same for hours.
"""

import os
import random
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox.inbox import Entry
from tests.faults import engine
from tests.faults.installation import Installation
from tests.faults.oracle import Row, judge
from tests.faults.schedule import FAULTS, schedule

SECONDS = float(os.environ.get("FAULT_SECONDS", "45"))
SEED = int(os.environ.get("FAULT_SEED", "20261120"))


@pytest.mark.real_server
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.timeout(3 * SECONDS + 300)
def test_whatever_breaks_nothing_accepted_is_lost_and_every_double_is_on_record(tmp_path: Path) -> None:
    if reason := Installation.missing():
        pytest.skip(reason)
    kinds, wishes = min(len(FAULTS), int(SECONDS / 5)), int(4 * SECONDS)
    report = engine.run(SEED, SECONDS, tmp_path, kinds=kinds, wishes=wishes)
    print(report.table())
    assert report.problems == []
    assert report.verdict.accepted >= wishes
    assert len(report.faults) >= kinds


# --- The judge can condemn, and the seed decides ---------------------------------------------------------------------
KEY = "0123456789abcdef0123456789abcdef"


def row(*tries: tuple[str, str], pk: int = 7, status: str = "sent") -> Row:
    return Row(pk, KEY, status, "", "wish-0", tries)


def copy(reference: str = f"<{KEY}@x>", to: str = "p0@example.com") -> Entry:
    return Entry(seq=1, channel="email", to=to, reference=reference, received_at=datetime.now(UTC))


SENT = ("email", "accepted")
UNKNOWN = ("email", "unknown")


@pytest.mark.parametrize(
    ("rows", "arrived", "says"),
    [
        ([], [], "not in the ledger"),
        ([row(status="sending")], [], "nobody brought it to its end"),
        ([row(SENT)], [], "nothing arrived"),
        ([row(SENT)], [copy(), copy()], "arrived 2 times"),
        ([row(UNKNOWN, SENT)], [copy(), copy(), copy()], "arrived 3 times"),
        ([row(UNKNOWN, SENT)], [copy(), copy("<another@x>")], "arrived under"),
        ([row(SENT, SENT)], [copy(), copy()], "again after it was accepted"),
        ([row(("email", "failed"), status="failed")], [copy()], "no attempt says so"),
        ([row(SENT), row(pk=8)], [copy()], "nobody was promised it"),
        ([row(SENT)], [copy(), copy(to="q@example.com")], "nobody was promised"),
    ],
)
def test_the_judge_sees_every_broken_promise(rows: list[Row], arrived: list[Entry], says: str) -> None:
    verdict = judge({0: 7}, rows, arrived)
    assert says in " ".join([*verdict.lost, *verdict.wrong])


def test_the_judge_accepts_a_double_that_is_on_record() -> None:
    verdict = judge({0: 7}, [row(UNKNOWN, SENT)], [copy(), copy()])
    assert (verdict.lost, verdict.wrong, verdict.doubles, verdict.unknown) == ([], [], 1, 1)


def test_a_seed_is_a_schedule_with_every_fault() -> None:
    def first(seed: int) -> list[str]:
        coming = schedule(random.Random(seed))
        return [next(coming).name for _ in FAULTS]

    assert first(1) == first(1) != first(2)
    assert len(set(first(1))) == len(FAULTS)
