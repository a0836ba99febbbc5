"""Lines over a socket of an event loop, every step with a deadline of its own that a dripping server cannot stretch.

Straight on the socket and not on an asyncio transport: a transport forgets, when it breaks, how much of its buffer had
left, and exactly that tells whether a message may have arrived. It also saves half of the way through the library.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from channels.email.replies import Reply, parse
from channels.net import Deadline

_LONGEST_LINE = 4096  # RFC 5321, section 4.5.3.1.5 allows 512
_MOST_LINES = 100
_MOST_REPLIES = 100  # unread: nobody asks for so many at once
_CHUNK = 8192


class NotSmtpError(Exception):
    """What came is no SMTP reply, or more than one may be."""


class Wire:
    """One connection. TimeoutError: the deadline passed. OSError: it broke; EOFError: the server closed it.

    One coroutine at a time uses it. `watch`, where set, is called when something comes that nobody reads.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.replies: deque[Reply] = deque()
        self.watch: Callable[[], None] | None = None
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._rest = b""  # of a line
        self._lines: list[bytes] = []  # of a reply
        self._ended: Exception | None = None  # why nothing more will come
        self._waiter: asyncio.Future[None] | None = None
        self._due = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._queued = self._sent = 0  # octets, as the kernel counts them
        self._unsent = memoryview(b"")
        self._unwritable: OSError | None = None
        self._tls: _Tls | None = None
        self._loop.add_reader(connection, self._on_readable)

    @property
    def local_address(self) -> str:
        """Our end's address."""
        return str(self._socket.getsockname()[0]).partition("%")[0]

    @property
    def is_quiet(self) -> bool:
        """Whether the connection is open, as far as we know, and nothing came that was not read."""
        return not (self._ended or self.replies or self._lines or self._rest)

    async def encrypt(self, context: ssl.SSLContext, name: str, deadline: Deadline) -> None:
        """Turn to TLS, the certificate checked against `name`. ssl.SSLError where that is impossible.

        NotSmtpError when the server has already sent more: an attacker in the middle could have put replies there that
        we would take for encrypted ones (RFC 3207, section 5).
        """
        if self.replies or self._lines or self._rest:
            raise NotSmtpError
        self._tls = tls = _Tls(context, name)
        while not tls.is_ready:
            try:
                tls.shake_hands()
            finally:
                self._send(tls.outgoing.read())
            if not tls.is_ready:
                if self._ended is not None:
                    raise self._ended
                await self._news(deadline)
        self._decrypt()

    def write(self, data: bytes, behind: bytes = b"") -> int:
        """Send both in one go, what does not fit now as soon as it does. Returns the mark behind `data`: `has_left`
        tells whether all of it may have left. Never raises: what is broken shows when it is waited for."""
        if self._tls is None:
            mark = self._queued + len(data)
            self._send(data + behind)
            return mark
        try:
            data = self._tls.encrypted(data)
            mark = self._queued + len(data)
            self._send(data + self._tls.encrypted(behind) if behind else data)
        except ssl.SSLError as error:
            self._unwritable = error
            return self._queued + 1
        return mark

    def has_left(self, mark: int) -> bool:
        """Whether the kernel took everything up to that mark. If not, the server cannot have its end: a TLS record that
        was cut short cannot be read."""
        return self._sent >= mark

    async def flushed(self, mark: int, deadline: Deadline) -> None:
        """Wait until everything up to the mark has left. After an exception its last octet has not."""
        while self._sent < mark:
            if self._unwritable is not None:
                raise self._unwritable
            await self._news(deadline)

    async def read(self, deadline: Deadline) -> Reply:
        """The next reply, whole. NotSmtpError for one that breaks the rules or the limits."""
        while not self.replies:
            if self._ended is not None:
                raise self._ended
            await self._news(deadline)
        return self.replies.popleft()

    def close(self) -> None:
        """Close at once; never raises."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        if self._alarm is not None:
            self._alarm.cancel()
        self.abandon()

    def abandon(self) -> None:
        """Close our copy of the socket without touching the loop: in a forked child both belong to the parent."""
        with suppress(OSError):
            self._socket.close()

    async def _news(self, deadline: Deadline) -> None:
        """Wait until something has come or left. One alarm stays set over many waits: setting it costs more than
        letting it ring in vain."""
        deadline.remaining()
        self._due = deadline.ends_at
        if self._alarm is None or self._alarm.when() > self._due:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = self._loop.call_at(self._due, self._ring)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _ring(self) -> None:
        self._alarm = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() >= self._due - 0.001:
            self._waiter.set_exception(TimeoutError())
        else:
            self._alarm = self._loop.call_at(self._due, self._ring)

    def _wake(self) -> None:
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
        elif self.watch is not None:
            self.watch()

    def _send(self, data: bytes) -> None:
        self._queued += len(data)
        if self._unwritable is not None:
            return
        if self._unsent:
            self._unsent = memoryview(bytes(self._unsent) + data)  # the writer is at work on it
        elif data:
            self._unsent = memoryview(data)
            self._push()
            if self._unsent:
                self._loop.add_writer(self._socket, self._on_writable)

    def _push(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:  # what the server said before it hung up can still be read
            self._unwritable = error
            self._unsent = memoryview(b"")
            return
        self._sent += sent
        self._unsent = self._unsent[sent:]

    def _on_writable(self) -> None:
        self._push()
        if not self._unsent:
            self._loop.remove_writer(self._socket)
            self._wake()

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if not data:
            self._end(EOFError())
            return
        if self._tls is None:
            self._take(data)
        else:
            self._tls.incoming.write(data)
            if self._tls.is_ready:
                self._decrypt()
        self._wake()

    def _decrypt(self) -> None:
        tls = self._tls
        assert tls is not None  # noqa: S101 - it is called for encrypted connections only
        try:
            while data := tls.decrypted():
                self._take(data)
        except ssl.SSLZeroReturnError:
            self._end(EOFError())
        except ssl.SSLError as error:
            self._end(error)
        self._send(tls.outgoing.read())  # the answer to a new key

    def _end(self, reason: Exception) -> None:
        if self._ended is None:
            self._ended = reason
            self._loop.remove_reader(self._socket)
            self._wake()

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            for line in lines:
                self._take_line(line)
        except ValueError:
            self._end(NotSmtpError())
        if len(self._rest) > _LONGEST_LINE or len(self.replies) > _MOST_REPLIES:
            self._end(NotSmtpError())

    def _take_line(self, line: bytes) -> None:
        if self._ended is not None:
            return
        if len(line) > _LONGEST_LINE or len(self._lines) == _MOST_LINES:
            raise ValueError("too long")
        self._lines.append(line.rstrip(b"\r"))
        if line[3:4] != b"-" or not line[:3].isdigit():
            lines, self._lines = self._lines, []
            self.replies.append(parse(lines))


class _Tls:
    """The encryption beside the socket, so that it is we who know what has left."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.is_ready = False
        self._object = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def shake_hands(self) -> None:
        """Go on with the handshake as far as what came allows."""
        with suppress(ssl.SSLWantReadError):
            self._object.do_handshake()
            self.is_ready = True

    def encrypted(self, data: bytes) -> bytes:
        """The records of some octets. ssl.SSLError: none."""
        self._object.write(data)
        return self.outgoing.read()

    def decrypted(self) -> bytes:
        """What came, in the clear; empty when more is needed."""
        try:
            return self._object.read(_CHUNK)
        except ssl.SSLWantReadError:
            return b""
