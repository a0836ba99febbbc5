"""The pictures: each says on its own what was measured, in which unit, against what."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: it needs no screen

from matplotlib import pyplot as plt
from matplotlib.ticker import ScalarFormatter

from benchmarks.report import Comparison

OURS, REFERENCE, THIRD = "#1f6feb", "#9aa4b2", "#e8833a"
INK, FAINT = "#24292f", "#d8dee4"
STYLE: Any = {
    "font.size": 10,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "text.color": INK,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "benchmarks",
}


@contextmanager
def figure(path: Path, title: str, *, columns: int = 1, width: float = 8.0, height: float = 4.2) -> Iterator[Any]:
    """Axes to draw on, one or several; saved at the end."""
    with mpl.rc_context(STYLE):
        drawing, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained", squeeze=False)
        drawing.suptitle(title, fontweight="bold", fontsize=12)
        try:
            yield axes[0][0] if columns == 1 else axes[0]
            drawing.savefig(path, dpi=130)
        finally:
            plt.close(drawing)


def pair_of_bars(axes: Any, rows: Sequence[Comparison], *, unit: str, ours: str, reference: str) -> None:
    """Ours beside the reference, medians with least and most, the ratio above."""
    axes.grid(visible=False, axis="x")
    top = 0.0
    for shift, name, colour in ((-0.2, ours, OURS), (0.2, reference, REFERENCE)):
        for index, row in enumerate(rows):
            values = row.ours if colour == OURS else row.reference
            middle = median(values) if values else 0.0
            reach = [[middle - min(values, default=0)], [max(values, default=0) - middle]]
            label = name if index == 0 else None
            axes.bar(index + shift, middle, 0.38, color=colour, label=label)
            if len(values) > 1:
                axes.errorbar(index + shift, middle, yerr=reach, color=INK, capsize=4, linewidth=1)
            highest = max(values, default=0)
            top = max(top, highest)
            axes.annotate(
                f"{middle:,.{row.digits}f}", (index + shift, highest), (0, 3), textcoords="offset points", ha="center"
            )
    for index, row in enumerate(rows):
        highest = max([*row.ours, *row.reference], default=0)
        axes.annotate(
            f"{row.figure:.2f}×",
            (index, highest),
            (0, 17),
            textcoords="offset points",
            ha="center",
            fontweight="bold",
            fontsize=11,
            color=OURS,
        )
    axes.set_xticks(range(len(rows)), [row.what for row in rows])
    axes.set_ylabel(unit)
    axes.set_ylim(0, top * 1.25 or 1)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)


def cumulative(axes: Any, name: str, values: Sequence[float], colour: str) -> None:
    """Which share of the values is at most so large; p50 and p95 in the legend, p99 too where there are enough."""
    ordered = sorted(values)
    if not ordered:
        return
    shares = [(number + 1) / len(ordered) * 100 for number in range(len(ordered))]
    marks = [0.5, 0.95, *([0.99] if len(ordered) >= 1000 else [])]
    named = ", ".join(f"p{share * 100:.0f} {ordered[int(share * (len(ordered) - 1))]:,.1f}" for share in marks)
    axes.plot(ordered, shares, color=colour, linewidth=2, label=f"{name}\n{named}")


def label_cumulative(axes: Any, unit: str, *, logarithmic: bool = True) -> None:
    """The axes of a distribution."""
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel(unit)
    axes.set_ylabel("share, %")
    axes.set_ylim(0, 101)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
