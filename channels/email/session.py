"""One SMTP connection, and the one thing that smtplib's exceptions do not tell: whether the message may have arrived.

Up to the end of the message every failure is a refusal or a TemporaryError, since a server takes no responsibility
before it has seen the final dot (RFC 5321, sections 4.1.1.4 and 6.1). After it only a reply settles the matter: silence
or a broken connection is an UnknownOutcomeError. Each transaction has one recipient, so a reply is about one person.
"""

import re
import socket
import ssl
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from datetime import timedelta

from channels import net
from channels.email import login
from channels.email.account import SmtpAccount
from channels.email.compose import Mail
from channels.email.replies import Phase, Refusal, Reply, refusal
from channels.email.wire import NotSmtpError, Wire
from channels.errors import (
    InvalidRecipientError,
    MisconfiguredError,
    PermanentError,
    TemporaryError,
    UnknownOutcomeError,
)
from channels.net import Deadline

_GOODBYE = timedelta(seconds=1)  # for the reply to QUIT, which changes nothing any more
_NO_EXTENSIONS = frozenset({500, 501, 502, 504})  # a server that does not know EHLO (RFC 5321, section 3.2)

Tls = Callable[[], ssl.SSLContext]
"""Where the rules for TLS come from: they take a while to load."""


class Session:
    """A connection that is open, encrypted and logged in as the account wants it.

    `phase` is the last one that was begun. `is_usable`: the dialogue is in step, another message may follow.
    """

    def __init__(self, account: SmtpAccount, tls: Tls, *, local_hostname: str = "") -> None:
        """Connect (RFC 5321, section 3.1). `local_hostname`: how we call ourselves; "" for our address (4.1.3), which
        needs no DNS. `tls` is asked only where the account wants encryption. Raises one of `channels.errors`."""
        self.sent = 0
        self.is_usable = False
        self.phase = Phase.BANNER
        self._account = account
        self._name = account.host.rstrip(".")  # the name in the certificate (RFC 6125) has no dot at its end
        self._extensions: dict[str, str] = {}
        self._wire = Wire(self._connection())
        try:
            self._open(tls, local_hostname)
        except BaseException:
            self._wire.close()
            raise
        self.is_usable = True
        self.used_at = time.monotonic()

    def deliver(self, mail: Mail) -> None:
        """Hand one message over; returns when the server has taken responsibility for it (RFC 5321, section 6.1)."""
        self._must_fit(mail)
        self.is_usable = False
        self._announce(mail)
        self._hand_over(mail)
        self.sent += 1
        self.is_usable = True

    def close(self) -> None:
        """Say goodbye where the dialogue is in step, and close. Never raises: what was accepted stays accepted."""
        with suppress(OSError, EOFError, NotSmtpError):
            if self.is_usable:
                self.is_usable = False
                deadline = Deadline(_GOODBYE)
                self._wire.write(b"QUIT\r\n", deadline)
                self._wire.read(deadline)
        self.drop()

    def drop(self) -> None:
        """Close without a word."""
        self.is_usable = False
        self._wire.close()

    def _connection(self) -> socket.socket:
        account, deadline = self._account, Deadline(self._account.timeout)
        found = net.resolve(account.host, account.port, public_only=account.public_only, deadline=deadline)
        return net.connect(found, deadline)

    def _open(self, tls: Tls, local_hostname: str) -> None:
        if self._account.security == "ssl":
            self._encrypt(tls)
        banner = self._read(Phase.BANNER)
        if banner.code != 220:
            raise refusal(Phase.BANNER, banner)
        hello = local_hostname or _literal(self._wire.local_address)
        self._greet(hello)
        if self._account.security == "starttls":
            if "STARTTLS" not in self._extensions:
                raise MisconfiguredError("The server offers no STARTTLS.", code="tls_failed")
            reply = self._ask(Phase.STARTTLS, "STARTTLS")
            if reply.code != 220:
                raise refusal(Phase.STARTTLS, reply)
            self._encrypt(tls)
            self._greet(hello)  # what it said in clear may be forged, and counts no more (RFC 3207, section 4.2)
        if self._account.user:
            self._log_in()

    def _encrypt(self, tls: Tls) -> None:
        self.phase = Phase.STARTTLS
        context = tls()
        deadline = Deadline(self._account.timeout)
        try:
            self._wire.encrypt(context, self._name, deadline)
        except TimeoutError:
            raise self._silence() from None
        except ssl.SSLCertVerificationError as error:
            detail = f"The server's certificate is not valid: {error.verify_message.rstrip('.')}."
            raise MisconfiguredError(detail, code="tls_failed") from None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise self._loss() from None
        except ssl.SSLError:
            raise MisconfiguredError("The server does not speak TLS as we need it.", code="tls_failed") from None
        except OSError:
            raise self._loss() from None
        except (NotSmtpError, ValueError):  # ValueError: a name that no certificate can hold
            raise MisconfiguredError("The server broke the rules of STARTTLS.", code="tls_failed") from None

    def _greet(self, hello: str) -> None:
        self._extensions = {}
        reply = self._ask(Phase.EHLO, f"EHLO {hello}")
        if reply.code in _NO_EXTENSIONS:
            reply = self._ask(Phase.EHLO, f"HELO {hello}")
        if not reply.is_positive:
            raise refusal(Phase.EHLO, reply)
        words = [re.split(r"[ =]", line.strip(), maxsplit=1) for line in reply.lines[1:]]  # "AUTH=" is an old spelling
        self._extensions = {keyword.upper(): "".join(rest) for keyword, *rest in words}

    def _log_in(self) -> None:
        account = self._account
        encrypted = account.security != "none"
        mechanisms = login.mechanisms(self._extensions.get("AUTH", ""), encrypted=encrypted)
        if not mechanisms:
            raise MisconfiguredError("The server offers no login that we know.")
        for mechanism in mechanisms:
            reply = self._authenticate(login.exchange(mechanism, account.user, account.password))
            if reply.is_positive:
                return
            if reply.code not in login.TRY_ANOTHER:
                break
        raise refusal(Phase.AUTH, reply)

    def _authenticate(self, lines: Generator[str, str, None]) -> Reply:
        reply = self._ask(Phase.AUTH, next(lines))
        while reply.code == 334:
            line = login.CANCEL
            with suppress(StopIteration):
                line = lines.send(reply.lines[0])
            reply = self._ask(Phase.AUTH, line)
            if line == login.CANCEL:
                break
        return reply

    def _must_fit(self, mail: Mail) -> None:
        if mail.needs_utf8 and "SMTPUTF8" not in self._extensions:
            if mail.sender.needs_utf8:
                raise MisconfiguredError("The server cannot take letters beyond ASCII in the sender's address.")
            raise InvalidRecipientError("The server cannot take letters beyond ASCII in an address.")
        limit = self._extensions.get("SIZE", "")
        if limit.isdecimal() and 0 < int(limit) < len(mail.content):  # RFC 1870: 0 and nothing mean no limit
            detail = f"The message has {len(mail.content)} octets, the server takes {int(limit)}."
            raise PermanentError(detail, code="message_too_large")

    def _announce(self, mail: Mail) -> None:
        """MAIL, RCPT and DATA, in one go where the server allows it (RFC 2920). Returns when it awaits the message."""
        commands = [
            (Phase.MAIL, self._mail_command(mail)),
            (Phase.RCPT, f"RCPT TO:<{mail.recipient.spec}>"),
            (Phase.DATA, "DATA"),
        ]
        if "PIPELINING" in self._extensions:
            refused = self._run(commands)
        else:
            refused = next((error for command in commands if (error := self._run([command]))), None)
        if refused is not None:
            raise refused

    def _mail_command(self, mail: Mail) -> str:
        command = f"MAIL FROM:<{mail.sender.spec}>"
        if "SIZE" in self._extensions:
            command += f" SIZE={len(mail.content)}"
        return command + " SMTPUTF8" if mail.needs_utf8 else command

    def _run(self, commands: list[tuple[Phase, str]]) -> Refusal | None:
        """The first refusal of a group of commands, None for none. Leaves the dialogue ready for the next transaction,
        or not usable."""
        self._write(commands[0][0], "".join(f"{line}\r\n" for _, line in commands).encode())
        refused: Refusal | None = None
        for phase, _ in commands:
            try:
                reply = self._read(phase)
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
            self._reset()
        return refused

    def _reset(self) -> None:
        """Forget the transaction (RFC 5321, section 4.1.1.5), so that the connection can serve the next one."""
        phase = self.phase
        with suppress(TemporaryError):
            self.is_usable = self._ask(Phase.MAIL, "RSET").is_positive
        self.phase = phase

    def _hand_over(self, mail: Mail) -> None:
        """The message and its final dot, and what the server says then."""
        self.phase = Phase.END
        content = re.sub(rb"^\.", b"..", mail.content, flags=re.MULTILINE)  # RFC 5321, section 4.5.2
        try:
            self._wire.write(content + b".\r\n", Deadline(self._account.reply_timeout))
        except TimeoutError:
            raise self._silence() from None
        except OSError:
            raise self._last_words() from None
        try:
            reply = self._wire.read(Deadline(self._account.reply_timeout))
        except TimeoutError:
            raise UnknownOutcomeError("The server took the message and never answered.") from None
        except (OSError, EOFError):
            raise UnknownOutcomeError("The connection broke after the message was handed over.") from None
        except NotSmtpError:
            raise UnknownOutcomeError("The server took the message and answered something that is not SMTP.") from None
        if not reply.is_positive:
            if reply.code < 400:
                raise UnknownOutcomeError(f"The server took the message and answered out of turn ({reply.codes}).")
            self.is_usable = reply.code != 421
            raise refusal(Phase.END, reply)

    def _last_words(self) -> Refusal:
        """Why the server hung up before the message's end, where it said so."""
        with suppress(OSError, EOFError, NotSmtpError):
            reply = self._wire.read(Deadline(_GOODBYE))
            if reply.code >= 400:
                return refusal(Phase.END, reply)
        return self._loss()

    def _ask(self, phase: Phase, line: str) -> Reply:
        self._write(phase, f"{line}\r\n".encode())
        return self._read(phase)

    def _write(self, phase: Phase, data: bytes) -> None:
        self.phase = phase
        try:
            self._wire.write(data, Deadline(self._account.timeout))
        except TimeoutError:
            raise self._silence() from None
        except OSError:
            raise self._loss() from None

    def _read(self, phase: Phase) -> Reply:
        self.phase = phase
        try:
            return self._wire.read(Deadline(self._account.timeout))
        except TimeoutError:
            raise self._silence() from None
        except (OSError, EOFError):
            raise self._loss() from None
        except NotSmtpError:
            if phase is Phase.BANNER:
                raise MisconfiguredError("No SMTP server answers there.") from None
            raise TemporaryError("The server answered something that is not SMTP.", code="provider_error") from None

    def _silence(self) -> TemporaryError:
        return TemporaryError(f"The server did not answer in time ({self.phase.name}).", code="timeout")

    def _loss(self) -> TemporaryError:
        return TemporaryError(f"The server closed the connection ({self.phase.name}).", code="unreachable")


def _literal(address: str) -> str:
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
