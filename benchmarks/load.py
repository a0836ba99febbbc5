"""HTTP clients that cost little: raw HTTP/1.1 over kept connections, each asks again when it has its answer."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from tests.servers.base import ServerError

T = TypeVar("T")


def request(method: str, path: str, body: Any = None) -> bytes:
    """The octets of a request."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


@dataclass
class Load:
    """What came of it. `latencies` in seconds, of the answers that began after the warm-up."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    accepted: int = 0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """The latency, in seconds, that this share of the answers did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Client(asyncio.Protocol):
    """One connection. `ask` sends and returns the answer's status and body."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(ServerError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = self._buffer[:end].lower()
        where = head.find(b"\r\ncontent-length:")
        if where < 0 and not head.startswith(b"http/1.1 204"):
            self._answer.set_exception(ServerError("an answer without Content-Length is not understood here"))
            return
        length = int(head[where + 17 :].split(b"\r\n", 1)[0]) if where >= 0 else 0
        if len(self._buffer) >= end + 4 + length:
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._answer.set_result((int(head[9:12]), body))

    async def ask(self, octets: bytes, expected: int) -> bytes:
        """ServerError for another status."""
        if self._transport is None:
            raise ServerError("the client is not connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(octets)
        status, body = await asyncio.wait_for(self._answer, 60)
        if status != expected:
            raise ServerError(f"HTTP {status} where {expected} was expected: {body[:500].decode(errors='replace')}")
        return body

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


async def connected(port: int) -> Client:
    """A client of a server on this machine."""
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    return client


def run(work: Coroutine[Any, Any, T]) -> T:
    """In an event loop of its own."""
    return asyncio.run(work)


def ask(port: int, octets: bytes, expected: int = 200) -> Any:
    """One request on a connection of its own; its answer's JSON."""

    async def once() -> Any:
        client = await connected(port)
        try:
            return json.loads(await client.ask(octets, expected))
        finally:
            client.close()

    return run(once())


def closed_loop(
    port: int,
    make: Callable[[int], bytes] | bytes,
    *,
    clients: int,
    seconds: float,
    warm_up: float,
    expected: int,
    tell: Callable[[float], None] = lambda _: None,
) -> Load:
    """So many clients, one request each at a time. `make`: the request, or what makes it from its number."""

    async def drive() -> Load:
        load, numbers = Load(), iter(range(10**9))
        begin = time.perf_counter() + warm_up
        end = begin + seconds

        async def one_client() -> None:
            client = await connected(port)
            while (asked := time.perf_counter()) < end:
                await client.ask(make(next(numbers)) if callable(make) else make, expected)
                load.accepted += 1
                if asked >= begin:
                    load.latencies.append(time.perf_counter() - asked)
                    load.seconds = max(load.seconds, time.perf_counter() - begin)
            client.close()

        async def look() -> None:
            while (now := time.perf_counter()) < end:
                tell(now - begin + warm_up)
                await asyncio.sleep(0.25)
            tell(seconds + warm_up)

        await asyncio.gather(look(), *(one_client() for _ in range(clients)))
        return load

    return run(drive())
