"""The judge of a run: what was promised, what the ledger says, and what really arrived must be one story."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sandbox.inbox import Entry
from tests.faults.clients import address, phone
from tests.faults.installation import Installation

ENDED = frozenset({"sent", "delivered", "failed"})
ROWS = """
SELECT n.id, replace(n.key::text, '-', ''), n.status, n.failure_code, n.reference,
       coalesce(string_agg(a.channel || ':' || a.outcome, ',' ORDER BY a.id), '')
FROM notifier_notification n LEFT JOIN notifier_attempt a ON a.notification_id = n.id GROUP BY n.id
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One notification as the ledger tells its story. `tries`: channel, outcome."""

    id: int
    key: str
    status: str
    failure_code: str
    reference: str
    tries: tuple[tuple[str, str], ...]

    def count(self, channel: str, *outcomes: str) -> int:
        """How many attempts on this channel ended so."""
        return sum(one == channel and outcome in outcomes for one, outcome in self.tries)


@dataclass
class Verdict:
    """The figures of a run; `lost` and `wrong` are empty where every promise was kept."""

    accepted: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    arrived: int = 0
    doubles: int = 0
    unknown: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def rows_of(house: Installation) -> list[Row]:
    """The whole ledger."""
    return [
        Row(int(pk), key, status, code, reference, tuple(_pair(one) for one in tries.split(",") if one))
        for pk, key, status, code, reference, tries in house.ask(ROWS)
    ]


def _pair(text: str) -> tuple[str, str]:
    channel, _, outcome = text.partition(":")
    return channel, outcome


def judge(promised: Mapping[int, int], rows: Iterable[Row], arrivals: Iterable[Entry]) -> Verdict:
    """`promised`: wish -> the id that its client was told."""
    ledger = {row.id: row for row in rows}
    copies: dict[str, list[Entry]] = defaultdict(list)
    for entry in arrivals:
        copies[entry.to.lstrip("+")].append(entry)
    verdict = Verdict(accepted=len(promised), statuses=Counter(row.status for row in ledger.values()))
    verdict.arrived = sum(len(entries) for entries in copies.values())
    verdict.unknown = sum(outcome == "unknown" for row in ledger.values() for _, outcome in row.tries)
    for number, pk in promised.items():
        row = ledger.pop(pk, None)
        if row is None or row.reference != f"wish-{number}":
            verdict.lost.append(f"{pk} was promised for wish {number} and is not in the ledger")
            continue
        if row.status not in ENDED:
            verdict.lost.append(f"{pk} is {row.status}: nobody brought it to its end")
        for channel, name in (("email", address(number)), ("sms", phone(number).lstrip("+"))):
            _judge_channel(verdict, row, channel, copies.pop(name, []))
    verdict.wrong += [f"{pk} is in the ledger, and nobody was promised it" for pk in ledger]
    verdict.wrong += [f"{name} got a message that nobody was promised" for name in copies]
    return verdict


def _judge_channel(verdict: Verdict, row: Row, channel: str, copies: list[Entry]) -> None:
    accepted, unknown = row.count(channel, "accepted"), row.count(channel, "unknown")
    if accepted and not copies:
        verdict.lost.append(f"{row.id}: {channel} is on record as accepted, and nothing arrived")
    if copies and not accepted + unknown:
        verdict.wrong.append(f"{row.id}: {channel} arrived, and no attempt says so")
    if accepted > 1:
        verdict.wrong.append(f"{row.id}: {channel} was sent again after it was accepted")
    if len(copies) > 1:
        verdict.doubles += len(copies) - 1
    if len(copies) > accepted + unknown:
        verdict.wrong.append(f"{row.id}: {channel} arrived {len(copies)} times, with {unknown} unknown on record")
    if others := {copy.reference for copy in copies if row.key not in copy.reference}:
        verdict.wrong.append(f"{row.id}: {channel} arrived under {others}, not under {row.key}")
