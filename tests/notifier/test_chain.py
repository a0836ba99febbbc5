"""How a chain is walked: concrete cases for every sentence that is promised of it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from notifier.chain import AwaitReceipt, Finish, Miss, Move, Policy, Send, Step, Try, Wait, failure_code, next_move
from notifier.states import Bar, OnUnknown, Outcome, Status

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DELAYS = tuple(timedelta(seconds=seconds) for seconds in (30, 120, 600, 1800, 3600))
EMAIL, SMS, TELEGRAM = 0, 1, 2
PLAIN = (Step("email"), Step("sms"), Step("telegram"))


def at(seconds: float) -> datetime:
    """A moment, in seconds after the start."""
    return START + timedelta(seconds=seconds)


def step(until: Bar = Bar.ACCEPTED, within: float | None = None) -> Step:
    """A step of any channel."""
    return Step("email", until, None if within is None else timedelta(seconds=within))


def tried(step: int, outcome: Outcome, code: str = "", *, seconds: float = 0, nth: int = 0, **more: object) -> Try:
    """An attempt that took no time."""
    return Try(step, nth, outcome, at(seconds), at(seconds), code, **more)  # type: ignore[arg-type]


def took(step: int, seconds: float = 0, nth: int = 0) -> Try:
    return tried(step, Outcome.ACCEPTED, seconds=seconds, nth=nth)


def busy(step: int, seconds: float = 0, nth: int = 0, retry_after: float | None = None) -> Try:
    """A temporary failure."""
    named = None if retry_after is None else timedelta(seconds=retry_after)
    return tried(step, Outcome.FAILED, "unreachable", seconds=seconds, nth=nth, temporary=True, retry_after=named)


def refused(step: int, code: str = "rejected", nth: int = 0) -> Try:
    """A permanent failure."""
    return tried(step, Outcome.FAILED, code, nth=nth)


def skipped(step: int, code: str, nth: int = 0) -> Try:
    return tried(step, Outcome.SKIPPED, code, nth=nth, temporary=code == "circuit_open")


def lost(step: int, seconds: float = 0, nth: int = 0) -> Try:
    """It may have arrived."""
    return tried(step, Outcome.UNKNOWN, "outcome_unknown", seconds=seconds, nth=nth)


def missed(step: int, seconds: float = 0, nth: int = 0) -> Try:
    return tried(step, Outcome.FAILED, "deadline_missed", seconds=seconds, nth=nth)


def move(
    steps: Sequence[Step],
    tries: Sequence[Try],
    *,
    seconds: float = 0,
    on_unknown: str = "next",
    nth: int = 0,
    first_round: int = 0,
    expires_at: datetime = START + DAY,
    jitter: float = 1.0,
) -> Move:
    """What comes next, at so many seconds after the start, with the default delays."""
    policy = Policy(
        expires_at=expires_at,
        round=nth,
        first_round=first_round,
        on_unknown=OnUnknown(on_unknown),
        round_delays=DELAYS,
        jitter=jitter,
    )
    return next_move(steps, tries, at(seconds), policy)


def wait(seconds: float, nth: int = 0) -> Wait:
    return Wait(at(seconds), nth)


def test_the_first_step_is_tried_first() -> None:
    assert move(PLAIN, []) == Send(EMAIL)


ON_TO_THE_NEXT = {
    "no address": [skipped(EMAIL, "no_address")],
    "not configured": [skipped(EMAIL, "not_configured")],
    "open circuit": [skipped(EMAIL, "circuit_open")],
    "suppressed": [skipped(EMAIL, "address_suppressed")],
    "permanent failure": [refused(EMAIL)],
    "temporary failure without time": [busy(EMAIL)],
    "temporary failure that names a pause": [busy(EMAIL, retry_after=60)],
    "unknown": [lost(EMAIL)],
}


@pytest.mark.parametrize("tries", ON_TO_THE_NEXT.values(), ids=ON_TO_THE_NEXT)
def test_the_next_step_is_tried_at_once(tries: list[Try]) -> None:
    assert move(PLAIN, tries) == Send(SMS)
    assert move(PLAIN, [*tries, busy(SMS)]) == Send(TELEGRAM)


# --- The bar ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("until", "within", "expected"),
    [
        (Bar.ACCEPTED, None, Finish(Status.SENT)),
        (Bar.ACCEPTED, 60, Finish(Status.SENT)),
        (Bar.DELIVERED, None, AwaitReceipt(0, at(300))),  # the default
        (Bar.DELIVERED, 60, AwaitReceipt(0, at(60))),
        (Bar.ACKNOWLEDGED, None, AwaitReceipt(0, at(300))),
        (Bar.ACKNOWLEDGED, 900, AwaitReceipt(0, at(900))),
        (Bar.DELIVERED, 2 * 24 * 3600, AwaitReceipt(0, START + DAY)),  # never longer than the notification lives
        (Bar.DELIVERED, 0, Miss(0)),
    ],
)
def test_accepted_ends_it_or_waits_for_the_receipt(until: Bar, within: float | None, expected: Move) -> None:
    assert move([step(until, within), step()], [took(0)]) == expected


def test_the_deadline_is_missed_when_it_is_over_and_not_before() -> None:
    steps = [step(Bar.DELIVERED, 60), step()]
    assert move(steps, [took(0)], seconds=59.999) == AwaitReceipt(0, at(60))
    assert move(steps, [took(0)], seconds=60) == Miss(0)


def test_a_step_that_missed_its_deadline_is_never_sent_again() -> None:
    steps = [step(Bar.DELIVERED, 60), step()]
    tries = [took(0), missed(0, 60)]
    assert move(steps, tries, seconds=60) == Send(1)
    assert move(steps, [*tries, busy(1, 60)], seconds=60) == wait(90, nth=1)
    assert move(steps, [*tries, busy(1, 60)], seconds=90, nth=1) == Send(1)
    assert move(steps, [*tries, refused(1)], seconds=60) == Finish(Status.FAILED, "rejected")
    assert move(steps[:1], tries, seconds=60) == Finish(Status.FAILED, "deadline_missed")


def test_the_deadline_counts_from_the_steps_first_try_in_the_round_that_was_accepted() -> None:
    steps = [step(Bar.DELIVERED, 60)]
    assert move(steps, [busy(0), took(0, 5)], seconds=5) == AwaitReceipt(0, at(60))
    assert move(steps, [busy(0), took(0, 100, nth=1)], seconds=100, nth=1) == AwaitReceipt(0, at(160))


# --- Temporary failures ----------------------------------------------------------------------------------------------
STEP_RETRIES = {
    # tries so far, the time of the step, at this moment -> the move
    "5 s after the first": ([busy(0)], 60, 0, wait(5)),
    "not a moment sooner": ([busy(0)], 60, 4.9, wait(5)),
    "then the same step": ([busy(0)], 60, 5, Send(0)),
    "10 s after the second": ([busy(0), busy(0, 5)], 60, 5, wait(15)),
    "20 s after the third": ([busy(0), busy(0, 5), busy(0, 15)], 60, 15, wait(35)),
    "the fourth would come too late": ([busy(0), busy(0, 5), busy(0, 15), busy(0, 35)], 60, 35, Send(1)),
    "time for it to the second": ([busy(0)], 5, 0, wait(5)),
    "no time for it": ([busy(0)], 4.9, 0, Send(1)),
    "no time is the default": ([busy(0)], None, 0, Send(1)),
    "as the provider says": ([busy(0, retry_after=40)], 60, 0, wait(40)),
    "later than the step has time": ([busy(0, retry_after=61)], 60, 0, Send(1)),
    "a pause of nothing is none": ([busy(0, retry_after=0)], 60, 0, wait(5)),
    "after many pauses that were named": (
        [*(busy(0, second, retry_after=1) for second in range(200)), busy(0, 200)],
        3600,
        200,
        Send(1),
    ),
    "the last answer's pause counts": ([busy(0, retry_after=30), busy(0, 30)], 60, 30, wait(40)),
}


@pytest.mark.parametrize(("tries", "within", "seconds", "expected"), STEP_RETRIES.values(), ids=STEP_RETRIES)
def test_a_step_that_has_time_is_tried_again_inside_that_time(
    tries: list[Try], within: float | None, seconds: float, expected: Move
) -> None:
    assert move([step(within=within), step()], tries, seconds=seconds) == expected


def test_the_time_of_a_step_begins_anew_in_each_round() -> None:
    steps = [step(within=10), step()]
    first = [busy(0), busy(0, 5), busy(1, 5)]
    assert move(steps, first, seconds=5) == wait(35, nth=1)
    assert move(steps, [*first, busy(0, 35, nth=1)], seconds=35, nth=1) == wait(40, nth=1)


def test_the_time_of_a_try_counts_too() -> None:
    slow = Try(0, 0, Outcome.FAILED, at(0), at(8), "timeout", temporary=True)
    assert move([step(within=13), step()], [slow], seconds=8) == wait(13)
    assert move([step(within=12.9), step()], [slow], seconds=8) == Send(1)


def test_a_step_waits_alone_and_the_others_wait_for_it() -> None:
    steps = [step(), step(within=60), step()]
    assert move(steps, [busy(0), busy(1)]) == wait(5)
    assert move(steps, [busy(0), busy(1)], seconds=5) == Send(1)
    assert move(steps, [busy(0), busy(1), refused(1)], seconds=5) == Send(2)


# --- Unknown ---------------------------------------------------------------------------------------------------------
UNKNOWN = {
    "next: leaves the step": ("next", [lost(0)], 0, Send(1)),
    "next: for good": ("next", [lost(0), busy(1)], 0, wait(30, nth=1)),
    "next: also when it was the last one": ("next", [refused(1), lost(0)], 0, Finish(Status.FAILED, "outcome_unknown")),
    "stop: ends": ("stop", [lost(0)], 0, Finish(Status.FAILED, "outcome_unknown")),
    "stop: whatever came before": ("stop", [busy(0), lost(1)], 0, Finish(Status.FAILED, "outcome_unknown")),
    "retry: 5 s later": ("retry", [lost(0)], 0, wait(5)),
    "retry: once more": ("retry", [lost(0)], 5, Send(0)),
    "retry: accepted is accepted": ("retry", [lost(0), took(0, 5)], 5, Finish(Status.SENT)),
    "retry: then on": ("retry", [lost(0), lost(0, 5)], 5, Send(1)),
    "retry: only one more, though temporary": ("retry", [lost(0), busy(0, 5)], 5, Send(1)),
    "retry: and never in the next round": ("retry", [lost(0), busy(0, 5), busy(1, 5)], 5, wait(35, nth=1)),
    "retry: a first failure is no second try": ("retry", [busy(0), lost(0, 5)], 5, wait(10)),
}


@pytest.mark.parametrize(("on_unknown", "tries", "seconds", "expected"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_may_have_arrived(on_unknown: str, tries: list[Try], seconds: float, expected: Move) -> None:
    assert move([step(), step()], tries, seconds=seconds, on_unknown=on_unknown) == expected


def test_a_step_that_may_have_arrived_is_left_out_of_the_next_round() -> None:
    for tries in ([lost(0), busy(1)], [lost(0), lost(0, 5), busy(1, 5)]):
        on_unknown = "next" if len(tries) == 2 else "retry"
        assert move([step(), step()], tries, seconds=40, nth=1, on_unknown=on_unknown) == Send(1)


# --- Rounds ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("nth", "delay"), [(0, 30), (1, 120), (2, 600), (3, 1800), (4, 3600), (5, 3600), (20, 3600)])
@pytest.mark.parametrize("jitter", [0.8, 1.0, 1.2])
def test_a_new_round_begins_after_its_delay(nth: int, delay: int, jitter: float) -> None:
    tries = [busy(index, nth=past) for past in range(nth + 1) for index in range(3)]
    assert move(PLAIN, tries, nth=nth, jitter=jitter) == wait(delay * jitter, nth=nth + 1)


ROUNDS = {
    # what happened in round 0 -> the move
    "one alive": ([refused(0), refused(1), busy(2)], wait(30, nth=1)),
    "an open circuit is alive": ([refused(0), refused(1), skipped(2, "circuit_open")], wait(30, nth=1)),
    "none alive": ([refused(0), refused(1), refused(2)], Finish(Status.FAILED, "rejected")),
    "the provider's pause": ([busy(0), busy(1, retry_after=90), refused(2)], wait(90, nth=1)),
    "the longest pause": ([busy(0, retry_after=90), busy(1, retry_after=45), busy(2)], wait(90, nth=1)),
    "a pause may be short": ([busy(0, retry_after=2), refused(1), refused(2)], wait(2, nth=1)),
    "a pause of nothing is none": ([busy(0, retry_after=0), refused(1), refused(2)], wait(30, nth=1)),
    "nor is one that is over": ([busy(0, retry_after=-90), refused(1), refused(2)], wait(30, nth=1)),
    "a dead step's pause": ([busy(0, retry_after=90), refused(0), busy(1), refused(2)], wait(30, nth=1)),
    "a pause beyond the calendar": ([busy(0, retry_after=8e13), refused(1), refused(2)], Wait(START + DAY, 1)),
}


@pytest.mark.parametrize(("tries", "expected"), ROUNDS.values(), ids=ROUNDS)
def test_after_the_last_step(tries: list[Try], expected: Move) -> None:
    assert move(PLAIN, tries) == expected


def test_a_pause_that_was_named_in_an_earlier_round_is_over() -> None:
    tries = [busy(0, retry_after=90), busy(0, 90, nth=1)]
    assert move([step()], tries, seconds=90, nth=1) == wait(210, nth=2)


def test_only_living_steps_are_tried_in_the_next_round() -> None:
    tries = [refused(0), busy(1), skipped(2, "no_address")]
    assert move(PLAIN, tries, nth=1) == Send(SMS)
    assert move(PLAIN, [*tries, refused(1, nth=1)], nth=1) == Finish(Status.FAILED, "rejected")


# --- The end ---------------------------------------------------------------------------------------------------------
LATE = 24 * 3600
EXPIRY = {
    "before anything was tried": ([], 0, Finish(Status.EXPIRED)),
    "between two rounds": ([busy(0), busy(1), busy(2)], 1, Finish(Status.EXPIRED)),
    "in the middle of a round": ([busy(0)], 0, Finish(Status.EXPIRED)),
    "sent is sent": ([took(0)], 0, Finish(Status.SENT)),
    "dead is dead": ([refused(0), refused(1), refused(2)], 0, Finish(Status.FAILED, "rejected")),
}


@pytest.mark.parametrize(("tries", "nth", "expected"), EXPIRY.values(), ids=EXPIRY)
def test_at_its_end(tries: list[Try], nth: int, expected: Move) -> None:
    assert move(PLAIN, tries, seconds=LATE, nth=nth) == expected


def test_a_receipt_is_awaited_until_the_end_and_no_longer() -> None:
    steps, tries, ends_at = [step(Bar.DELIVERED, 60)], [took(0)], at(30)
    assert move(steps, tries, seconds=29, expires_at=ends_at) == AwaitReceipt(0, ends_at)
    assert move(steps, tries, seconds=30, expires_at=ends_at) == Finish(Status.EXPIRED)


def test_no_wait_goes_beyond_the_end() -> None:
    assert move([step()], [busy(0)], expires_at=at(10)) == wait(10, nth=1)
    assert move([step(within=60)], [busy(0)], expires_at=at(3)) == wait(3)


CODES = {
    "the last failure": ([refused(0, "invalid_address"), refused(1, "rejected")], "rejected"),
    "a skip does not hide it": ([refused(0, "invalid_address"), skipped(1, "no_address")], "invalid_address"),
    "unknown is no skip": ([lost(0), skipped(1, "not_configured")], "outcome_unknown"),
    "the last skip where all are": ([skipped(0, "not_configured"), skipped(1, "no_address")], "no_address"),
    "a temporary one counts": ([busy(0), refused(1), busy(0, nth=1)], "unreachable"),
    "in order of time, not of steps": ([refused(1, "blocked"), refused(0, "mailbox_full")], "mailbox_full"),
}


@pytest.mark.parametrize(("tries", "code"), CODES.values(), ids=CODES)
def test_the_failure_code_is_of_the_last_attempt_that_is_no_skip(tries: list[Try], code: str) -> None:
    assert failure_code(tries) == code


def test_a_chain_without_steps_fails_and_says_something() -> None:
    assert move([], []) == Finish(Status.FAILED, "no_address")


# --- The manual retry ------------------------------------------------------------------------------------------------
RETRIED = {
    "every step is alive": ([refused(0), refused(1), refused(2)], Send(0)),
    "also what may have arrived": ([lost(0), refused(1), refused(2)], Send(0)),
    "also what missed its deadline": ([took(0), missed(0), refused(1)], Send(0)),
    "only what comes after it counts": ([refused(0), refused(0, nth=1)], Send(1)),
    "the delays begin anew": ([refused(0), refused(0, nth=1), refused(1, nth=1), busy(2, nth=1)], wait(30, 2)),
    "and the failure code": (
        [refused(0, "blocked"), *(skipped(index, "no_address", 1) for index in range(3))],
        Finish(Status.FAILED, "no_address"),
    ),
}


@pytest.mark.parametrize(("tries", "expected"), RETRIED.values(), ids=RETRIED)
def test_after_a_manual_retry(tries: list[Try], expected: Move) -> None:
    assert move(PLAIN, tries, nth=1, first_round=1) == expected


def test_after_a_manual_retry_stop_means_the_new_attempts() -> None:
    assert move(PLAIN, [lost(0)], nth=1, first_round=1, on_unknown="stop") == Send(0)
