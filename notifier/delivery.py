"""claim → render → send → chain → settle, until nothing is due.

A dispatcher keeps a bounded number of messages in flight. Again and again it settles what came back, claims more rows
while there is room, moves each along its chain to its next hand-over, marks those as a group (one statement, not one a
message) and lets their messages leave side by side. Only the pool's threads wait for providers; only the dispatcher's
own thread speaks to the database.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache
from threading import Event, Lock
from typing import TypeVar

from django.db import connection

from notifier import ledger, receipts
from notifier.breaker import Breaker
from notifier.chain import Wait
from notifier.errands import NO_DATABASE, Answer, Errand, Handover, advance, errand_of, hand_over

log = logging.getLogger(__name__)
T = TypeVar("T")

WIDTH = 16
"""Messages in flight in one process: so many wait for a provider at once, and so many are unknown after a kill -9."""

LOOK = 0.2
"""Seconds for which answers are awaited before it is looked for more that is due: one slow message holds nobody up."""

GATHER = 0.01
"""Seconds in which answers that come close together are settled by the same statements."""


@cache
def _senders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=WIDTH, thread_name_prefix="send")


def _forget() -> None:
    """A forked child must not use threads and turns that it does not have."""
    global _turn  # noqa: PLW0603 - a thread of the parent may hold it: nobody would ever give it back here
    _senders.cache_clear()
    _turn = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

_turn = Lock()
_bell = Event()


def deliver_due(stop: Callable[[], bool] = lambda: False) -> None:
    """Deliver what is due until nothing is, or `stop()` says so: then what is in flight ends, the rest is given back.

    One thread of a process does it; who calls meanwhile returns at once, and that thread looks again before it ends.
    """
    _bell.set()
    while _bell.is_set() and _turn.acquire(blocking=False):
        try:
            _bell.clear()
            _Dispatcher(stop=stop).run()
        finally:
            _turn.release()


def deliver(ids: Sequence[int]) -> None:
    """Deliver these, as far as they are due and in nobody's hands, and return when their first round is over."""
    _Dispatcher(ids=ids).run()


class _Dispatcher:
    """One run: from the first claim until nothing is due and nothing is in flight."""

    def __init__(self, *, ids: Sequence[int] | None = None, stop: Callable[[], bool] = lambda: False) -> None:
        self._ids = ids
        self._stop = stop
        self._ready: deque[Errand] = deque()
        self._flying: dict[Future[Answer], Handover] = {}
        self._breaker = Breaker()
        self._renewed = time.monotonic()

    def run(self) -> None:
        _surely(receipts.miss_deadlines)
        while True:
            self._start()  # before claiming: what has landed must not keep us from seeing that more is due
            claimed = not self._stop() and self._claim_more()
            if claimed:
                self._start()
            elif not self._flying and not self._ready:
                return
            self._land(0 if claimed else LOOK)
            self._renew()

    def _claim_more(self) -> bool:
        """Keep at most twice the width in our hands: what we hold, nobody else can send, nor overtake. False: none."""
        room = WIDTH - len(self._ready)
        if room <= 0 or len(self._flying) >= WIDTH:
            return False
        claim = _surely(lambda: ledger.claim(limit=room, ids=self._ids))
        self._ready.extend(errand_of(row, claim) for row in claim.rows)
        return bool(claim.rows)

    def _start(self) -> None:
        """Move ready errands along; settle those that end, mark and hand over those that do not."""
        stopping = self._stop()
        settlements: list[tuple[ledger.Claim, ledger.Settlement]] = []
        leaving: list[Handover] = []
        for _ in range(len(self._ready)):
            if len(self._flying) + len(leaving) >= WIDTH and not stopping:
                break
            errand = self._ready.popleft()
            move = _surely(lambda errand=errand: advance(errand, self._breaker))  # type: ignore[misc]
            if stopping and isinstance(move, Handover):
                move = Wait(errand.claim.now(), errand.row.round)
            if isinstance(move, Handover):
                leaving.append(move)
                if errand.unwritten:
                    settlements.append((errand.claim, errand.settlement(None)))
            else:
                settlements.append((errand.claim, errand.settlement(move)))
        for claim, of_claim in _by_claim(settlements):
            _surely(lambda claim=claim, of_claim=of_claim: ledger.settle(claim, of_claim))  # type: ignore[misc]
        self._hand_over(leaving)

    def _hand_over(self, leaving: Sequence[Handover]) -> None:
        for claim, handovers in _by_claim([(handover.errand.claim, handover) for handover in leaving]):
            steps: dict[int, list[int]] = {}
            for handover in handovers:
                steps.setdefault(handover.step, []).append(handover.errand.row.pk)
            ours = _surely(lambda claim=claim, steps=steps: ledger.mark(claim, steps))  # type: ignore[misc]
            for handover in handovers:
                if handover.errand.row.pk in ours:
                    self._flying[_senders().submit(hand_over, handover)] = handover
            # Ended meanwhile, or acknowledged: the settlement knows.
            left = [handover.errand.settlement(None) for handover in handovers if handover.errand.row.pk not in ours]
            if left:
                _surely(lambda claim=claim, left=left: ledger.settle(claim, left))  # type: ignore[misc]

    def _land(self, patience: float) -> None:
        """Wait so many seconds for answers; what comes close together is dealt with together."""
        if not self._flying:
            return
        done, _ = wait(self._flying, timeout=patience, return_when=FIRST_COMPLETED)
        if done and len(done) < len(self._flying):
            done, _ = wait(self._flying, timeout=GATHER, return_when=ALL_COMPLETED)
        landed = [(self._flying.pop(future), future.result()) for future in done]
        _surely(lambda: self._breaker.record((handover.circuit, answer.attempt.code) for handover, answer in landed))
        for handover, answer in landed:
            errand = handover.errand
            errand.record(answer.attempt)
            # Ahead of those that have not begun: what came of it is written before anything else leaves.
            self._ready.appendleft(errand)
            if answer.moved_to and (recipient := errand.row.recipient) is not None:
                _surely(lambda recipient=recipient, answer=answer: ledger.follow(recipient, answer.moved_to))  # type: ignore[misc]

    def _renew(self) -> None:
        if time.monotonic() - self._renewed > ledger.LEASE.total_seconds() / 3:
            self._renewed = time.monotonic()
            held = [*self._ready, *(handover.errand for handover in self._flying.values())]
            for claim in {errand.claim.token: errand.claim for errand in held}.values():
                _surely(lambda claim=claim: ledger.renew(claim))  # type: ignore[misc]


def _by_claim(pairs: Iterable[tuple[ledger.Claim, T]]) -> list[tuple[ledger.Claim, list[T]]]:
    """Things of the same claim together."""
    found: dict[object, tuple[ledger.Claim, list[T]]] = {}
    for claim, thing in pairs:
        found.setdefault(claim.token, (claim, []))[1].append(thing)
    return list(found.values())


def _surely(write: Callable[[], T]) -> T:
    """Do this to the database, again and again while it is away, for as long as our leases last.

    After that the rows belong to whoever finds them, and their tokens keep us from writing over that.
    """
    give_up = time.monotonic() + ledger.LEASE.total_seconds()
    while True:
        try:
            return write()
        except NO_DATABASE:
            if time.monotonic() > give_up or connection.in_atomic_block:
                raise
            log.warning("The database does not answer; trying again.", exc_info=True)
            connection.close()
            time.sleep(0.5)
