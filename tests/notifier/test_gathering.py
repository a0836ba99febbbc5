"""Calls of the same moment are done together, and none of them pays for another."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier, Event, Lock, get_ident

import pytest

from notifier import gathering
from notifier.gathering import Gathering
from tests.servers.base import wait_until


class RefusedError(Exception):
    """Nothing was done."""


def is_refusal(error: BaseException) -> bool:
    return isinstance(error, RefusedError)


class Spy:
    """Doubles numbers, and keeps the first call in its hands until it is let go."""

    def __init__(self, most: int = 64) -> None:
        self.let_go = Event()
        self.begun = Event()
        self.calls: list[list[int]] = []
        self.threads: dict[int, int] = {}
        self.spoilt: set[int] = set()
        self.left: set[int] = set()
        self.error: Callable[[], Exception] = RefusedError
        self.gathering = Gathering(
            self.together, self.alone, is_refusal=lambda error: isinstance(error, RefusedError), most=most
        )
        self._turn = Lock()

    def _note(self, given: Sequence[int]) -> None:
        with self._turn:
            self.calls.append(list(given))
            self.threads.update(dict.fromkeys(given, get_ident()))
        if not self.begun.is_set():
            self.begun.set()
            assert self.let_go.wait(30)
        if self.spoilt & set(given):
            raise self.error()

    def together(self, given: Sequence[int]) -> list[int | None]:
        self._note(given)
        return [None if number in self.left else 2 * number for number in given]

    def alone(self, given: int) -> int:
        self._note([given])
        return 2 * given

    def crowd(self, pool: ThreadPoolExecutor, numbers: Sequence[int]) -> list["Future[int]"]:
        """Number 0 begins; the others come while it is being done."""
        first = pool.submit(self.gathering.do, 0)
        assert self.begun.wait(30)
        others = [pool.submit(self.gathering.do, number) for number in numbers]
        wait_until(lambda: len(self.gathering._line) == len(numbers), 30, "a line")
        self.let_go.set()
        return [first, *others]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "PATIENCE", 30.0)


def test_one_alone_is_done_at_once() -> None:
    spy = Spy()
    spy.let_go.set()
    assert spy.gathering.do(4) == 8
    assert spy.calls == [[4]]
    assert spy.threads[4] == get_ident()


def test_what_comes_meanwhile_is_done_together() -> None:
    spy = Spy()
    with ThreadPoolExecutor(8) as pool:
        futures = spy.crowd(pool, [1, 2, 3])
        assert [future.result(30) for future in futures] == [0, 2, 4, 6]
    assert [sorted(call) for call in spy.calls] == [[0], [1, 2, 3]]


def test_at_most_so_many_at_once() -> None:
    spy = Spy(most=2)
    with ThreadPoolExecutor(8) as pool:
        futures = spy.crowd(pool, [1, 2, 3, 4, 5])
        assert [future.result(30) for future in futures] == [0, 2, 4, 6, 8, 10]
    assert [len(call) for call in spy.calls] == [1, 2, 2, 1]


def test_after_a_refusal_each_goes_alone() -> None:
    spy = Spy()
    spy.spoilt = {2}
    with ThreadPoolExecutor(8) as pool:
        futures = spy.crowd(pool, [1, 2, 3])
        assert [futures[number].result(30) for number in (0, 1, 3)] == [0, 2, 6]
        with pytest.raises(RefusedError):
            futures[2].result(30)
    assert sorted(map(sorted, spy.calls)) == [[0], [1], [1, 2, 3], [2], [3]]


def test_what_is_left_undone_goes_alone() -> None:
    spy = Spy()
    spy.left = {2}
    with ThreadPoolExecutor(8) as pool:
        futures = spy.crowd(pool, [1, 2, 3])
        assert [future.result(30) for future in futures] == [0, 2, 4, 6]
    assert sorted(map(sorted, spy.calls)) == [[0], [1, 2, 3], [2]]


def test_any_other_error_is_everybodys_and_nothing_is_done_twice() -> None:
    spy = Spy()
    spy.spoilt, spy.error = {2}, ConnectionResetError
    with ThreadPoolExecutor(8) as pool:
        futures = spy.crowd(pool, [1, 2, 3])
        assert futures[0].result(30) == 0
        for future in futures[1:]:
            with pytest.raises(ConnectionResetError):
                future.result(30)
    assert [sorted(call) for call in spy.calls] == [[0], [1, 2, 3]]
    assert spy.gathering.do(5) == 10  # and the next one is served


@pytest.mark.parametrize("error", [RefusedError, ConnectionResetError])
def test_who_is_alone_gets_his_own_error_once(error: type[Exception]) -> None:
    spy = Spy()
    spy.let_go.set()
    spy.spoilt, spy.error = {1}, error
    with pytest.raises(error):
        spy.gathering.do(1)
    assert spy.calls == [[1]]
    assert spy.gathering.do(2) == 4


def test_nobody_is_held_up_by_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "PATIENCE", 0.01)
    spy = Spy()
    with ThreadPoolExecutor(8) as pool:
        hanging = pool.submit(spy.gathering.do, 0)
        assert spy.begun.wait(30)
        assert [pool.submit(spy.gathering.do, number).result(30) for number in (1, 2)] == [2, 4]
        assert not hanging.done()
        spy.let_go.set()
        assert hanging.result(30) == 0
    assert spy.gathering.do(3) == 6


def test_a_crowd_gets_each_its_own() -> None:
    spy = Spy()
    spy.let_go.set()
    start = Barrier(16)

    def work(thread: int) -> bool:
        start.wait(30)
        return all(spy.gathering.do(number) == 2 * number for number in range(thread * 1000, thread * 1000 + 300))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))
    done = [number for call in spy.calls for number in call]
    assert len(done) == len(set(done)) == 16 * 300
