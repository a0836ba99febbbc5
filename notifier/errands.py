"""One claimed notification on its way along its chain: up to its next hand-over, and what came of that."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache

from django.conf import settings
from django.db import InterfaceError, OperationalError

from channels.base import Account, Channel, Message, Receipt
from channels.errors import MisconfiguredError, PermanentError, RepeatedError, TemporaryError, UnknownOutcomeError
from channels.registry import ChannelRegistry
from channels.simulated import Later, SimulatedChannel
from notifier import ledger, walk
from notifier.breaker import Breaker, key_of
from notifier.chain import LONGEST_PAUSE, AwaitReceipt, Finish, Miss, Send, Try, Wait
from notifier.models import AttachedFile, Attempt, Notification
from notifier.organization_accounts import is_switched_off
from notifier.provider_accounts import account_for
from notifier.rendering import lacks_secrets, message_for, with_files, without_secrets
from notifier.states import CODES, Outcome, Status

log = logging.getLogger(__name__)

CIRCUIT_OPEN = "The provider failed again and again; it is left alone for a while."

SECRETS_GONE = "The secret values of its template were wiped when it ended; send it anew."

NO_DATABASE = (OperationalError, InterfaceError)
"""The database is away: nothing that a message or a provider did wrong."""


@cache
def channels() -> ChannelRegistry:
    """This process's channels, with their connections."""
    return ChannelRegistry(settings.CHANNELS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=channels.cache_clear)  # a child must not use its parent's connections


@dataclass(slots=True)
class Errand:
    """A claimed row, what was tried so far, and what of that is not written yet."""

    row: Notification
    claim: ledger.Claim
    tries: list[Try]
    unwritten: list[Attempt] = field(default_factory=list)

    def record(self, attempt: Attempt) -> None:
        """Append what happened; it is written with the next settlement."""
        attempt.notification_id = self.row.pk
        attempt.round = self.row.round
        self.unwritten.append(attempt)
        self.tries.append(walk.as_try(attempt))

    def has_expired(self) -> bool:
        """Whether its time ran out while it stood in line."""
        return self.claim.now() >= self.row.expires_at

    def settlement(self, move: Wait | AwaitReceipt | Finish | None) -> ledger.Settlement:
        """What there is to write now."""
        attempts, self.unwritten = self.unwritten, []
        return ledger.Settlement(self.row.pk, attempts, move, calls_back=bool(self.row.callback_url))


@dataclass(frozen=True, slots=True)
class Handover:
    """A message ready to leave. `carrier`: what takes it; `circuit`: the key of the account's circuit."""

    errand: Errand
    step: int
    channel: str
    carrier: Channel[Account]
    message: Message
    account: Account
    circuit: str

    def has_files(self) -> bool:
        """Whether files go with it: an e-mail alone carries them, and of a test nobody would read them."""
        row = self.errand.row
        return self.channel == "email" and not row.test and row.pk in self.errand.claim.with_files

    def later(self) -> Later | None:
        """What a simulated provider will say once it took it; a real one speaks for itself."""
        return self.carrier.later(self.message) if isinstance(self.carrier, SimulatedChannel) else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a hand-over. `moved_to`: the person's new address there, says the provider."""

    attempt: Attempt
    moved_to: str = ""


def errand_of(row: Notification, claim: ledger.Claim) -> Errand:
    """The errand of a row that was just claimed, with its attempts."""
    return Errand(row, claim, [walk.as_try(attempt) for attempt in claim.attempts.get(row.pk, ())])


def advance(errand: Errand, breaker: Breaker) -> Handover | Wait | AwaitReceipt | Finish:
    """Walk the chain up to the next hand-over or the end of this pass, recording every skip.

    A row that nobody can read is put off, so that it never stands in the others' way. Where the database is away its
    error is raised, and the call may be repeated.
    """
    try:
        return _advance(errand, breaker)
    except NO_DATABASE:
        raise
    except Exception:
        log.exception("A notification cannot be moved along.", extra={"notification_id": errand.row.pk})
        return _put_off(errand)


def _advance(errand: Errand, breaker: Breaker) -> Handover | Wait | AwaitReceipt | Finish:
    if errand.row.handover_step is not None:
        detail = "The worker died while it handed the message over: it may have arrived."
        errand.record(_attempt(errand, errand.row.handover_step, Outcome.UNKNOWN, "outcome_unknown", detail))
        errand.row.handover_step = None
    if errand.row.acknowledged_at is not None:
        return Finish(Status.ACKNOWLEDGED)  # noted while a worker had it that died since
    while True:
        now = errand.claim.now()
        move = walk.move_of(errand.row, errand.tries, now)
        if isinstance(move, Miss):
            errand.record(walk.missed(errand.row, move.step, now))
        elif isinstance(move, Send):
            prepared = _prepared(errand, move.step, breaker)
            if isinstance(prepared, Handover):
                return prepared
            errand.record(prepared)
        else:
            return move


def _put_off(errand: Errand) -> Wait | Finish:
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


def _prepared(errand: Errand, step: int, breaker: Breaker) -> Handover | Attempt:
    """The message ready to leave by this step, or the attempt that says why not."""
    row = errand.row
    channel = row.chain[step].channel
    try:
        way = way_of(row, channel)
        if isinstance(way, NoWay):
            return _attempt(errand, step, Outcome.SKIPPED, way.code, way.detail)
        circuit = key_of(channel, way.account)
        if not breaker.allows(circuit):
            return _attempt(errand, step, Outcome.SKIPPED, "circuit_open", CIRCUIT_OPEN, temporary=True)
        message = message_for(channel, row, way.address)
        carrier = _carrier(errand, step)  # here, since a class that cannot be loaded is this message's trouble alone
        return Handover(errand, step, channel, carrier, message, way.account, circuit)
    except NO_DATABASE:
        raise
    except Exception:
        log.exception("A message could not be prepared.", extra={"notification_id": row.pk, "channel": channel})
        detail = "The message could not be prepared. The service's log says why."
        return _attempt(errand, step, Outcome.FAILED, "internal_error", detail, temporary=True)


def _carrier(errand: Errand, step: int) -> Channel[Account]:
    """What takes this step's message: of a test nothing that could let it leave."""
    channel = errand.row.chain[step].channel
    if not errand.row.test:
        return channels()[channel]
    # By the attempts, which all workers know.
    return SimulatedChannel(
        channel, tried=any(one.step == step and one.outcome is not Outcome.SKIPPED for one in errand.tries)
    )


@dataclass(frozen=True, slots=True)
class Way:
    """How a channel reaches the person of a notification."""

    address: str
    account: Account


@dataclass(frozen=True, slots=True)
class NoWay:
    """Why it does not: the code and the detail of the skip."""

    code: str
    detail: str


def way_of(row: Notification, channel: str) -> Way | NoWay:
    """How this channel would reach the person, or why it cannot. `vault.VaultError`: its credentials are unreadable."""
    address = row.address(channel)
    if not address:
        return NoWay("no_address", "No address for this channel is known.")
    if row.template and lacks_secrets(row):
        return NoWay("not_configured", SECRETS_GONE)
    account = account_for(channel, row) if channel in channels() else None
    if account is not None:
        return Way(address, account)
    if channel == "email" and row.own_account:
        return NoWay("not_configured", "The request's own SMTP account is gone or its server is not allowed any more.")
    if is_switched_off(row.organization_id, channel):
        return NoWay("not_configured", "The organization's own account is not active, and there is no other.")
    return NoWay("not_configured", "No account is configured for this channel.")


def hand_over(handover: Handover, landed: Callable[[Answer], None], files: Sequence[AttachedFile] = ()) -> None:
    """Begin to hand one message over and return at once. Never raises: every end is an attempt, told to `landed` once,
    whatever the channel does."""
    started_at, started = handover.errand.claim.now(), time.monotonic()
    untold = [landed]

    def take(came: Receipt | Exception) -> None:
        try:
            tell = untold.pop()  # one thread gets it
        except IndexError:
            extra = {"notification_id": handover.errand.row.pk, "channel": handover.channel}
            log.error("A channel told more than once what came of a message.", extra=extra)  # noqa: TRY400 - no story
            return
        tell(_answer(handover, came, started_at, round((time.monotonic() - started) * 1000)))

    try:
        handover.carrier.start(with_files(handover.message, files), handover.account, take)
    except Exception as error:  # noqa: BLE001 - a channel that cannot even begin: recorded and logged, the others go on
        take(error)


def _answer(handover: Handover, came: object, started_at: datetime, duration_ms: int) -> Answer:
    """What came, as the ledger keeps it. Never raises: nobody would hear of this message again."""
    attempt = Attempt(
        step=handover.step,
        channel=handover.channel,
        account=handover.account.origin,
        started_at=started_at,
        duration_ms=duration_ms,
    )
    try:
        if isinstance(came, Receipt):
            attempt.provider_id = _storable(came.provider_id)[:255]
            attempt.detail = without_secrets(_storable(came.detail), handover.errand.row)
            attempt.outcome = Outcome.ACCEPTED
            return Answer(attempt, came.new_address)
        _describe_failure(attempt, came, handover)
    except Exception as bug:  # noqa: BLE001 - a receipt or an error of somebody else's, with something odd in it
        _describe_failure(attempt, bug, handover)
    return Answer(attempt)


def _describe_failure(attempt: Attempt, error: object, handover: Handover) -> None:
    attempt.outcome, attempt.temporary = Outcome.FAILED, False
    match error:
        case RepeatedError() if _is_unsure(handover):
            attempt.outcome, attempt.temporary = Outcome.ACCEPTED, None
            attempt.detail = "The provider has this text already: the try before arrived."
            return
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
            told = error if isinstance(error, Exception) else TypeError(f"It returned {type(error).__name__}.")
            log.error("A channel failed in a way that it should not.", exc_info=told, extra=extra)
            attempt.outcome, attempt.temporary = Outcome.UNKNOWN, None
            attempt.code = "internal_error"
            attempt.detail = "The channel failed while it handed the message over. The service's log says why."
            return
    attempt.code = error.code if error.code in CODES else "provider_error"
    attempt.detail = without_secrets(_storable(error.detail), handover.errand.row)


def _is_unsure(handover: Handover) -> bool:
    """Whether nobody knows what came of the try before this one, of the same step."""
    own = [one for one in handover.errand.tries if one.step == handover.step and one.outcome is not Outcome.SKIPPED]
    return bool(own) and own[-1].outcome is Outcome.UNKNOWN


def _storable(text: str) -> str:
    """A provider's words without what PostgreSQL refuses: one of them must not cost a whole batch its settlement."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def _attempt(
    errand: Errand, step: int, outcome: Outcome, code: str, detail: str, *, temporary: bool = False
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
