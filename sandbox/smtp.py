"""A small real SMTP server that behaves as its switch says and puts what it takes into the inbox."""

import asyncio
import logging
import socket
import ssl
import threading
from concurrent.futures import Future
from typing import Any, NoReturn
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from sandbox import mail, ports
from sandbox.inbox import Inbox
from sandbox.recipients import Greylist, outcome_of
from sandbox.switches import Switches

SIZE_LIMIT = 25 * 1024 * 1024
"""The largest message, in bytes: the usual limit of public providers."""

WRONG_PASSWORD = b"wrong"
"""The one password that is refused; every other login is accepted."""

_WAKE_UP = 0.02  # seconds: how soon the listening thread sees that it must end
_REFUSALS = {
    "rejected": "550 5.1.1 No such mailbox here",
    "busy": "451 4.3.2 Busy, try again later",
    "greylisted": "451 4.7.1 Greylisted, try again in a moment",
}


class SmtpServer:
    """Listens on a loopback port in a thread of its own, from `start` to `stop`.

    With `tls_context` it offers STARTTLS; the session is open without it too.
    """

    def __init__(
        self,
        inbox: Inbox,
        switches: Switches,
        greylist: Greylist,
        *,
        port: int = 0,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self._handler = _Handler(inbox, switches, greylist)
        self._switches = switches
        self._tls_context = tls_context
        self._socket: socket.socket | None = ports.reserve(port)
        self.port = ports.number(self._socket)
        self._connections: WeakSet[SMTP | _SilentProtocol] = WeakSet()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._accepting_thread: threading.Thread | None = None
        self._open = threading.Event()
        self._ended = asyncio.Event()

    def start(self) -> None:
        """Start the conversations' thread. The port refuses connections until `listen`."""
        # The library writes every command and address there, and a warning at each login.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        started: Future[None] = Future()
        self._loop_thread = threading.Thread(
            target=lambda: asyncio.run(self._run(started)), name="sandbox-smtp", daemon=True
        )
        self._loop_thread.start()
        started.result()

    def listen(self) -> None:
        """Accept connections; nothing where it does already."""
        if self._open.is_set():
            return
        assert self._socket is not None, "the server has ended"  # noqa: S101
        self._socket.listen(128)
        self._socket.settimeout(_WAKE_UP)
        self._open.set()
        self._accepting_thread = threading.Thread(target=self._accept_clients, name="sandbox-smtp-door", daemon=True)
        self._accepting_thread.start()

    def refuse(self) -> None:
        """Close the listener and every connection; the port stays ours."""
        if self._open.is_set():
            self._shut()
            self._socket = ports.reserve(self.port)

    def stop(self) -> None:
        """Close everything and end the threads, whatever the clients wait for."""
        self._shut()
        if self._loop is not None and self._loop_thread is not None:
            self._loop.call_soon_threadsafe(self._ended.set)
            self._loop_thread.join()
            self._loop = self._loop_thread = None

    def _shut(self) -> None:
        self._open.clear()
        if self._accepting_thread is not None:
            self._accepting_thread.join()
            self._accepting_thread = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._abort_connections(), self._loop).result()

    async def _run(self, started: "Future[None]") -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_log_problem)
        started.set_result(None)
        await self._ended.wait()

    def _accept_clients(self) -> None:
        """Accept one client after the other. A thread of its own, since asyncio's listener loses a connection that
        comes while it is being closed: neither served nor cut."""
        assert self._socket is not None  # noqa: S101
        assert self._loop is not None  # noqa: S101
        while self._open.is_set():
            try:
                client, _address = self._socket.accept()
            except OSError:  # nobody came, or went again at once
                continue
            serving = self._loop.connect_accepted_socket(self._converse, client)
            try:
                asyncio.run_coroutine_threadsafe(serving, self._loop).result()
            except OSError:
                client.close()

    async def _abort_connections(self) -> None:
        for connection in list(self._connections):
            if connection.transport is not None:
                _abort(connection.transport)
        for _ in range(3):  # turns of the loop, in which it closes the sockets
            await asyncio.sleep(0)

    def _converse(self) -> asyncio.Protocol:
        connection: SMTP | _SilentProtocol
        if self._switches.get("email") == "silent":
            connection = _SilentProtocol()
        else:
            connection = SMTP(
                self._handler,
                data_size_limit=SIZE_LIMIT,
                hostname="sandbox.test",
                ident="Notifier sandbox ESMTP",
                tls_context=self._tls_context,
                auth_require_tls=False,
                authenticator=self._handler.authenticate,
                loop=asyncio.get_running_loop(),
            )
        self._connections.add(connection)
        return connection


class _SilentProtocol(asyncio.Protocol):
    """Accepts a connection and never says a word."""

    transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None


class _Handler:
    """What the server answers: the protocol calls `handle_<COMMAND>`, for every connection in the one thread."""

    def __init__(self, inbox: Inbox, switches: Switches, greylist: Greylist) -> None:
        self._inbox = inbox
        self._switches = switches
        self._greylist = greylist

    def authenticate(self, _server: SMTP, _session: Session, _envelope: Envelope, _kind: str, login: Any) -> AuthResult:
        """Accept any login but the wrong password, and none while the switch says so."""
        refused = self._switches.get("email") == "auth" or (
            isinstance(login, LoginPassword) and login.password == WRONG_PASSWORD
        )
        return AuthResult(success=not refused, handled=False, auth_data=login)

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        await self._be_there(server)
        session.host_name = hostname
        return [responses[0], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", *responses[1:]]

    async def handle_NOOP(self, server: SMTP, _session: Session, _envelope: Envelope, _text: str) -> str:  # noqa: N802
        await self._be_there(server)
        return "250 2.0.0 OK"

    async def handle_RSET(self, server: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802
        await self._be_there(server)
        return "250 2.0.0 OK"

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        await self._be_there(server)
        if self._switches.get("email") == "auth":
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Sender OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        outcome = self._outcome(address)
        if outcome == "silent":
            await _hang()
        if outcome == "greylisted" and not self._greylist.refuses(("email", envelope.mail_from, address.lower())):
            outcome = "ok"
        if outcome in _REFUSALS:
            return _REFUSALS[outcome]
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Recipient OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        sender, content = envelope.mail_from or "", envelope.original_content or b""
        entries = [mail.deliver(self._inbox, address, sender, content) for address in envelope.rcpt_tos]
        if any(self._outcome(address) == "lost_answer" for address in envelope.rcpt_tos):
            _hang_up(server)
        return f"250 2.0.0 Queued as {entries[-1].provider_id}"

    def _outcome(self, address: str) -> str:
        return outcome_of("email", address) or self._switches.get("email")

    async def _be_there(self, server: SMTP) -> None:
        """A connection from better times learns of an outage too."""
        if self._switches.get("email") == "silent":
            await _hang()
        if self._switches.get("email") == "refused":
            _hang_up(server)


async def _hang() -> NoReturn:
    """Wait until the client hangs up: the protocol then cancels us. Other connections go on meanwhile."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody answers a silent server's client")


def _hang_up(server: SMTP) -> NoReturn:
    """End the connection at once, without the answer that is due."""
    if server.transport is not None:
        _abort(server.transport)
    raise asyncio.CancelledError  # ends the connection's task without another word


def _abort(transport: asyncio.BaseTransport) -> None:
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
    else:
        transport.close()


def _log_problem(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A client that goes away in mid-sentence is no news; anything else is a bug of ours."""
    error = context.get("exception")
    if not isinstance(error, ConnectionError):
        logging.getLogger(__name__).error("The sandbox's SMTP server stumbled", exc_info=error)
