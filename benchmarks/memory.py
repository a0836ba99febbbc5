"""How much memory a process and its children need: PSS, where shared pages are counted once between those who share."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import psutil

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """`done`: how many messages had arrived then. Sizes in MiB."""

    seconds: float
    done: int
    pss: float
    uss: float


@dataclass
class Sampler:
    """Looks at these processes again and again, in a thread, until the block ends."""

    pid: int
    done: Callable[[], int]
    every: float = 0.1
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(self.every):
            pss, uss = size_of(self.pid)
            if pss:
                self.samples.append(Sample(time.monotonic() - self._begun, self.done(), pss, uss))


def size_of(pid: int) -> tuple[float, float]:
    """PSS and USS of a process and all that descends from it, in MiB; where the system knows no PSS, USS twice."""
    pss = uss = 0.0
    try:
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            found = process.memory_full_info()
            uss += found.uss / MEBIBYTE
            pss += getattr(found, "pss", found.uss) / MEBIBYTE
    except psutil.NoSuchProcess:
        return 0.0, 0.0
    return pss, uss


def slope(samples: list[Sample]) -> float:
    """MiB for each 10,000 more messages, by least squares."""
    if len(samples) < 3:
        return 0.0
    middle_x = sum(one.done for one in samples) / len(samples)
    middle_y = sum(one.pss for one in samples) / len(samples)
    spread = sum((one.done - middle_x) ** 2 for one in samples)
    if not spread:
        return 0.0
    return sum((one.done - middle_x) * (one.pss - middle_y) for one in samples) / spread * 10_000
