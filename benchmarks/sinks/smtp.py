"""An SMTP server as one asyncio Protocol without tasks: cheap enough to stay out of the figures."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast

from benchmarks.sinks.manners import Manners
from benchmarks.sinks.tally import Tally

END_OF_MESSAGE = b"\r\n.\r\n"


class SmtpSession(asyncio.Protocol):
    """One connection: EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, RSET, NOOP, QUIT, with pipelining (RFC 2920)."""

    def __init__(self, tally: Tally, manners: Manners, tls: ssl.SSLContext | None = None) -> None:
        self._tally = tally
        self._manners = manners
        self._tls = tls
        self._encrypted = False
        self._buffer = b""
        self._in_message = False
        self._busy = False  # with a message: what else the client sends has to wait for its answer
        self._answers: deque[bytes] = deque()
        self._transport: asyncio.Transport | None = None

    # --- asyncio's calls ---------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        first = self._transport is None
        self._transport = cast("asyncio.Transport", transport)
        if first:
            self._tally.enter()
            if not self._manners.silent:
                self._say(b"220 sink.test ESMTP\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._tally.leave()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._manners.silent:
            return
        self._buffer = self._buffer + data if self._buffer else data
        if not self._busy:
            self._work()

    # --- The dialogue ------------------------------------------------------------------------------------------------
    def _work(self) -> None:
        """Answer all that is there, in one write."""
        answer = b""
        while self._buffer and not self._busy:
            if self._in_message:
                if not self._take_message():
                    break
                if self._manners.delay_ms:
                    self._busy = True
                    asyncio.get_running_loop().call_later(self._manners.delay, self._done)
                    break
                answer += b"250 2.0.0 taken\r\n"
                continue
            line, found, rest = self._buffer.partition(b"\r\n")
            if not found:
                break
            self._buffer = rest
            answer += self._reply(line)
        if answer:
            self._say(answer)

    def _take_message(self) -> bool:
        """Whether the message was there whole; then it is counted."""
        end = self._buffer.find(END_OF_MESSAGE)
        if end < 0:
            return False
        content, self._buffer = self._buffer[:end], self._buffer[end + len(END_OF_MESSAGE) :]
        self._in_message = False
        self._tally.take(content)
        return True

    def _done(self) -> None:
        self._busy = False
        self._say(b"250 2.0.0 taken\r\n")
        self._work()

    def _reply(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb in {b"MAIL", b"RCPT", b"RSET", b"NOOP"}:
            return b"250 2.1.0 OK\r\n"
        if verb == b"DATA":
            self._in_message = True
            return b"354 go on\r\n"
        if verb in {b"EHLO", b"HELO"}:
            starttls = b"250-STARTTLS\r\n" if self._tls and not self._encrypted else b""
            return b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-AUTH PLAIN\r\n" + starttls + b"250 OK\r\n"
        if verb == b"AUTH":
            return b"235 2.7.0 welcome\r\n"
        if verb == b"STAR" and self._tls:
            self._later(self._encrypt)
            return b""
        if verb == b"QUIT":
            self._later(self._hang_up)
            return b"221 2.0.0 bye\r\n"
        return b"502 5.5.1 unknown\r\n"

    # --- The line ----------------------------------------------------------------------------------------------------
    def _say(self, answer: bytes) -> None:
        if not self._manners.round_trip_ms:
            self._write(answer)
            return
        self._answers.append(answer)
        asyncio.get_running_loop().call_later(self._manners.round_trip, self._next_answer)

    def _next_answer(self) -> None:
        self._write(self._answers.popleft())

    def _write(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)

    def _later(self, what: Callable[[], None]) -> None:
        """After the answer that is being made has left."""
        asyncio.get_running_loop().call_later(self._manners.round_trip, what)

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _encrypt(self) -> None:
        self._write(b"220 2.0.0 ready\r\n")
        self._pending = asyncio.ensure_future(self._start_tls())

    async def _start_tls(self) -> None:
        if self._transport is None or self._tls is None:
            return
        loop = asyncio.get_running_loop()
        try:
            self._transport = await loop.start_tls(self._transport, self, self._tls, server_side=True)
        except OSError:
            return
        self._encrypted = True
