"""One SMTP connection, and the one thing that smtplib's exceptions do not tell: whether the message may have arrived.

Up to the end of the message every failure is a refusal or a TemporaryError, since a server takes no responsibility
before it has seen the final dot (RFC 5321, sections 4.1.1.4 and 6.1). After it only a reply settles the matter: silence
or a broken connection is an UnknownOutcomeError. Each transaction has one recipient, so a reply is about one person.

A message takes one round trip where the server allows pipelining and another one follows: the envelope of the next
rides behind the content of the last (RFC 2920, section 3.1). A content leaves only after its own 354, so that a message
whose envelope rode on a connection that broke has surely not arrived.
"""

import re
from contextlib import suppress

from channels.email import opening
from channels.email.compose import Mail
from channels.email.dialogue import GOODBYE, Dialogue
from channels.email.opening import Tls
from channels.email.replies import Phase, Refusal, refusal
from channels.email.wire import NotSmtpError
from channels.errors import (
    InvalidRecipientError,
    MisconfiguredError,
    PermanentError,
    TemporaryError,
    UnknownOutcomeError,
)
from channels.net import Deadline

_ENVELOPE = (Phase.MAIL, Phase.RCPT, Phase.DATA)


class Session(Dialogue):
    """A connection and its messages, one after the other: `open` once, then `announce` and `hand_over` for each.

    `sent` counts those that were taken, `tried` all of them.
    """

    sent = tried = 0
    _announced: Mail | None = None  # its envelope has left

    async def open(self, tls: Tls, local_hostname: str) -> None:
        """Connect. Raises one of `channels.errors`; then there is nothing to close."""
        deadline = Deadline(self.account.timeout)
        await opening.connect(self, await opening.resolve(self.account, deadline), deadline)
        await self.begin(tls, local_hostname)

    async def begin(self, tls: Tls, local_hostname: str) -> None:
        """Greet, encrypt, log in, on a wire that is there already. Raises as `open`."""
        try:
            await opening.begin(self, tls, local_hostname)
        except BaseException:
            self.drop()
            raise
        self.is_usable = True

    @property
    def can_pipeline(self) -> bool:
        """Whether commands may leave before the replies to the last ones came (RFC 2920)."""
        return "PIPELINING" in self.extensions

    def misfit(self, mail: Mail) -> PermanentError | MisconfiguredError | None:
        """Why this server cannot take the message at all, by what it offers. None: it may."""
        if mail.needs_utf8 and "SMTPUTF8" not in self.extensions:
            if mail.sender.needs_utf8:
                return MisconfiguredError("The server cannot take letters beyond ASCII in the sender's address.")
            return InvalidRecipientError("The server cannot take letters beyond ASCII in an address.")
        limit = self.extensions.get("SIZE", "")
        if limit.isdecimal() and 0 < int(limit) < len(mail.content):  # RFC 1870: 0 and nothing mean no limit
            detail = f"The message has {len(mail.content)} octets, the server takes {int(limit)}."
            return PermanentError(detail, code="message_too_large")
        return None

    async def announce(self, mail: Mail) -> None:
        """MAIL, RCPT and DATA, in one go where the server allows it. Returns when it awaits the message.

        Where the envelope rode behind the last message, its replies are awaited only.
        """
        if misfit := self.misfit(mail):
            raise misfit
        self.tried += 1
        self.is_usable = False
        if self._announced is not mail and self.can_pipeline:
            self.phase = Phase.MAIL
            self.wire.write(self._envelope(mail))
        if self.can_pipeline:
            refused = await self._replies(_ENVELOPE)
        else:
            refused = await self._one_by_one(mail)
        if refused is not None:
            raise refused

    async def hand_over(self, mail: Mail, behind: Mail | None) -> None:
        """The message and its final dot; returns when the server has taken responsibility for it (RFC 5321, section
        6.1). The envelope of `behind` leaves with it: the next to `announce`, over this session or another one."""
        self.phase = Phase.END
        self._announced = behind
        content = mail.content
        if b"\n." in content:
            content = re.sub(rb"^\.", b"..", content, flags=re.MULTILINE)  # RFC 5321, section 4.5.2
        if not self.wire.is_quiet:
            raise await self._last_words()
        mark = self.wire.write(content + b".\r\n", self._envelope(behind) if behind else b"")
        if not self.wire.has_left(mark):
            try:
                await self.wire.flushed(mark, Deadline(self.account.reply_timeout))
            except TimeoutError:
                raise self.silence() from None
            except OSError:
                raise await self._last_words() from None
        await self._verdict()
        self.sent += 1
        self.is_usable = True

    async def close(self) -> None:
        """Say goodbye where the dialogue is in step, and close. Never raises: what was accepted stays accepted."""
        with suppress(OSError, EOFError, NotSmtpError):
            if self.is_usable and self.wire.is_quiet:
                self.wire.write(b"QUIT\r\n")
                await self.wire.read(Deadline(GOODBYE))
        self.drop()

    def drop(self) -> None:
        """Close without a word."""
        self.is_usable = False
        self.wire.close()

    def abandon(self) -> None:
        """In a forked child: close our copy of the socket, unheard."""
        if hasattr(self, "wire"):
            self.wire.abandon()

    def _commands(self, mail: Mail) -> tuple[str, str, str]:
        command = f"MAIL FROM:<{mail.sender.spec}>"
        if "SIZE" in self.extensions:
            command += f" SIZE={len(mail.content)}"
        if mail.needs_utf8:
            command += " SMTPUTF8"
        return command, f"RCPT TO:<{mail.recipient.spec}>", "DATA"

    def _envelope(self, mail: Mail) -> bytes:
        return "{}\r\n{}\r\n{}\r\n".format(*self._commands(mail)).encode()

    async def _one_by_one(self, mail: Mail) -> Refusal | None:
        for phase, command in zip(_ENVELOPE, self._commands(mail), strict=True):
            self.phase = phase
            self.wire.write(f"{command}\r\n".encode())
            if refused := await self._replies((phase,)):
                return refused
        return None

    async def _replies(self, phases: tuple[Phase, ...]) -> Refusal | None:
        """The first refusal of a group of commands, None for none. Leaves the dialogue ready for the next transaction,
        or not usable."""
        refused: Refusal | None = None
        for phase in phases:
            try:
                reply = await self.read(phase)
            except (TemporaryError, MisconfiguredError):
                if refused is None:
                    raise
                return refused  # it hung up after its refusal
            wants_message = phase is Phase.DATA and reply.code == 354
            if refused is not None and wants_message:
                return refused  # it wants a message for nobody: hanging up is the only way not to send one
            if refused is None and not (wants_message if phase is Phase.DATA else reply.is_positive):
                refused = refusal(phase, reply)
                if reply.code == 421 or reply.code < 400:
                    return refused  # it hangs up now, or is out of step
        if refused is not None:
            await self._reset()
        return refused

    async def _reset(self) -> None:
        """Forget the transaction (RFC 5321, section 4.1.1.5), so that the connection can serve the next one."""
        phase = self.phase
        with suppress(TemporaryError):
            self.is_usable = (await self.ask(Phase.MAIL, "RSET")).is_positive
        self.phase = phase

    async def _verdict(self) -> None:
        """What the server says to the whole message. Without a word the outcome is unknown."""
        try:
            reply = await self.wire.read(Deadline(self.account.reply_timeout))
        except TimeoutError:
            raise UnknownOutcomeError("The server took the message and never answered.") from None
        except (OSError, EOFError):
            raise UnknownOutcomeError("The connection broke after the message was handed over.") from None
        except NotSmtpError:
            raise UnknownOutcomeError("The server took the message and answered something that is not SMTP.") from None
        if reply.is_positive:
            return
        if reply.code < 400:
            raise UnknownOutcomeError(f"The server took the message and answered out of turn ({reply.codes}).")
        self.is_usable = reply.code != 421
        raise refusal(Phase.END, reply)

    async def _last_words(self) -> Refusal:
        """Why the server hung up before the message's end, where it said so."""
        with suppress(OSError, EOFError, NotSmtpError):
            reply = await self.wire.read(Deadline(GOODBYE))
            return refusal(Phase.END, reply) if reply.code >= 400 else self._out_of_turn(reply.codes)
        return self.loss()

    def _out_of_turn(self, codes: str) -> TemporaryError:
        return TemporaryError(f"The server answered out of turn ({codes}).", code="provider_error")
