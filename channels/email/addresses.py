"""Addresses as the envelope and the headers need them (RFC 5321, section 4.1.2; RFC 6531 for letters beyond ASCII)."""

import re
from typing import NamedTuple

import idna

from channels.errors import InvalidRecipientError, MisconfiguredError

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-\u00a0-\ud7ff\ue000-\U0010ffff]+"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_LOCAL = re.compile(f"{_ATEXT}|{_QUOTED}")
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?|\[[A-Za-z0-9.:]+\]")
_NAME_ADDR = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^"<>]*))\s*<([^<>]*)>\s*', re.DOTALL)
_LONGEST_LOCAL, _LONGEST_DOMAIN = 64, 255  # octets (RFC 5321, section 4.5.3.1)


class Mailbox(NamedTuple):
    """An address whose domain is in A-labels; only `local` may hold letters beyond ASCII."""

    local: str
    domain: str

    @property
    def spec(self) -> str:
        """`local@domain`, free of anything that could end a command or a header."""
        return f"{self.local}@{self.domain}"

    @property
    def needs_utf8(self) -> bool:
        """Whether only a server with SMTPUTF8 can take it (RFC 6531)."""
        return not self.local.isascii()


def recipient(address: str) -> Mailbox:
    """The mailbox of a recipient. InvalidRecipientError for what is no address."""
    try:
        return _mailbox(address)
    except ValueError:
        raise InvalidRecipientError("This is not an e-mail address.") from None


def sender(from_email: str, user: str) -> tuple[str, Mailbox]:
    """Display name and mailbox of the sender; without `from_email` the user, where that is an address.

    MisconfiguredError for anything but exactly one address.
    """
    form = _NAME_ADDR.fullmatch(from_email or user)
    try:
        if form is None:
            return "", _mailbox((from_email or user).strip())
        quoted, plain, spec = form.groups()
        name = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
        return name.strip(), _mailbox(spec)
    except ValueError:
        raise MisconfiguredError("The account's sender is not one e-mail address.") from None


def _mailbox(address: str) -> Mailbox:
    local, at, domain = address.rpartition("@")
    if not at or not _LOCAL.fullmatch(local) or len(local.encode()) > _LONGEST_LOCAL:
        raise ValueError(address)
    if not domain.isascii():
        domain = idna.encode(domain, uts46=True).decode()  # IDNAError is a ValueError
    if not _DOMAIN.fullmatch(domain) or len(domain) > _LONGEST_DOMAIN:
        raise ValueError(address)
    return Mailbox(local, domain)
