"""claim → render → send → chain → settle, until nothing is due.

A dispatcher keeps messages on their way on as many connections as the accounts allow, and a few more at hand. Again and
again it settles together what came back together, claims more rows, moves each along its chain to its next hand-over,
marks those as a group (one statement, not one a message) and lets them leave. Only its own thread speaks to the
database; the channels' threads do the waiting.
"""

import heapq
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count
from threading import Condition
from typing import TypeVar
from uuid import uuid4

from django.db import connection

from notifier import ledger, receipts
from notifier.breaker import COUNTED, Breaker
from notifier.chain import Wait
from notifier.errands import NO_DATABASE, Answer, Errand, Handover, advance, errand_of, hand_over

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK = 0.2
"""Seconds for which answers are awaited before it is looked for more that is due: one slow message holds nobody up."""

GATHER = 0.010
"""Seconds in which answers that come close together are settled by the same statements."""

AHEAD = 0.05
"""Seconds of work at hand. What we hold, nobody else can send; with less, connections wait for the database."""

LEAST, MOST = 64, 256
"""Rows at hand, however slow or fast they leave."""

IN_FLIGHT = 256
"""Messages on their way over all accounts, above which no more are claimed: each may hold a connection of its own. A
single account may have more."""

BEHIND = 0.03
"""Seconds of work that lines up at the connections: about as long as it takes to settle some and to mark the next."""

AT_ONCE = 64
"""Rows that are moved along before the first of them leaves."""

SILENT = COUNTED | {"outcome_unknown", "internal_error"}
"""Codes after which nothing lines up at a connection: the provider did not say a word of the message."""

RETURN = 0.5
"""Seconds between two times at which what waits for slow accounts is given back."""

LONGEST_TURN = 30.0
"""Seconds for which a notification is given back whose account is busy: it may become faster."""

RECOVERY = 1.0
"""Seconds between two looks for what other workers left behind: a lease is many times longer."""


class Dispatcher:
    """One run: from the first claim until nothing is due and nothing is in flight."""

    def __init__(self, *, ids: Sequence[int] | None = None, stop: Callable[[], bool] = lambda: False) -> None:
        self._ids = ids
        self._stop = stop
        self._ours = ledger.Claim(uuid4())  # one token for every claim of this run, so that they settle together
        self._held: dict[int, Errand] = {}
        self._ready: deque[Errand] = deque()
        self._lanes: dict[str, _Lane] = {}
        self._landings = _Landings()
        self._breaker = Breaker()
        self._pace = _Pace()
        self._renewed = time.monotonic()
        self._next_look = self._next_refill = self._next_recovery = self._next_return = float("-inf")

    def run(self) -> None:
        """Deliver until nothing is due."""
        _surely(receipts.miss_deadlines)
        while True:
            self._renew()
            self._move_along()
            claimed = not self._stop() and self._claim_more()
            if not self._held:
                return
            self._land(hurry=claimed)

    def look(self) -> None:
        """There may be more that is due: look at once. From any thread."""
        self._landings.wake()

    def _claim_more(self) -> bool:
        """Keep as much at hand as leaves in a moment; and what is more urgent than all of that, soon. False: none."""
        now = time.monotonic()
        if self._flying() >= max([IN_FLIGHT, *(lane.width + lane.behind for lane in self._lanes.values())]):
            return False
        at_hand = len(self._ready) + sum(map(len, self._lanes.values()))
        at_most = min(MOST, max(LEAST, self._pace.within(AHEAD)))
        # What waits for a slow account must not keep those of others from being claimed.
        soon = len(self._ready) + sum(lane.soon() for lane in self._lanes.values())
        room = min(at_most - soon, MOST - at_hand)
        refill = not self._held or (2 * room >= at_most and now >= self._next_refill)
        if not refill and now < self._next_look:
            return False
        wanted, above = (room, None)
        if at_hand and not refill:
            wanted, above = min(LEAST, MOST - at_hand), self._lowest_at_hand()
        self._next_look = now + LOOK
        if wanted <= 0:
            return False
        recover = now >= self._next_recovery
        claim = _surely(
            lambda: ledger.claim(limit=wanted, ids=self._ids, token=self._ours.token, lapsed=recover, above=above)
        )
        if len(claim.rows) < wanted and above is None:
            self._next_refill = now + LOOK
        if recover:
            self._next_recovery = now + RECOVERY
        for row in claim.rows:
            # Where it is in our hands already, somebody had it meanwhile: what the old errand brings counts no more.
            self._held[row.pk] = errand_of(row, claim)
        self._ready.extend(self._held[row.pk] for row in claim.rows)
        return bool(claim.rows)

    def _flying(self) -> int:
        return sum(lane.flying for lane in self._lanes.values())

    def _lowest_at_hand(self) -> int:
        waiting = [rank for lane in self._lanes.values() for rank in lane.waiting_ranks()]
        return min(waiting + [errand.row.priority for errand in self._ready])

    def _is_held(self, errand: Errand) -> bool:
        """Whether nobody else had its row since."""
        return self._held.get(errand.row.pk) is errand

    def _move_along(self) -> None:
        """Move ready errands along; settle those that end, mark and hand over those that do not."""
        stopping = self._stop()
        shut = _surely(lambda: [lane for key, lane in self._lanes.items() if stopping or self._breaker.is_open(key)])
        for lane in shut:
            self._ready.extend(lane.recall())  # they would only find out the hard way
        self._hand_over()  # first of all: connections are free
        settlements = []
        for _ in range(len(self._ready) if stopping else min(len(self._ready), AT_ONCE)):
            errand = self._ready.popleft()
            if not self._is_held(errand):
                continue
            move = _surely(partial(advance, errand, self._breaker))
            if isinstance(move, Handover) and not stopping:
                self._lane(move).add(move)
                if errand.unwritten:
                    settlements.append(errand.settlement(None))
            else:
                del self._held[errand.row.pk]
                again = Wait(errand.claim.now(), errand.row.round)
                settlements.append(errand.settlement(again if isinstance(move, Handover) else move))
        self._settle(settlements)
        self._hand_over()
        self._give_back()

    def _give_back(self) -> None:
        """Where slow accounts fill the room at hand, what waits for them goes back until about its turn."""
        now = time.monotonic()
        is_full = MOST - sum(map(len, self._lanes.values())) < LEAST
        if not is_full or now < self._next_return or self._ids is not None:
            return
        self._next_return = now + RETURN
        surplus = [one for lane in self._lanes.values() for one in lane.surplus() if self._is_held(one[0].errand)]
        settlements = []
        for handover, seconds in surplus:
            errand = self._held.pop(handover.errand.row.pk)
            until = min(errand.claim.now() + timedelta(seconds=seconds), errand.row.expires_at)
            settlements.append(errand.settlement(Wait(until, errand.row.round)))
        self._settle(settlements)

    def _settle(self, settlements: Sequence[ledger.Settlement], *, again: bool = False) -> None:
        """Write these together. One that cannot be written holds up no other: somebody finds its row when the lease is
        over."""
        if not settlements:
            return
        tries = count(int(again))
        try:
            _surely(lambda: ledger.settle(self._ours, settlements, again=next(tries) > 0))
        except NO_DATABASE:
            raise
        except Exception:
            if len(settlements) > 1:
                for one in settlements:
                    self._settle([one], again=True)
                return
            lost = settlements[0].notification_id
            log.exception("What came of a notification cannot be written.", extra={"notification_id": lost})
            self._held.pop(lost, None)

    def _hand_over(self) -> None:
        leaving = [handover for lane in self._lanes.values() for handover in lane.leaving()]
        steps: dict[int, list[int]] = {}
        for handover in leaving:
            if self._is_held(handover.errand) and not handover.errand.has_expired():
                steps.setdefault(handover.step, []).append(handover.errand.row.pk)
        # Here and not with the claim: the files of all at hand would fill the memory.
        attached = [handover.errand.row.pk for handover in leaving if handover.has_files()]
        files = _surely(lambda: ledger.files_of(attached)) if attached else {}
        # Before the mark: where we die in between, it is simply tried again, and what is told twice does no harm.
        if later := [told for handover in leaving if (told := handover.later())]:
            _surely(lambda: receipts.foretell(later))
        ours = _surely(lambda: ledger.mark(self._ours, steps)) if steps else set()
        left = []
        for handover in leaving:
            if handover.errand.row.pk in ours and self._is_held(handover.errand):
                landed = partial(self._landings.put, handover)
                hand_over(handover, landed, files.get(handover.errand.row.pk, ()))
                continue
            self._lane(handover).flying -= 1
            if not self._is_held(handover.errand):
                continue
            if handover.errand.has_expired():
                self._ready.append(handover.errand)  # it ends there
            else:  # ended meanwhile, or acknowledged: the settlement knows
                left.append(self._held.pop(handover.errand.row.pk).settlement(None))
        self._settle(left)

    def _land(self, *, hurry: bool) -> None:
        """Wait for answers; what comes close together is dealt with together. `hurry`: take what is there."""
        enough, patience = (1, 0.0) if hurry else (max(1, self._flying() // 2), 0.0 if self._ready else LOOK)
        landed, woken = self._landings.take(enough=enough, patience=patience)
        if woken:
            self._next_look = self._next_refill = float("-inf")
        if not landed:
            return
        self._pace.count(len(landed))
        _surely(lambda: self._breaker.record((handover.circuit, answer.attempt.code) for handover, answer in landed))
        for handover, answer in landed:
            self._lane(handover).land(answer.attempt.code)
            errand = handover.errand
            if not self._is_held(errand):
                continue
            errand.record(answer.attempt)
            # Ahead of those that have not begun: what came of it is written before anything else leaves.
            self._ready.appendleft(errand)
            if answer.moved_to and (recipient := errand.row.recipient) is not None:
                _surely(partial(ledger.follow, recipient, answer.moved_to))
        for key in [key for key, lane in self._lanes.items() if not lane.flying and not len(lane)]:
            del self._lanes[key]

    def _renew(self) -> None:
        if time.monotonic() - self._renewed > ledger.LEASE.total_seconds() / 3:
            self._renewed = time.monotonic()
            _surely(lambda: ledger.renew(self._ours, list(self._held)))
            _surely(lambda: ledger.let_go(self._ours, list(self._held)))

    def _lane(self, handover: Handover) -> "_Lane":
        lane = self._lanes.get(handover.circuit)
        if lane is None:
            lane = self._lanes[handover.circuit] = _Lane(handover.carrier.width, handover.carrier.behind)
        return lane


@dataclass
class _Lane:
    """The messages that leave through one account, as many at once as its channel can carry: a slow one holds up only
    its own."""

    width: int
    behind: int
    flying: int = 0
    answers: bool = False
    _since: float = field(default_factory=time.monotonic)
    _pace: "_Pace" = field(default_factory=lambda: _Pace())  # noqa: PLW0108 - it is defined below
    _waiting: list[tuple[int, int, Handover]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)

    def add(self, handover: Handover) -> None:
        """Line up: behind what is as urgent, before what is less."""
        heapq.heappush(self._waiting, (-handover.errand.row.priority, next(self._order), handover))

    def leaving(self) -> list[Handover]:
        """Those whose turn it is; they count as flying from now on."""
        # What lines up behind others would pay a silent provider's time twice, and be unknown after a `kill -9`
        # although it never left: just so much that no connection waits for the database.
        behind = min(self.behind, self._pace.within(BEHIND)) if self.answers else 0
        room = self.width + behind - self.flying
        leaving = [heapq.heappop(self._waiting)[2] for _ in range(min(room, len(self._waiting)))]
        self.flying += len(leaving)
        return leaving

    def land(self, code: str) -> None:
        """One came back."""
        self.flying -= 1
        self._pace.count(1)
        self.answers = code not in SILENT

    def soon(self) -> int:
        """How many of those that wait leave in a moment."""
        return min(len(self), max(LEAST // 2, self._pace.within(AHEAD)))

    def surplus(self) -> list[tuple[Handover, float]]:
        """Take back what does not leave soon, each with the seconds until about its turn."""
        if time.monotonic() - self._since < RETURN:
            return []  # too new to be called slow
        keep = max(LEAST, self._pace.within(2 * RETURN))
        self._waiting.sort()
        surplus, self._waiting = self._waiting[keep:], self._waiting[:keep]
        rate = self._pace.within(1) or self.width / LOOK
        turns = enumerate(surplus, keep)
        return [(handover, min(LONGEST_TURN, turn / rate)) for turn, (*_, handover) in turns]

    def recall(self) -> list[Errand]:
        """Take back all that have not left."""
        waiting, self._waiting = sorted(self._waiting), []
        return [handover.errand for *_, handover in waiting]

    def waiting_ranks(self) -> list[int]:
        """The priorities of those that have not left."""
        return [-rank for rank, *_ in self._waiting]

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)


class _Landings:
    """Where the channels' threads put what came back, and the dispatcher waits for it."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._came: list[tuple[Handover, Answer]] = []
        self._enough = 1
        self._woken = False

    def put(self, handover: Handover, answer: Answer) -> None:
        with self._condition:
            self._came.append((handover, answer))
            if len(self._came) >= self._enough:
                self._condition.notify()

    def wake(self) -> None:
        """End the waiting."""
        with self._condition:
            self._woken = True
            self._condition.notify()

    def take(self, *, enough: int, patience: float) -> tuple[list[tuple[Handover, Answer]], bool]:
        """Wait so many seconds for a first one, then a moment for `enough`. The second value: somebody woke us."""
        with self._condition:
            self._enough = 1
            if patience and not self._came and not self._woken:
                self._condition.wait(patience)
            if self._came and len(self._came) < enough and not self._woken:
                self._enough = enough
                self._condition.wait(GATHER)
            came, self._came = self._came, []
            woken, self._woken = self._woken, False
        return came, woken


class _Pace:
    """How fast messages come back: so fast others may follow."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._landed = 0
        self._rate = 0.0

    def count(self, landed: int) -> None:
        """So many came back."""
        self._landed += landed
        elapsed = time.monotonic() - self._since
        if elapsed >= AHEAD:
            self._rate = self._landed / elapsed
            self._since, self._landed = time.monotonic(), 0

    def within(self, seconds: float) -> int:
        """How many come back in such a time."""
        return round(self._rate * seconds)


def _surely(write: Callable[[], T]) -> T:
    """Do this to the database, again and again while it is away, for as long as our leases last.

    After that the rows belong to whoever finds them, and our token keeps us from writing over that.
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
