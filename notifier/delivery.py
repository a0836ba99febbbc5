"""claim → render → send → chain → settle, until nothing is due.

A dispatcher keeps a bounded number of messages in flight. Again and again it settles what came back, claims more rows
while there is room, moves each along its chain to its next hand-over, marks those as a group (one statement, not one a
message) and lets their messages leave side by side. Only the pool's threads wait for providers; only the dispatcher's
own thread speaks to the database.
"""

import logging
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from threading import Event, Lock
from typing import TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from channels.base import Account, Message
from channels.errors import MisconfiguredError, PermanentError, TemporaryError, UnknownOutcomeError
from channels.registry import ChannelRegistry
from notifier import ledger
from notifier.chain import LONGEST_PAUSE, AwaitReceipt, Finish, Miss, Policy, Send, Try, Wait, next_move
from notifier.models import Attempt, Notification
from notifier.provider_accounts import account_for
from notifier.rendering import message_for
from notifier.states import CODES, OnUnknown, Outcome, Status

log = logging.getLogger(__name__)
T = TypeVar("T")

WIDTH = 16
"""Messages in flight in one process: so many wait for a provider at once, and so many are unknown after a kill -9."""

GATHER = 0.01
"""Seconds in which answers that come close together are settled by the same statements."""


@cache
def channels() -> ChannelRegistry:
    """This process's channels, with their connections."""
    return ChannelRegistry(settings.CHANNELS)


@cache
def _senders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=WIDTH, thread_name_prefix="send")


def _forget() -> None:
    """A forked child must not use its parent's connections, nor threads and turns that it does not have."""
    global _turn  # noqa: PLW0603 - a thread of the parent may hold it: nobody would ever give it back here
    channels.cache_clear()
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


@dataclass(slots=True)
class _Errand:
    """One claimed notification on its way along its chain."""

    row: Notification
    claim: ledger.Claim
    tries: list[Try]
    unwritten: list[Attempt] = field(default_factory=list)

    def record(self, attempt: Attempt) -> None:
        """Append what happened; it is written with the next settlement."""
        attempt.notification_id = self.row.pk
        attempt.round = self.row.round
        self.unwritten.append(attempt)
        self.tries.append(_as_try(attempt))

    def settlement(self, move: Wait | AwaitReceipt | Finish | None) -> ledger.Settlement:
        """What there is to write now."""
        attempts, self.unwritten = self.unwritten, []
        return ledger.Settlement(self.row.pk, attempts, move)


@dataclass(frozen=True, slots=True)
class _Handover:
    """A message ready to leave."""

    errand: _Errand
    step: int
    channel: str
    message: Message
    account: Account


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of a hand-over. `moved_to`: the person's new address there, says the provider."""

    attempt: Attempt
    moved_to: str = ""


class _Dispatcher:
    """One run: from the first claim until nothing is due and nothing is in flight."""

    def __init__(self, *, ids: Sequence[int] | None = None, stop: Callable[[], bool] = lambda: False) -> None:
        self._ids = ids
        self._stop = stop
        self._ready: deque[_Errand] = deque()
        self._flying: dict[Future[_Answer], _Handover] = {}
        self._renewed = time.monotonic()

    def run(self) -> None:
        while True:
            self._start()  # before claiming: what has landed must not keep us from seeing that more is due
            claimed = not self._stop() and self._claim_more()
            if claimed:
                self._start()
            elif not self._flying and not self._ready:
                return
            self._land(0 if claimed else ledger.LEASE.total_seconds() / 3)
            self._renew()

    def _claim_more(self) -> bool:
        """Keep at most twice the width in our hands: what we hold, nobody else can send, nor overtake. False: none."""
        room = WIDTH - len(self._ready)
        if room <= 0 or len(self._flying) >= WIDTH:
            return False
        claim = _surely(lambda: ledger.claim(limit=room, ids=self._ids))
        self._ready.extend(_Errand(row, claim, [_as_try(one) for one in row.attempts.all()]) for row in claim.rows)
        return bool(claim.rows)

    def _start(self) -> None:
        """Move ready errands along; settle those that end, mark and hand over those that do not."""
        stopping = self._stop()
        settlements: list[tuple[ledger.Claim, ledger.Settlement]] = []
        leaving: list[_Handover] = []
        for _ in range(len(self._ready)):
            if len(self._flying) + len(leaving) >= WIDTH and not stopping:
                break
            errand = self._ready.popleft()
            move = _surely_advance(errand)
            if stopping and isinstance(move, _Handover):
                move = Wait(errand.claim.now(), errand.row.round)
            if isinstance(move, _Handover):
                leaving.append(move)
                if errand.unwritten:
                    settlements.append((errand.claim, errand.settlement(None)))
            else:
                settlements.append((errand.claim, errand.settlement(move)))
        for claim, of_claim in _by_claim(settlements):
            _surely(lambda claim=claim, of_claim=of_claim: ledger.settle(claim, of_claim))  # type: ignore[misc]
        self._hand_over(leaving)

    def _hand_over(self, leaving: Sequence[_Handover]) -> None:
        for claim, handovers in _by_claim([(handover.errand.claim, handover) for handover in leaving]):
            steps: dict[int, list[int]] = {}
            for handover in handovers:
                steps.setdefault(handover.step, []).append(handover.errand.row.pk)
            ours = _surely(lambda claim=claim, steps=steps: ledger.mark(claim, steps))  # type: ignore[misc]
            for handover in handovers:
                if handover.errand.row.pk in ours:
                    self._flying[_senders().submit(_send, handover)] = handover

    def _land(self, patience: float) -> None:
        """Wait so many seconds for answers; what comes close together is dealt with together."""
        if not self._flying:
            return
        done, _ = wait(self._flying, timeout=patience, return_when=FIRST_COMPLETED)
        if done and len(done) < len(self._flying):
            done, _ = wait(self._flying, timeout=GATHER, return_when=ALL_COMPLETED)
        for future in done:
            errand, answer = self._flying.pop(future).errand, future.result()
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


def _policy(row: Notification) -> Policy:
    return Policy(
        expires_at=row.expires_at,
        round=row.round,
        first_round=row.first_round,
        on_unknown=OnUnknown(row.on_unknown),
        step_retry=settings.STEP_RETRY_SECONDS,
        round_delays=settings.RETRY_DELAYS,
        jitter=random.uniform(0.8, 1.2),  # noqa: S311 - spreads load, keeps no secret
    )


def _surely_advance(errand: _Errand) -> _Handover | Wait | AwaitReceipt | Finish:
    """`_advance`; a row that nobody can read is put off, so that it never stands in the others' way."""
    try:
        return _advance(errand)
    except Exception:
        log.exception("A notification cannot be moved along.", extra={"notification_id": errand.row.pk})
        return _put_off(errand)


def _put_off(errand: _Errand) -> Wait | Finish:
    row, now = errand.row, errand.claim.now()
    begun = row.handover_step is not None
    errand.record(
        Attempt(
            step=row.handover_step or 0,
            outcome=Outcome.UNKNOWN if begun else Outcome.FAILED,
            temporary=None if begun else True,
            code="internal_error",
            detail="The notification cannot be moved along. The service's log says why.",
            started_at=now,
        )
    )
    if now >= row.expires_at:
        return Finish(Status.EXPIRED)
    return Wait(min(now + settings.RETRY_DELAYS[-1], row.expires_at), row.round + 1)


def _advance(errand: _Errand) -> _Handover | Wait | AwaitReceipt | Finish:
    """Walk the chain up to the next hand-over or the end of this pass, writing down every skip."""
    policy = _policy(errand.row)
    if errand.row.handover_step is not None:
        detail = "The worker died while it handed the message over: it may have arrived."
        errand.record(_attempt(errand, errand.row.handover_step, Outcome.UNKNOWN, "outcome_unknown", detail))
        errand.row.handover_step = None
    while True:
        now = errand.claim.now()
        move = next_move(errand.row.chain, errand.tries, now, policy)
        if isinstance(move, Miss):
            detail = "No receipt came in the time of this step."
            errand.record(_attempt(errand, move.step, Outcome.FAILED, "deadline_missed", detail))
        elif isinstance(move, Send):
            prepared = _prepared(errand, move.step)
            if isinstance(prepared, _Handover):
                return prepared
            errand.record(prepared)
        else:
            return move


def _prepared(errand: _Errand, step: int) -> _Handover | Attempt:
    """The message ready to leave by this step, or the attempt that says why not."""
    row = errand.row
    channel = row.chain[step].channel
    try:
        address = row.address(channel)
        if not address:
            return _attempt(errand, step, Outcome.SKIPPED, "no_address", "No address for this channel is known.")
        account = account_for(channel, row) if channel in channels() else None
        if account is None:
            return _attempt(errand, step, Outcome.SKIPPED, "not_configured", _why_not_configured(row, channel))
        return _Handover(errand, step, channel, message_for(channel, row, address), account)
    except Exception:
        log.exception("A message could not be prepared.", extra={"notification_id": row.pk, "channel": channel})
        detail = "The message could not be prepared. The service's log says why."
        return _attempt(errand, step, Outcome.FAILED, "internal_error", detail, temporary=True)


def _why_not_configured(row: Notification, channel: str) -> str:
    if channel == "email" and row.own_account:
        return "The request's own SMTP account is gone or its server is not allowed any more."
    return "No account is configured for this channel."


def _send(handover: _Handover) -> _Answer:
    """Hand one message over, in a thread of the pool. Never raises: every end is an attempt."""
    started_at, started = handover.errand.claim.now(), time.monotonic()
    attempt = Attempt(
        step=handover.step, channel=handover.channel, account=handover.account.origin, started_at=started_at
    )
    moved_to = ""
    try:
        receipt = channels()[handover.channel].send(handover.message, handover.account)
        attempt.provider_id, attempt.detail = _storable(receipt.provider_id)[:255], _storable(receipt.detail)
        attempt.outcome, moved_to = Outcome.ACCEPTED, receipt.new_address
    except Exception as error:  # noqa: BLE001 - an unforeseen one is recorded and logged, and the others go on
        _describe_failure(attempt, error, handover)
    attempt.duration_ms = round((time.monotonic() - started) * 1000)
    return _Answer(attempt, moved_to)


def _describe_failure(attempt: Attempt, error: Exception, handover: _Handover) -> None:
    attempt.outcome, attempt.temporary = Outcome.FAILED, False
    match error:
        case UnknownOutcomeError():
            attempt.outcome, attempt.temporary = Outcome.UNKNOWN, None
        case TemporaryError():
            attempt.temporary = True
            attempt.retry_after = error.retry_after and min(error.retry_after, LONGEST_PAUSE)
        case MisconfiguredError():
            # An operator can mend the organization's or the default account; nobody can mend a request's own.
            attempt.temporary = handover.account.origin != "request"
        case PermanentError():
            pass
        case _:
            extra = {"notification_id": handover.errand.row.pk, "channel": handover.channel}
            log.error("A channel failed in a way that it should not.", exc_info=error, extra=extra)
            attempt.outcome, attempt.temporary = Outcome.UNKNOWN, None
            attempt.code = "internal_error"
            attempt.detail = "The channel failed while it handed the message over. The service's log says why."
            return
    attempt.code = error.code if error.code in CODES else "provider_error"
    attempt.detail = _storable(error.detail)


def _storable(text: str) -> str:
    """A provider's words without what PostgreSQL refuses: one of them must not cost a whole batch its settlement."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def _attempt(
    errand: _Errand, step: int, outcome: Outcome, code: str, detail: str, *, temporary: bool = False
) -> Attempt:
    """An attempt that never left the house."""
    return Attempt(
        step=step,
        channel=errand.row.chain[step].channel,
        outcome=outcome,
        temporary=None if outcome is Outcome.UNKNOWN else temporary,
        code=code,
        detail=detail,
        started_at=errand.claim.now(),
    )


def _as_try(attempt: Attempt) -> Try:
    ended_at: datetime = attempt.started_at + timedelta(milliseconds=attempt.duration_ms)
    return Try(
        step=attempt.step,
        round=attempt.round,
        outcome=Outcome(attempt.outcome),
        started_at=attempt.started_at,
        ended_at=ended_at,
        code=attempt.code,
        temporary=bool(attempt.temporary),
        retry_after=attempt.retry_after,
    )


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
        except (OperationalError, InterfaceError):
            if time.monotonic() > give_up or connection.in_atomic_block:
                raise
            log.warning("The database does not answer; trying again.", exc_info=True)
            connection.close()
            time.sleep(0.5)
