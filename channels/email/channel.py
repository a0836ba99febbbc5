"""E-mail by SMTP submission (RFC 6409)."""

import ssl
from datetime import timedelta
from functools import cached_property

from channels.base import Channel, Message, Receipt
from channels.email.account import SmtpAccount
from channels.email.compose import Mail, compose
from channels.email.pool import Pool
from channels.email.replies import Phase
from channels.email.session import Session
from channels.errors import TemporaryError


class EmailChannel(Channel[SmtpAccount]):
    """Sends through the account's server over connections that it keeps for a while.

    `local_hostname`: how it greets servers (RFC 5321, section 4.1.4); "" for the connection's own address.
    `most_idle`: connections kept per account; `idle` and `most_messages`: when one is closed.
    """

    name = "email"

    def __init__(
        self,
        *,
        local_hostname: str = "",
        most_idle: int = 32,
        idle: timedelta = timedelta(seconds=30),
        most_messages: int = 100,
    ) -> None:
        self._local_hostname = local_hostname
        self._pool = Pool(most_idle=most_idle, idle=idle, most_messages=most_messages)

    def send(self, message: Message, account: SmtpAccount) -> Receipt:
        """Hand the message over; the receipt's `provider_id` is its Message-ID, the same on every try.

        Returns only after the server's 250 to the end of the message. UnknownOutcomeError only when the whole message
        has left and no reply came.
        """
        account.check()
        mail = compose(message, from_email=account.from_email, user=account.user)
        if not self._sent_over_kept(mail, account):
            self._deliver(Session(account, lambda: self._tls, local_hostname=self._local_hostname), mail, account)
        return Receipt(provider_id=mail.message_id)

    def close(self) -> None:
        """Close the kept connections. The channel may be used again afterwards."""
        self._pool.close()

    def _sent_over_kept(self, mail: Mail, account: SmtpAccount) -> bool:
        """Whether a kept connection took it. False: there was none that the server had not given up meanwhile."""
        session = self._pool.take(account)
        if session is None:
            return False
        try:
            self._deliver(session, mail, account)
        except TemporaryError as error:
            if session.phase is Phase.MAIL and error.code == "unreachable":
                return False
            raise
        return True

    def _deliver(self, session: Session, mail: Mail, account: SmtpAccount) -> None:
        try:
            session.deliver(mail)
        finally:
            self._pool.give_back(account, session)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Verifies certificate and name against the system's authorities, or those of SSL_CERT_FILE (RFC 8314)."""
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
