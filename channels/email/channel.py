"""E-mail by SMTP submission (RFC 6409)."""

import os
import threading
from datetime import timedelta
from queue import SimpleQueue

from channels.base import Channel, Landed, Message, Receipt
from channels.email.account import SmtpAccount
from channels.email.job import Job
from channels.email.lane import Terms
from channels.email.office import Office


class EmailChannel(Channel[SmtpAccount]):
    """Sends through the account's server over connections that it keeps for a while, all of them in one thread.

    `local_hostname`: how it greets servers (RFC 5321, section 4.1.4); "" for the connection's own address.
    `connections`: the most that one account has open at a time; `idle` and `most_messages`: when one is closed.
    """

    name = "email"

    def __init__(
        self,
        *,
        local_hostname: str = "",
        connections: int = 16,
        idle: timedelta = timedelta(seconds=30),
        most_messages: int = 100,
    ) -> None:
        self.width, self.behind = connections, 8 * connections
        self._terms = Terms(local_hostname, connections, idle, most_messages)
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._office: Office | None = None
        self._inherited: list[Office] = []

    def send(self, message: Message, account: SmtpAccount) -> Receipt:
        """Hand the message over; the receipt's `provider_id` is its Message-ID, the same on every try.

        Returns only after the server's 250 to the end of the message. UnknownOutcomeError only when the whole message
        has left and no reply came.
        """
        landing: SimpleQueue[Receipt | Exception] = SimpleQueue()
        self.start(message, account, landing.put)
        came = landing.get()
        if isinstance(came, Exception):
            raise came
        return came

    def start(self, message: Message, account: SmtpAccount, landed: Landed) -> None:
        """Begin to hand the message over and return at once; the end of it, as of `send`, goes to `landed`.

        `landed` is called in the thread in which all messages leave: it must not call `send`.
        """
        job = Job(message, account, landed)
        while not self._open_office().post(job):
            pass  # closed in between

    def close(self) -> None:
        """Finish what is under way and close the connections. The channel may be used again afterwards."""
        self._forget_after_fork()
        with self._lock:
            office, self._office = self._office, None
        if office is not None:
            office.close()

    def _open_office(self) -> Office:
        self._forget_after_fork()
        with self._lock:
            if self._office is None:
                self._office = Office(self._terms)
            return self._office

    def _forget_after_fork(self) -> None:
        """A child process has no thread of ours, and a lock that may be held for ever."""
        if self._owner == os.getpid():
            return
        self._owner, self._lock = os.getpid(), threading.Lock()
        inherited, self._office = self._office, None
        if inherited is not None:
            self._inherited.append(inherited)  # never freed: its end would reach into the parent's event loop
            inherited.abandon()
