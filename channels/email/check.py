"""An account tried out step by step: which stage of the way to a mailbox fails, and how long each took."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from channels.base import Message
from channels.email import opening
from channels.email.account import SmtpAccount
from channels.email.compose import Mail, compose
from channels.email.replies import Phase
from channels.email.session import Session
from channels.errors import ChannelError, InvalidRecipientError, MisconfiguredError, UnknownOutcomeError
from channels.net import Deadline


class Stage(StrEnum):
    """What has to work, in this order."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    LOGIN = "login"
    SENDER = "sender"
    RECIPIENT = "recipient"
    MESSAGE = "message"


_STAGE_OF = {
    Phase.BANNER: Stage.CONNECT,
    Phase.EHLO: Stage.CONNECT,
    Phase.STARTTLS: Stage.TLS,
    Phase.AUTH: Stage.LOGIN,
    Phase.MAIL: Stage.SENDER,
    Phase.RCPT: Stage.RECIPIENT,
    Phase.DATA: Stage.MESSAGE,
    Phase.END: Stage.MESSAGE,
}
_STAGE_OF_CODE = {"authentication_failed": Stage.LOGIN, "tls_failed": Stage.TLS}


LONGEST = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Failure:
    """Where it ended: the attempt's code and detail, and whom the mail was for, "" before there was one."""

    stage: Stage
    code: str
    detail: str
    to: str = ""


@dataclass(slots=True)
class Checked:
    """What came of it. `passed`: the stages that worked, with milliseconds. `sent`: who was sent a mail."""

    passed: dict[Stage, int] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Everything worked."""
        return not self.failures

    def fail(self, stage: Stage, error: ChannelError | MisconfiguredError, to: str = "") -> None:
        """It ended at this stage, which so did not pass."""
        self.failures.append(Failure(stage, error.code, error.detail, to))
        if not self.sent:
            self.passed.pop(stage, None)

    @contextmanager
    def timing(self, *stages: Stage) -> Iterator[None]:
        """These passed if nothing is raised; the time counts for the last of them."""
        begun = time.monotonic()
        yield
        spent = round((time.monotonic() - begun) * 1000)
        self.passed |= {stage: self.passed.get(stage, 0) + spent * (stage is stages[-1]) for stage in stages}


def check(account: SmtpAccount, messages: Sequence[Message] = (), *, within: timedelta = LONGEST) -> Checked:
    """Go all the way with this account, over a connection of its own: up to the login, then send these messages.

    Never raises for what the network, the server or the account does wrong. `within`: all of it; what is under way then
    has failed, and the messages after it are not tried.
    """
    checked = Checked()
    asyncio.run(_check(account, messages, checked, within))
    return checked


async def _check(account: SmtpAccount, messages: Sequence[Message], checked: Checked, within: timedelta) -> None:
    session, way = Session(account), _Way()
    try:
        async with asyncio.timeout(within.total_seconds()):
            await _go(session, account, messages, checked, way)
    except TimeoutError:
        checked.fail(way.stage(session), _too_late(session), way.to)
    finally:
        if way.is_connected:
            await session.close()


@dataclass
class _Way:
    """How far it got."""

    is_resolved: bool = False
    is_connected: bool = False
    to: str = ""

    def stage(self, session: Session) -> Stage:
        """What is under way."""
        if not self.is_connected:
            return Stage.CONNECT if self.is_resolved else Stage.DNS
        return _STAGE_OF[session.phase]


async def _go(session: Session, account: SmtpAccount, messages: Sequence[Message], checked: Checked, way: _Way) -> None:
    try:
        account.check()
    except MisconfiguredError as error:
        checked.fail(Stage.LOGIN if account.host else Stage.DNS, error)
        return
    try:
        with checked.timing(Stage.DNS):
            found = await opening.resolve(account, Deadline(account.timeout))
        way.is_resolved = True
        with checked.timing(Stage.CONNECT):
            await opening.connect(session, found, Deadline(account.timeout))
        way.is_connected = True
    except (ChannelError, MisconfiguredError) as error:
        checked.fail(way.stage(session), error)
        return
    await _begin(session, account, checked)
    for message in messages:
        way.to = message.to
        await _send(session, account, message, checked)


async def _begin(session: Session, account: SmtpAccount, checked: Checked) -> None:
    stages = [Stage.TLS] if account.security != "none" else []
    stages += [Stage.LOGIN] if account.user else []
    try:
        with checked.timing(*stages or [Stage.CONNECT]):
            await session.begin(opening.tls_context, "")
            session.extensions.pop("PIPELINING", None)  # one command, one reply: it shows what was refused
    except (ChannelError, MisconfiguredError) as error:
        stage = _STAGE_OF_CODE.get(error.code, _STAGE_OF[session.phase])
        if stage is Stage.LOGIN and Stage.TLS in stages:
            checked.passed[Stage.TLS] = 0
        checked.fail(stage, error)


async def _send(session: Session, account: SmtpAccount, message: Message, checked: Checked) -> None:
    if not session.is_usable:
        return
    try:
        with checked.timing(Stage.SENDER, Stage.RECIPIENT, Stage.MESSAGE):
            mail = _composed(account, message)
            await session.announce(mail)
            await session.hand_over(mail, None)
        checked.sent.append(message.to)
    except (ChannelError, MisconfiguredError) as error:
        checked.fail(_stage(error, session.phase), error, message.to)


def _too_late(session: Session) -> ChannelError:
    if session.phase is Phase.END:
        return UnknownOutcomeError("The server took the message and did not answer in time.")
    return session.silence()


def _composed(account: SmtpAccount, message: Message) -> Mail:
    return compose(message, from_email=account.from_email, user=account.user)


def _stage(error: ChannelError | MisconfiguredError, phase: Phase) -> Stage:
    """Of a mail that did not leave: an address that is none never came to a phase of its own."""
    if isinstance(error, InvalidRecipientError):
        return Stage.RECIPIENT
    stage = _STAGE_OF[phase]
    if stage in {Stage.SENDER, Stage.RECIPIENT, Stage.MESSAGE}:
        return stage
    return Stage.SENDER
