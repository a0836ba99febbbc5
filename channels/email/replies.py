"""What a server's refusal means: pure, by table (RFC 5321, sections 4.2 and 6.1; RFC 3463; RFC 4954).

A later try may help if either the reply's first digit or the enhanced code's says so: no address is called dead on half
a word. The server's text is read for the few meanings that have no code of their own, and is never repeated:
whoever names a host must not learn from our errors what runs there.
"""

import re
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from channels.errors import InvalidRecipientError, MisconfiguredError, PermanentError, TemporaryError

Refusal = TemporaryError | PermanentError | MisconfiguredError


class Phase(Enum):
    """Where in the dialogue we are, and what a refusal there refuses."""

    BANNER = "the connection"
    EHLO = "the greeting"
    STARTTLS = "to encrypt"
    AUTH = "the login"
    MAIL = "the sender"
    RCPT = "the recipient"
    DATA = "the message"
    END = "the content"


class Reply(NamedTuple):
    """A server's reply: its code, its enhanced code (RFC 2034; "" for none) and its text, a line each."""

    code: int
    enhanced: str
    lines: tuple[str, ...]

    @property
    def codes(self) -> str:
        """`550 5.1.1`: all of a reply that people get to see."""
        return f"{self.code} {self.enhanced}".rstrip()

    @property
    def is_positive(self) -> bool:
        """Whether the command was done (RFC 5321, section 4.2.1: the first digit decides)."""
        return 200 <= self.code < 300


_LINE = re.compile(r"([2-5][0-9][0-9])(?:[ -](.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?=\s|$)|.*\(#([45]\.[0-9]{1,3}\.[0-9]{1,3})\)", re.DOTALL)

# Phases, what `Reply.codes` must match from end to end, the attempt's code. The first row that fits decides; the reply
# 421 and a BANNER of 4yz come before all rows, `provider_error` after them.
_RULES: tuple[tuple[str, str, str], ...] = (
    ("STARTTLS", r".*", "tls_failed"),
    ("AUTH", r"5.*", "authentication_failed"),
    ("MAIL RCPT DATA END", r"... [45]\.3\.4|5.. 5\.2\.3", "message_too_large"),
    ("MAIL", r"552", "message_too_large"),  # RFC 1870, section 6.1
    ("MAIL RCPT DATA END", r"... [45]\.2\.2", "mailbox_full"),
    ("RCPT", r"[45]52", "mailbox_full"),
    ("MAIL", r"501.*|530.*|55[0134](?! 5\.[23]\.).*|5.. 5\.[17]\.[0-9]+", "misconfigured"),  # no mailbox, no system
    ("RCPT DATA END", r"530.*|5.. 5\.(7\.60|1\.[78])", "misconfigured"),  # all of them speak of the sender or the login
    ("RCPT DATA END", r"5.. 5\.(1\.[0-9]+|2\.1)", "invalid_address"),
    ("RCPT", r"55[013]", "invalid_address"),
    ("RCPT", r"4.*|... 4.*", "rejected"),  # greylisting and the like
    ("RCPT DATA END", r"... [45]\.7\.[0-9]+", "rejected"),
    ("DATA END", r"5(0[5-9]|[1-9].).*", "rejected"),
)

_NO_RELAY = (
    r"\brelay(ing)?\b.{0,20}\b(denied|not|prohibited)\b|\b(unable|not|cannot) (to )?relay\b|allowed rcpthosts"
    r"|sender address rejected|authentication required"
)

# The same for meanings that only the text tells: phases, codes, a pattern for the text, the attempt's code.
_RULES_BY_TEXT: tuple[tuple[str, str, str, str], ...] = (
    ("RCPT", r"...( [45]\.7\.[0-9]+)?", _NO_RELAY, "misconfigured"),
    ("END", r"552", r"\bsize\b|\btoo (large|big|long)\b", "message_too_large"),
)


def parse(lines: list[bytes]) -> Reply:
    """The lines of one reply, without their line ends. ValueError for what is no SMTP reply (RFC 5321, section 4.2)."""
    return _parse_line(lines[0]) if len(lines) == 1 else _parse(lines)


def _parse(lines: list[bytes]) -> Reply:
    matches = [match for line in lines if (match := _LINE.fullmatch(line.decode("utf-8", "replace")))]
    if not lines or len(matches) != len(lines) or len({match[1] for match in matches}) != 1:
        raise ValueError("no SMTP reply")
    texts = tuple(match[2] or "" for match in matches)
    enhanced = next((match[1] or match[2] for match in map(_ENHANCED.match, texts) if match), "")
    return Reply(int(matches[0][1]), enhanced, texts)


@lru_cache(maxsize=128)
def _parse_line(line: bytes) -> Reply:
    """A busy connection says the same few lines over and over."""
    return _parse([line])


def refusal(phase: Phase, reply: Reply) -> Refusal:
    """The error that says what the caller does next, for a reply that is not the one the phase needs."""
    if phase is Phase.BANNER and reply.code < 400:
        return MisconfiguredError("No SMTP server answers there.")
    if reply.code < 400:
        return TemporaryError(f"The server answered out of turn ({reply.codes}).", code="provider_error")
    code = _code(phase, reply)
    if reply.code < 500 or reply.enhanced.startswith("4") or code == "mailbox_full":
        return TemporaryError(f"The server refused {phase.value} for now ({reply.codes}).", code=code)
    detail = f"The server refused {phase.value} ({reply.codes})."
    if code == "invalid_address":
        return InvalidRecipientError(detail)
    if code in {"misconfigured", "authentication_failed", "tls_failed"} or phase is Phase.BANNER:  # us, not the message
        return MisconfiguredError(detail, code=code)
    return PermanentError(detail, code=code)


def _code(phase: Phase, reply: Reply) -> str:
    if reply.code == 421 or (phase is Phase.BANNER and reply.code < 500):
        return "unreachable"
    text = re.sub(r"\S+@\S+", "", " ".join(reply.lines))  # an address may hold any of the words
    for phases, codes, words, code in _RULES_BY_TEXT:
        if phase.name in phases.split() and re.fullmatch(codes, reply.codes) and re.search(words, text, re.IGNORECASE):
            return code
    for phases, codes, code in _RULES:
        if phase.name in phases.split() and re.fullmatch(codes, reply.codes):
            return code
    return "provider_error"
