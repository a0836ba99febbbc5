"""`python -m tests.faults --seconds 600 --seed 7`: a long fault run. Exit 1 where a promise was broken."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.faults import engine
from tests.faults.installation import Installation


def main() -> int:
    """Run, tell, judge."""
    reader = argparse.ArgumentParser(
        prog="chaos", description="Break the service again and again; nothing may be lost."
    )
    reader.add_argument("--seconds", type=float, default=600, help="how long faults come; default: 600")
    reader.add_argument("--seed", type=int, default=None, help="repeat the run with this seed; default: a new one")
    reader.add_argument("--rate", type=float, default=10, help="notifications a second; default: 10")
    wanted = reader.parse_args()
    if reason := Installation.missing():
        sys.stderr.write(f"This cannot run here: {reason}\n")
        return 1
    seed = wanted.seed if wanted.seed is not None else random.SystemRandom().randrange(10**6)
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    _say(f"seed {seed}, logs in {directory}")
    report = engine.run(seed, wanted.seconds, directory, rate=wanted.rate, say=_say)
    _say(report.table())
    return 1 if report.problems else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
