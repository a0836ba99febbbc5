"""Every figure of every benchmark in one table, on the terminal and as a file."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from benchmarks.report import Result, coloured, console, machine

COLUMNS = ("benchmark", "what", "figure", "at least", "aim", "reached")


def rows_of(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """One row a goal; a benchmark that failed has one, too."""
    rows: list[tuple[str, ...]] = []
    for result in results:
        if not result.comparisons:
            rows.append((result.name, "did not run to its end", "", "", "", "missed"))
        for one in result.comparisons:
            if one.goal:
                bounds = (one.goal.text(one.goal.least), one.goal.text(one.goal.aim))
                rows.append((result.name, one.what, one.shown, *bounds, one.verdict))
    measured = [result for result in results if result.healthy]
    if measured:
        lost, doubled = sum(result.lost for result in measured), sum(result.doubled for result in measured)
        count = sum(result.healthy for result in measured)
        verdict = "missed" if lost or doubled else "aim"
        rows.append(("all", f"lost, double of {count:,} messages", f"{lost}, {doubled}", "0, 0", "0, 0", verdict))
    return rows


def show_summary(results: Sequence[Result], output: Path) -> None:
    """Print it; write `summary.md` and `summary.json`."""
    rows = rows_of(results)
    table = Table(title="Summary", title_justify="left", header_style="bold")
    for name in COLUMNS:
        table.add_column(name)
    for row in rows:
        table.add_row(*row[:-1], coloured(row[-1]))
    console.print(table)
    lines = ["| " + " | ".join(row) + " |" for row in [COLUMNS, ("---",) * len(COLUMNS), *rows]]
    (output / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = {"machine": machine(), "rows": [dict(zip(COLUMNS, row, strict=True)) for row in rows]}
    (output / "summary.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
