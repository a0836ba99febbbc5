"""From nothing to a connection that is open, encrypted and logged in as the account wants it."""

import re
import ssl
from collections.abc import Callable, Generator
from contextlib import suppress

from channels import net
from channels.email import login
from channels.email.account import SmtpAccount
from channels.email.dialogue import Dialogue
from channels.email.replies import Phase, Reply, refusal
from channels.email.wire import NotSmtpError, Wire
from channels.errors import MisconfiguredError
from channels.net import Deadline

_NO_EXTENSIONS = frozenset({500, 501, 502, 504})  # a server that does not know EHLO (RFC 5321, section 3.2)

Tls = Callable[[], ssl.SSLContext]
"""Where the rules for TLS come from: they take a while to load."""


def tls_context() -> ssl.SSLContext:
    """Verifies certificate and name against the system's authorities, or those of SSL_CERT_FILE (RFC 8314)."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def resolve(account: SmtpAccount, deadline: Deadline) -> list[net.Address]:
    """The server's addresses. TemporaryError, MisconfiguredError: it has none, or one where nothing must leave to."""
    return await net.aresolve(account.host, account.port, public_only=account.public_only, deadline=deadline)


async def connect(dialogue: Dialogue, found: list[net.Address], deadline: Deadline) -> None:
    """Give the dialogue its wire. TemporaryError: none of the addresses answers."""
    dialogue.wire = Wire(await net.aconnect(found, deadline))


async def begin(dialogue: Dialogue, tls: Tls, local_hostname: str) -> None:
    """Greet, encrypt, log in (RFC 5321, section 3.1). `local_hostname`: how we call ourselves; "" for our address
    (4.1.3), which needs no DNS. `tls` is asked only where the account wants encryption."""
    account = dialogue.account
    if account.security == "ssl":
        await _encrypt(dialogue, tls)
    banner = await dialogue.read(Phase.BANNER)
    if banner.code != 220:
        raise _refusal(dialogue, banner)
    hello = local_hostname or _literal(dialogue.wire.local_address)
    await _greet(dialogue, hello)
    if account.security == "starttls":
        dialogue.phase = Phase.STARTTLS
        if "STARTTLS" not in dialogue.extensions:
            raise MisconfiguredError("The server offers no STARTTLS.", code="tls_failed")
        reply = await dialogue.ask(Phase.STARTTLS, "STARTTLS")
        if reply.code != 220:
            raise refusal(Phase.STARTTLS, reply)
        await _encrypt(dialogue, tls)
        await _greet(dialogue, hello)  # what it said in clear may be forged, and counts no more (RFC 3207, section 4.2)
    if account.user:
        await _log_in(dialogue)


async def _encrypt(dialogue: Dialogue, tls: Tls) -> None:
    dialogue.phase = Phase.STARTTLS
    name = dialogue.account.host.rstrip(".")  # the name in the certificate (RFC 6125) has no dot at its end
    context = tls()
    try:
        await dialogue.wire.encrypt(context, name, Deadline(dialogue.account.timeout))
    except TimeoutError:
        raise dialogue.silence() from None
    except ssl.SSLCertVerificationError as error:
        detail = f"The server's certificate is not valid: {error.verify_message.rstrip('.')}."
        raise MisconfiguredError(detail, code="tls_failed") from None
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, EOFError):
        raise dialogue.loss() from None
    except ssl.SSLError:
        raise MisconfiguredError("The server does not speak TLS as we need it.", code="tls_failed") from None
    except OSError:
        raise dialogue.loss() from None
    except (NotSmtpError, ValueError):  # ValueError: a name that no certificate can hold
        raise MisconfiguredError("The server broke the rules of STARTTLS.", code="tls_failed") from None


async def _greet(dialogue: Dialogue, hello: str) -> None:
    dialogue.extensions = {}
    reply = await dialogue.ask(Phase.EHLO, f"EHLO {hello}")
    if reply.code in _NO_EXTENSIONS:
        reply = await dialogue.ask(Phase.EHLO, f"HELO {hello}")
    if not reply.is_positive:
        raise _refusal(dialogue, reply)
    words = [re.split(r"[ =]", line.strip(), maxsplit=1) for line in reply.lines[1:]]  # "AUTH=" is an old spelling
    dialogue.extensions = {keyword.upper(): "".join(rest) for keyword, *rest in words}


async def _log_in(dialogue: Dialogue) -> None:
    account, dialogue.phase = dialogue.account, Phase.AUTH
    encrypted = account.security != "none"
    mechanisms = login.mechanisms(dialogue.extensions.get("AUTH", ""), encrypted=encrypted)
    if not mechanisms:
        raise MisconfiguredError("The server offers no login that we know.")
    for mechanism in mechanisms:
        reply = await _authenticate(dialogue, login.exchange(mechanism, account.user, account.password))
        if reply.is_positive:
            return
        if reply.code not in login.TRY_ANOTHER:
            break
    raise _refusal(dialogue, reply)


async def _authenticate(dialogue: Dialogue, lines: Generator[str, str, None]) -> Reply:
    reply = await dialogue.ask(Phase.AUTH, next(lines))
    while reply.code == 334:
        line = login.CANCEL
        with suppress(StopIteration):
            line = lines.send(reply.lines[0])
        reply = await dialogue.ask(Phase.AUTH, line)
        if line == login.CANCEL:
            break
    return reply


def _refusal(dialogue: Dialogue, reply: Reply) -> Exception:
    """The server may have too many connections of ours already: then it says 421, or 4yz before all else."""
    dialogue.is_turned_away = reply.code == 421 or (dialogue.phase is Phase.BANNER and 400 <= reply.code < 500)
    return refusal(dialogue.phase, reply)


def _literal(address: str) -> str:
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
