"""The generic SMS gateway, as `channels/sms/gateway.py` describes it: HTTP/1.1 with keep-alive, and nothing else."""

import asyncio
from typing import cast

from benchmarks.sinks.manners import Manners
from benchmarks.sinks.tally import Tally

ACCEPTED = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{"id": "%d"}'


class SmsSession(asyncio.Protocol):
    """One connection of a gateway that takes everything."""

    def __init__(self, tally: Tally, manners: Manners) -> None:
        self._tally = tally
        self._manners = manners
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._tally.enter()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tally.leave()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (body := self._next_body()) is not None:
            self._tally.take(body)
            if self._manners.delay_ms:
                asyncio.get_running_loop().call_later(self._manners.delay, self._answer, self._tally.accepted)
            else:
                self._answer(self._tally.accepted)

    def _next_body(self) -> bytes | None:
        """The next request's body. None: it is not there yet."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = 0
        for line in self._buffer[:end].split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(self._buffer) < end + 4 + length:
            return None
        body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
        return body

    def _answer(self, number: int) -> None:
        if self._transport is not None:
            self._transport.write(ACCEPTED % (len(b'{"id": ""}') + len(str(number)), number))
