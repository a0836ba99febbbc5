"""What a benchmark found: comparisons with what they have to reach, as a table, as JSON, as one line of the summary."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

console = Console(width=None if sys.stdout.isatty() else 118)


@dataclass(frozen=True)
class Goal:
    """What a figure has to reach. `at_most`: the figure is a time or a size, and smaller is better."""

    least: float
    aim: float
    at_most: bool = False

    def verdict(self, value: float) -> str:
        """`aim`, `at least` or `missed`."""
        if self.at_most:
            return "aim" if value <= self.aim else "at least" if value <= self.least else "missed"
        return "aim" if value >= self.aim else "at least" if value >= self.least else "missed"

    def text(self, value: float) -> str:
        """A bound as it is shown."""
        return f"{'≤' if self.at_most else '≥'} {value:g}"


@dataclass(frozen=True)
class Comparison:
    """One row: ours and the reference, a value a repetition. The figure is the ratio of their medians.

    Without a reference it is the median of ours. `digits`: after the point, in the values.
    """

    what: str
    unit: str
    ours: Sequence[float]
    reference: Sequence[float] = ()
    named: str = ""
    goal: Goal | None = None
    digits: int = 0
    figure_unit: str = ""

    @property
    def figure(self) -> float:
        """What is judged."""
        ours = median(self.ours) if self.ours else 0.0
        if not self.reference:
            return ours
        return ours / median(self.reference) if median(self.reference) else 0.0

    @property
    def shown(self) -> str:
        """The figure with its unit."""
        return f"{self.figure:.2f}×" if self.reference else f"{self.figure:,.{self.digits}f} {self.unit}".strip()

    @property
    def verdict(self) -> str:
        """Of the goal, "" without one."""
        return self.goal.verdict(self.figure) if self.goal else ""

    def spread(self, values: Sequence[float]) -> str:
        """Median (least to most)."""
        if not values:
            return ""
        middle = f"{median(values):,.{self.digits}f}"
        if len(values) == 1:
            return middle
        return f"{middle} ({min(values):,.{self.digits}f}-{max(values):,.{self.digits}f})"


@dataclass
class Result:
    """Everything one benchmark says. `raw`: what a reader may want to compute with; `failed`: why it did not end."""

    name: str
    title: str
    comparisons: list[Comparison] = field(default_factory=list)
    failed: str = ""
    lost: int = 0
    doubled: int = 0
    healthy: int = 0
    notes: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)

    def add(self, *comparisons: Comparison) -> None:
        """Put these below the others."""
        self.comparisons.extend(comparisons)

    def count(self, wanted: int, distinct: int, doubles: int) -> None:
        """A healthy run: how many were to arrive, how many did, how many came again."""
        self.healthy += wanted
        self.lost += wanted - distinct
        self.doubled += doubles

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing doubled, every goal at least reached."""
        return (
            not self.failed
            and not self.lost
            and not self.doubled
            and all(one.verdict != "missed" for one in self.comparisons)
        )

    def write(self, directory: Path) -> Path:
        """As JSON beside the plot."""
        path = directory / f"{self.name}.json"
        found = {
            "benchmark": self.name,
            "title": self.title,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "options": self.options,
            "comparisons": [
                {**asdict(one), "figure": one.figure, "shown": one.shown, "verdict": one.verdict}
                for one in self.comparisons
            ],
            "messages": {"sent": self.healthy, "lost": self.lost, "doubled": self.doubled},
            "notes": self.notes,
        }
        head = json.dumps(found, indent=1, default=str, ensure_ascii=False).removesuffix("\n}")
        raw = json.dumps(self.raw, default=str)  # in one line: there may be many thousands of figures
        path.write_text(f'{head},\n "raw": {raw}\n}}\n', encoding="utf-8")
        return path

    def show(self) -> None:
        """As a table."""
        table = Table(title=self.title, title_justify="left", header_style="bold")
        for name in ("what", "unit", "ours", "reference", "ratio", "at least", "aim", "reached"):
            table.add_column(name, justify="left" if name in {"what", "unit", "reached"} else "right", overflow="fold")
        for one in self.comparisons:
            table.add_row(
                one.what,
                one.unit,
                one.spread(one.ours),
                f"{one.spread(one.reference)} {one.named}".strip(),
                one.shown if one.reference else "",
                one.goal.text(one.goal.least) if one.goal else "",
                one.goal.text(one.goal.aim) if one.goal else "",
                coloured(one.verdict),
            )
        console.print(table)
        if self.healthy:
            colour = "red" if self.lost or self.doubled else "green"
            console.print(f"[{colour}]{self.healthy:,} messages: {self.lost} lost, {self.doubled} double[/]")
        for note in self.notes:
            console.print(note, style="dim", highlight=False)


def coloured(verdict: str) -> str:
    """A verdict for the terminal."""
    return {"aim": "[green]aim[/]", "at least": "[yellow]at least[/]", "missed": "[red]missed[/]"}.get(verdict, verdict)


def machine() -> dict[str, Any]:
    """What the figures were measured on. They carry over to no other one; the ratios do, more or less."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
