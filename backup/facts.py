"""What a backup holds, written at the head of its file: so that the file alone can be proven.

The line is a comment of SQL. Row counts belong to the very moment that the file shows.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.apps import apps

MARK = "-- notifier-backup: "
END = b"\n-- notifier-backup: complete\n"
"""The file's last line: without it rows may be equal and indexes missing."""
LONGEST = 1024 * 1024

LEFT_EMPTY = (("notifier", "Event"), ("notifier", "TransientAttachment"))
"""Tables of which the file holds no rows: what passes through."""


@dataclass(frozen=True)
class Facts:
    """`tables`: rows of each in the file. `migrations`: `application.name` of each that was applied."""

    database: str
    server: str
    tool: str
    made_at: str
    tables: Mapping[str, int]
    migrations: Sequence[str]

    def line(self) -> str:
        """As the file's first line."""
        text = json.dumps({"format": 1, **asdict(self)}, separators=(",", ":"))
        return MARK + text.replace("'", "\\u0027") + "\n"

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(self.tables.values())

    @classmethod
    def read(cls, line: bytes) -> "Facts | None":
        """None: it is no such line."""
        if not line.startswith(MARK.encode()) or len(line) > LONGEST:
            return None
        try:
            told: Any = json.loads(line[len(MARK) :])
            tables = {str(name): int(count) for name, count in told["tables"].items()}
            migrations = [str(name) for name in told["migrations"]]
            database, server, tool, made_at = (str(told[name]) for name in ("database", "server", "tool", "made_at"))
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        return cls(database, server, tool, made_at, tables, migrations)


def left_empty() -> set[str]:
    """The tables of which no rows are kept, as far as they are there."""
    found = set()
    for label, name in LEFT_EMPTY:
        if label in apps.app_configs and name.lower() in apps.all_models[label]:
            found.add(str(apps.get_model(label, name)._meta.db_table))
    return found


def differences(expected: Facts, tables: Mapping[str, int], migrations: Sequence[str]) -> list[str]:
    """What a restored copy has otherwise, one line each; empty: nothing."""
    found = []
    for name in sorted({*expected.tables, *tables}):
        recorded, restored = expected.tables.get(name), tables.get(name)
        if recorded != restored:
            found.append(f"{name}: {_number(restored)} instead of {_number(recorded)}")
    if sorted(expected.migrations) != sorted(migrations):
        lacking = sorted({*expected.migrations} - {*migrations})
        found.append(
            f"migrations: {len(migrations)} instead of {len(expected.migrations)} {' '.join(lacking[:3])}".strip()
        )
    return found


def _number(count: int | None) -> str:
    return "no table" if count is None else str(count)
