"""A chain walked at random: whatever channels, providers and the clock do, some things are always true."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from notifier import chain
from notifier.chain import AwaitReceipt, Finish, Miss, Move, Policy, Send, Step, Try, Wait
from notifier.states import Bar, OnUnknown, Outcome, Status

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
STEP_RETRY = timedelta(seconds=5)
SPANS = some.sampled_from([0, 1, 4, 5, 20, 60, 300]).map(lambda seconds: timedelta(seconds=seconds))
STEPS = some.lists(
    some.builds(Step, some.just("email"), some.sampled_from(Bar), some.none() | SPANS), min_size=1, max_size=3
)
PAUSES = some.none() | some.sampled_from([0, 0.001, 3, 90, 8e13]).map(lambda seconds: timedelta(seconds=seconds))
BEGINNINGS = some.fixed_dictionaries(
    {
        "steps": STEPS,
        "on_unknown": some.sampled_from(OnUnknown),
        "lifetime": some.sampled_from([1, 30, 600, 24 * 3600]),
        "jitter": some.floats(0.8, 1.2),
    }
)
SKIPS = ["no_address", "not_configured", "address_suppressed", "circuit_open"]


class Walk(RuleBasedStateMachine):
    """One notification: the model remembers what was promised of it, without looking at how it is decided."""

    next_move: Callable[..., Move] = staticmethod(chain.next_move)

    @initialize(beginning=BEGINNINGS)
    def begin(self, beginning: dict[str, Any]) -> None:
        self.steps: list[Step] = beginning["steps"]
        self.on_unknown: OnUnknown = beginning["on_unknown"]
        self.jitter: float = beginning["jitter"]
        lifetime: int = beginning["lifetime"]
        self.now, self.expires_at = START, START + timedelta(seconds=lifetime)
        self.round = self.first_round = 0
        self.tries: list[Try] = []
        self.dead: set[int] = set()
        self.suspect: set[int] = set()  # may have arrived, one more try is allowed
        self.accepted = False  # the last thing that happened is that a provider took it
        self.in_this_round: list[int] = []
        self.at_once = 0  # moves since time last passed
        self.move: Move = self.ask()

    def ask(self) -> Move:
        policy = Policy(
            expires_at=self.expires_at,
            round=self.round,
            first_round=self.first_round,
            on_unknown=self.on_unknown,
            step_retry=STEP_RETRY,
            round_delays=(timedelta(seconds=30), timedelta(seconds=120)),
            jitter=self.jitter,
        )
        return self.next_move(self.steps, self.tries, self.now, policy)

    def happens(
        self, step: int, outcome: Outcome, code: str, *, temporary: bool, pause: timedelta | None = None
    ) -> None:
        """One more attempt; then ask again."""
        self.at_once += 1
        self.accepted = outcome is Outcome.ACCEPTED
        attempt = Try(step, self.round, outcome, self.now, self.now, code, temporary, pause)
        self.tries.append(attempt)
        if outcome is Outcome.UNKNOWN and self.on_unknown is OnUnknown.RETRY and step not in self.suspect:
            self.suspect.add(step)
        elif outcome is not Outcome.ACCEPTED and (
            not temporary or (step in self.suspect and outcome is not Outcome.SKIPPED)
        ):
            self.dead.add(step)
        self.move = self.ask()

    def passes(self, span: timedelta) -> None:
        """Time goes on (or back: somebody sets a clock)."""
        self.now += span
        self.at_once = 0 if span > timedelta(0) else self.at_once
        self.move = self.ask()

    # --- What can happen ---------------------------------------------------------------------------------------------
    @precondition(lambda self: isinstance(self.move, Send))
    @rule(data=some.data(), took=some.sampled_from([0, 0, 1, 10, 70]))
    def try_the_step(self, data: some.DataObject, took: int) -> None:
        assert isinstance(self.move, Send)
        step = self.move.step
        assert step not in self.dead
        assert step >= max(self.in_this_round, default=0)
        self.in_this_round.append(step)
        outcome = data.draw(some.sampled_from(Outcome))
        if outcome is Outcome.SKIPPED:
            code = data.draw(some.sampled_from(SKIPS))
            self.happens(step, outcome, code, temporary=code == "circuit_open")
        elif outcome is Outcome.FAILED:
            temporary = data.draw(some.booleans())
            pause = data.draw(PAUSES) if temporary else None
            self.happens(step, outcome, "timeout", temporary=temporary, pause=pause)
        else:
            self.happens(step, outcome, "outcome_unknown" if outcome is Outcome.UNKNOWN else "", temporary=False)
        if took:
            self.passes(timedelta(seconds=took))

    @precondition(lambda self: isinstance(self.move, Miss))
    @rule()
    def miss_the_deadline(self) -> None:
        assert isinstance(self.move, Miss)
        assert self.accepted
        self.happens(self.move.step, Outcome.FAILED, "deadline_missed", temporary=False)

    @precondition(lambda self: isinstance(self.move, Wait))
    @rule(late=some.sampled_from([0, 0, 0, 2, 4000]))
    def wait(self, late: int) -> None:
        assert isinstance(self.move, Wait)
        if self.move.round != self.round:
            assert self.move.round == self.round + 1
            self.round, self.in_this_round = self.move.round, []
        self.passes(max(self.move.until - self.now, timedelta(0)) + timedelta(seconds=late))

    @precondition(lambda self: isinstance(self.move, AwaitReceipt))
    @rule(late=some.sampled_from([0, 0, 60, 4000]))
    def await_the_receipt(self, late: int) -> None:
        assert isinstance(self.move, AwaitReceipt)
        self.passes(max(self.move.until - self.now, timedelta(0)) + timedelta(seconds=late))

    @precondition(lambda self: not isinstance(self.move, Finish))
    @rule(seconds=some.sampled_from([-3600, -7, -1, 1, 7, 400]))
    def jump(self, seconds: int) -> None:
        self.passes(timedelta(seconds=seconds))

    @precondition(lambda self: self.move == Finish(Status.FAILED, getattr(self.move, "code", "")))
    @rule(longer=some.booleans())
    def retry_by_hand(self, longer: bool) -> None:
        self.round += 1
        self.first_round = self.round
        self.dead, self.suspect, self.in_this_round, self.accepted = set(), set(), [], False
        if longer:
            self.expires_at = max(self.expires_at, self.now + timedelta(seconds=600))
        self.at_once = 0
        self.move = self.ask()

    @precondition(lambda self: isinstance(self.move, Finish))
    @rule(beginning=BEGINNINGS)
    def begin_another(self, beginning: dict[str, Any]) -> None:
        self.begin(beginning)

    # --- What is always true -----------------------------------------------------------------------------------------
    @invariant()
    def it_is_over_when_its_time_is(self) -> None:
        if self.now >= self.expires_at:
            assert isinstance(self.move, Finish)

    @invariant()
    def it_never_waits_for_the_past_nor_beyond_its_end(self) -> None:
        if isinstance(self.move, Wait | AwaitReceipt):
            assert self.now < self.move.until <= self.expires_at

    @invariant()
    def nothing_goes_on_for_ever_without_time_passing(self) -> None:
        assert self.at_once <= 2 * len(self.steps)

    @invariant()
    def sent_means_accepted_and_nothing_else_does(self) -> None:
        sent = self.move == Finish(Status.SENT)
        assert not sent or self.accepted
        if self.accepted and self.on_unknown is not OnUnknown.STOP:
            last = self.steps[self.tries[-1].step]
            assert sent == (last.until is Bar.ACCEPTED)
            assert sent or isinstance(self.move, AwaitReceipt | Miss | Finish)

    @invariant()
    def a_failure_says_why(self) -> None:
        if not isinstance(self.move, Finish):
            return
        assert self.move.status in {Status.SENT, Status.FAILED, Status.EXPIRED}
        if self.move.status is not Status.FAILED:
            assert self.move.code == ""
            return
        stopped = self.on_unknown is OnUnknown.STOP and self.move.code == "outcome_unknown"
        assert stopped or self.dead == set(range(len(self.steps)))
        if not stopped:
            mine = [attempt for attempt in self.tries if attempt.round >= self.first_round]
            real = [attempt.code for attempt in mine if attempt.outcome is not Outcome.SKIPPED]
            assert self.move.code == [*[attempt.code for attempt in mine], *real][-1]

    @invariant()
    def a_chain_of_dead_steps_has_failed(self) -> None:
        if self.dead == set(range(len(self.steps))):
            assert isinstance(self.move, Finish)
            assert self.move.status is Status.FAILED

    @invariant()
    def the_same_question_has_the_same_answer(self) -> None:
        assert self.ask() == self.move


PATIENT = settings(
    max_examples=150,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_a_walk_at_random_keeps_every_promise() -> None:
    run_state_machine_as_test(Walk, settings=PATIENT)


def _sends_dead_steps(*arguments: object) -> Move:
    move = chain.next_move(*arguments)  # type: ignore[arg-type]
    return Send(0) if isinstance(move, Wait) else move


def _never_expires(steps: list[Step], tries: list[Try], now: datetime, policy: Policy) -> Move:
    return chain.next_move(steps, tries, min(now, policy.expires_at - timedelta(seconds=1)), policy)


def _forgets_why(*arguments: object) -> Move:
    move = chain.next_move(*arguments)  # type: ignore[arg-type]
    return Finish(move.status, "rejected") if isinstance(move, Finish) and move.code else move


@pytest.mark.parametrize("broken", [_sends_dead_steps, _never_expires, _forgets_why])
def test_a_walk_finds_a_chain_that_breaks_a_promise(broken: Callable[..., Move]) -> None:
    machine = type("Broken", (Walk,), {"next_move": staticmethod(broken)})
    quiet = settings(PATIENT, max_examples=60, print_blob=False, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=quiet)
