"""What every benchmark is: a name, a line, options, and a function that measures."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.report import Result, console
from benchmarks.servers import Installation


@dataclass(frozen=True)
class Option:
    """`--name`. Its type is that of its default; a tuple takes several values. `quick`: the value under `--quick`."""

    name: str
    default: Any
    quick: Any
    help: str


@dataclass(frozen=True)
class Run:
    """What a benchmark is given. `plot`: where its picture goes."""

    servers: Installation
    options: SimpleNamespace
    result: Result
    plot: Path

    def rounds(self) -> Iterator[int]:
        """Once a repetition."""
        for number in range(self.options.repeat):
            console.print(f"[dim]round {number + 1} of {self.options.repeat}[/]")
            yield number

    def in_turn(self, *sides: Callable[[int], None]) -> None:
        """Each side once a round; every other round in the opposite order, so that none always goes first."""
        for number in self.rounds():
            for side in sides if number % 2 == 0 else reversed(sides):
                side(number)


@dataclass(frozen=True)
class Benchmark:
    """One of them."""

    name: str
    line: str
    measure: Callable[[Run], None]
    options: Sequence[Option] = ()


@contextmanager
def progress(what: str, total: float, unit: str = "") -> Iterator[Callable[[float], None]]:
    """A bar that is told how far it is."""
    amount = TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + unit)
    columns = (TextColumn("  {task.description:<34}"), BarColumn(), amount, TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
