"""The account an e-mail is sent with."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from channels.base import Account
from channels.errors import MisconfiguredError

Security = Literal["none", "starttls", "ssl"]
"""How a connection is encrypted: not at all, by STARTTLS (RFC 3207), from the first byte on (RFC 8314)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpAccount(Account):
    """A submission server (RFC 6409) and how to log in there.

    `from_email`: an address or `Name <address>`; "" takes `user` where that is an address. `timeout` bounds each step
    before the hand-over, `reply_timeout` the wait for the answer after the end of the message (RFC 5321, section
    4.5.3.2.6 asks for patience there: giving up early makes duplicates). `public_only`: every address of the host must
    be public. `auth_in_clear`: the password may go over an unencrypted connection; nothing else allows that.
    """

    host: str
    port: int
    security: Security
    user: str = ""
    password: str = field(default="", repr=False)
    from_email: str = ""
    timeout: timedelta = timedelta(seconds=10)
    reply_timeout: timedelta = timedelta(seconds=60)
    public_only: bool = False
    auth_in_clear: bool = False

    def check(self) -> None:
        """MisconfiguredError for an account with which nothing must be tried, before anything leaves."""
        if not self.host:
            raise MisconfiguredError("The account names no server.")
        if bool(self.user) != bool(self.password):
            raise MisconfiguredError("The account has only one of user and password.")
        if "\0" in self.user + self.password:
            raise MisconfiguredError("User or password holds a NUL.", code="authentication_failed")
        if self.user and self.security == "none" and not self.auth_in_clear:
            raise MisconfiguredError("Without encryption there is no login: the password would be readable.")
