"""Where a notification goes from here: pure. No database, no clock of its own; the caller brings both.

A chain is walked in rounds. In each round the live steps are tried in order; a step that failed for good, was skipped
for good, missed its deadline or may have arrived is dead and never tried again. After the last step a new round begins
later, as long as one step lives. What happened is read from the attempts alone, so the answer is the same whoever asks,
after whatever crash.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.states import Bar, OnUnknown, Outcome, Status

RECEIPT_TIME = timedelta(seconds=300)
"""How long a step with a bar above `accepted` has, when nothing else is said."""

LONGEST_PAUSE = timedelta(days=365)
"""More than any notification lives; what a provider names beyond it could leave the calendar."""

MOST_DOUBLINGS = 16
"""Of the pause between two tries of a step: the next would be days long, and many more would leave the calendar."""


@dataclass(frozen=True, slots=True)
class Step:
    """One channel of the chain, the bar it must reach and the time it has for that."""

    channel: str
    until: Bar = Bar.ACCEPTED
    within: timedelta | None = None

    @property
    def time(self) -> timedelta:
        """The time of this step, counted from its first try in a round."""
        if self.within is not None:
            return self.within
        return timedelta(0) if self.until is Bar.ACCEPTED else RECEIPT_TIME


@dataclass(frozen=True, slots=True)
class Try:
    """What is known of one attempt. `temporary` speaks of a failure or a skip: the step stays alive."""

    step: int
    round: int
    outcome: Outcome
    started_at: datetime
    ended_at: datetime
    code: str = ""
    temporary: bool = False
    retry_after: timedelta | None = None
    receipt: str = ""

    @property
    def arrived(self) -> bool:
        """Whether the provider says that the person has it."""
        return self.outcome is Outcome.ACCEPTED and self.receipt in {"delivered", "read"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How patient this walk is. `first_round` is where the last manual retry began: older attempts count no more."""

    expires_at: datetime
    round: int = 0
    first_round: int = 0
    on_unknown: OnUnknown = OnUnknown.NEXT
    step_retry: timedelta = timedelta(seconds=5)
    round_delays: Sequence[timedelta] = (timedelta(seconds=30),)
    jitter: float = 1.0


@dataclass(frozen=True, slots=True)
class Send:
    """Try this step now."""

    step: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Queue again, due then, in that round."""

    until: datetime
    round: int


@dataclass(frozen=True, slots=True)
class AwaitReceipt:
    """A provider took it; this step waits for its receipt until then."""

    step: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Miss:
    """The deadline of this step's receipt has passed: write that down, then ask again."""

    step: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Done. `code`: why it failed."""

    status: Status
    code: str = ""


Move = Send | Wait | AwaitReceipt | Miss | Finish


def next_move(steps: Sequence[Step], tries: Sequence[Try], now: datetime, policy: Policy) -> Move:
    """Where a notification goes from here.

    `tries` are all its attempts in order. A notification that a provider took is never called expired for that.
    """
    if any(attempt.arrived and steps[attempt.step].until is Bar.DELIVERED for attempt in tries):
        # Also by a step whose deadline has passed, or from before a retry by hand: a late receipt still counts.
        return Finish(Status.DELIVERED)
    tries = [attempt for attempt in tries if attempt.round >= policy.first_round]
    move = _in_this_round(steps, tries, now, policy) or _after_the_round(steps, tries, now, policy)
    if isinstance(move, Finish):
        return move
    if now >= policy.expires_at:
        return Finish(Status.EXPIRED)
    if isinstance(move, Wait):
        return Wait(min(move.until, policy.expires_at), move.round)
    if isinstance(move, AwaitReceipt):
        return AwaitReceipt(move.step, min(move.until, policy.expires_at))
    return move


def is_dead(tries: Sequence[Try], on_unknown: OnUnknown) -> bool:
    """Whether a step with these attempts (its own, in order) must never be tried again."""
    for position, attempt in enumerate(tries):
        if attempt.outcome in {Outcome.FAILED, Outcome.SKIPPED} and not attempt.temporary:
            return True
        if attempt.outcome is Outcome.UNKNOWN:
            # It may have arrived. One more try where the client allows it, whatever comes of that.
            tried_again = any(later.outcome is not Outcome.SKIPPED for later in tries[position + 1 :])
            if on_unknown is not OnUnknown.RETRY or tried_again:
                return True
    return False


def failure_code(tries: Sequence[Try]) -> str:
    """Why it failed: the code of the last attempt that is no skip, else of the last skip."""
    real = [attempt for attempt in tries if attempt.outcome is not Outcome.SKIPPED] or list(tries)
    return real[-1].code if real else "no_address"


def _in_this_round(steps: Sequence[Step], tries: Sequence[Try], now: datetime, policy: Policy) -> Move | None:
    """The move of the first step that still has one in this round. None: the round is over."""
    if steps and not tries:
        return Send(0)
    if policy.on_unknown is OnUnknown.STOP and any(attempt.outcome is Outcome.UNKNOWN for attempt in tries):
        return Finish(Status.FAILED, "outcome_unknown")
    for index, step in enumerate(steps):
        own = [attempt for attempt in tries if attempt.step == index]
        if own and own[-1].outcome is Outcome.ACCEPTED:
            return _after_acceptance(index, step, own, now)
        if is_dead(own, policy.on_unknown):
            continue
        here = [attempt for attempt in own if attempt.round == policy.round]
        if not here:
            return Send(index)
        again_at = _again_at(step, here, policy)
        if again_at is not None:
            return Send(index) if again_at <= now else Wait(again_at, policy.round)
    return None


def _after_acceptance(index: int, step: Step, own: Sequence[Try], now: datetime) -> Move:
    """A provider took it: enough, or the receipt has time until the step's deadline."""
    if step.until is Bar.ACCEPTED:
        return Finish(Status.SENT)
    began_at = next(attempt.started_at for attempt in own if attempt.round == own[-1].round)
    deadline = began_at + step.time
    return AwaitReceipt(index, deadline) if now < deadline else Miss(index)


def _again_at(step: Step, here: Sequence[Try], policy: Policy) -> datetime | None:
    """When this step is tried again in this round. None: not in this round."""
    last = here[-1]
    if last.outcome is Outcome.UNKNOWN:
        return last.ended_at + policy.step_retry
    if last.outcome is not Outcome.FAILED:
        return None
    failures = sum(attempt.outcome is Outcome.FAILED for attempt in here)
    pause = _named_pause(last) or policy.step_retry * 2 ** min(failures - 1, MOST_DOUBLINGS)
    in_time = last.ended_at - here[0].started_at + pause <= step.time
    return last.ended_at + pause if in_time else None


def _named_pause(attempt: Try) -> timedelta | None:
    """The pause that the provider asked for. One of no time is none: rounds would follow each other without end."""
    named = attempt.retry_after
    return min(named, LONGEST_PAUSE) if named is not None and named > timedelta(0) else None


def _after_the_round(steps: Sequence[Step], tries: Sequence[Try], now: datetime, policy: Policy) -> Move:
    """A new round where a step lives, after the delay of this round or what a provider named; else the end."""
    named: list[timedelta] = []
    alive = False
    for index in range(len(steps)):
        own = [attempt for attempt in tries if attempt.step == index]
        if not is_dead(own, policy.on_unknown):
            alive = True
            pause = _named_pause(own[-1]) if own and own[-1].round == policy.round else None
            named += [pause] if pause else []
    if not alive:
        return Finish(Status.FAILED, failure_code(tries))
    position = min(policy.round - policy.first_round, len(policy.round_delays) - 1)
    delay = max(named) if named else policy.round_delays[position] * policy.jitter
    return Wait(now + delay, policy.round + 1)
