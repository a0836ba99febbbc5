"""Calls that several threads make at the same moment, done together by one of them.

Nobody waits for company: who comes while nothing is being done, does his own at once; what comes meanwhile is done
together next. So a quiet service is as fast as ever, and a busy one pays once for many.
"""

from collections.abc import Callable, Sequence
from functools import partial
from threading import Event, Lock
from typing import Generic, NoReturn, TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 0.25
"""Seconds that a call stands in line before it goes alone: others may be held up by what is none of its business."""


class _Call(Generic[T, R]):
    """One call, and what came of it."""

    __slots__ = ("given", "leads", "outcome", "told")

    def __init__(self, given: T) -> None:
        self.given = given
        self.leads = False
        self.told = Event()
        self.outcome: Callable[[], R]


class Gathering(Generic[T, R]):
    """Does by `together` what is asked of it at the same moment; by `alone` what came by itself, and what `together`
    left undone.

    `together` returns a result for each, in order; None: it left this one. An error of which `is_refusal` says that
    nothing was done sends each of its calls alone, so that one cannot spoil the others. Any other error is raised in
    all of them.
    """

    def __init__(
        self,
        together: Callable[[Sequence[T]], Sequence[R | None]],
        alone: Callable[[T], R],
        *,
        is_refusal: Callable[[BaseException], bool],
        most: int,
    ) -> None:
        self._together, self._alone, self._is_refusal, self._most = together, alone, is_refusal, most
        self._line: list[_Call[T, R]] = []
        self._is_busy = False
        self._turn = Lock()

    def do(self, given: T) -> R:
        """The result for this one."""
        call: _Call[T, R] = _Call(given)
        with self._turn:
            self._line.append(call)
            call.leads, self._is_busy = not self._is_busy, True
        if not call.leads and not call.told.wait(PATIENCE) and self._leave(call):
            return self._alone(given)
        if not call.leads:
            call.told.wait()
        if call.leads:
            self._lead()
        return call.outcome()

    def _leave(self, call: _Call[T, R]) -> bool:
        """Whether it could leave the line: it is not being done, and not the next to lead."""
        with self._turn:
            if call.leads or call not in self._line:
                return False
            self._line.remove(call)
            return True

    def _lead(self) -> None:
        """Do what stands in line, and let the next one lead if there is more by then."""
        with self._turn:
            calls, self._line = self._line[: self._most], self._line[self._most :]
        try:
            self._do(calls)
        finally:
            with self._turn:
                heir = self._line[0] if self._line else None
                self._is_busy = heir is not None
                if heir is not None:
                    heir.leads = True
            for call in [*calls, *([heir] if heir is not None else [])]:
                call.told.set()

    def _do(self, calls: Sequence[_Call[T, R]]) -> None:
        """Settle the outcome of each; what goes alone after all does so in its own thread."""
        for call in calls:
            call.outcome = partial(self._alone, call.given)
        try:
            results = self._together([call.given for call in calls]) if len(calls) > 1 else [calls[0].outcome()]
        except BaseException as error:  # noqa: BLE001 - everybody who waits hears of it
            if len(calls) == 1 or not self._is_refusal(error):
                for call in calls:
                    call.outcome = partial(_raise, error)
            return
        for call, result in zip(calls, results, strict=True):
            if result is not None or len(calls) == 1:
                call.outcome = partial(_same, cast("R", result))


def _raise(error: BaseException) -> NoReturn:
    raise error


def _same(result: R) -> R:
    return result
