"""The lines of a login (RFC 4954): PLAIN (RFC 4616), LOGIN (no standard, often the only one), CRAM-MD5 (RFC 2195).

User and password are UTF-8, as SASL wants it (RFC 4616, section 2), so any password works.
"""

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Generator

TRY_ANOTHER = frozenset({500, 501, 502, 503, 504, 534, 538})
"""Replies that speak of the mechanism, not of the password: another one may do. A wrong password is offered only once,
since servers lock accounts for more."""

CANCEL = "*"
_LONGEST_INITIAL = 480  # a command line has 512 octets (RFC 5321, section 4.5.3.1.4), a reply to a challenge 12,288


def mechanisms(offered: str, *, encrypted: bool) -> list[str]:
    """What the server offers and we know, the best first: in clear the one that does not show the password."""
    known = ("PLAIN", "LOGIN", "CRAM-MD5") if encrypted else ("CRAM-MD5", "PLAIN", "LOGIN")
    return [mechanism for mechanism in known if mechanism in offered.upper().split()]


def exchange(mechanism: str, user: str, password: str) -> Generator[str, str, None]:
    """Yields our lines, the AUTH command first, and is sent the server's challenges."""
    if mechanism == "PLAIN":
        token = _base64(f"\0{user}\0{password}".encode())
        if len(token) <= _LONGEST_INITIAL:
            yield f"AUTH PLAIN {token}"
        else:
            yield "AUTH PLAIN"
        yield token
    elif mechanism == "LOGIN":
        yield "AUTH LOGIN"
        yield _base64(user.encode())
        yield _base64(password.encode())
    else:
        challenge = yield "AUTH CRAM-MD5"
        try:
            digest = hmac.new(password.encode(), b64decode(challenge), "md5").hexdigest()
        except binascii.Error:
            return
        yield _base64(f"{user} {digest}".encode())


def _base64(octets: bytes) -> str:
    return b64encode(octets).decode()
