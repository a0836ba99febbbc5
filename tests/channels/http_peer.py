"""An HTTP server over real sockets that does as it is told, also what a proper server never does."""

import json
import socket
import ssl
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.servers.base import wait_until

PATIENCE = 30.0


@dataclass(frozen=True)
class Request:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form. Each stands there once."""
        fields = parse_qs(self.body.decode(), keep_blank_values=True, strict_parsing=True)
        return {name: value for name, [value] in fields.items()}


class BrokenOffError(Exception):
    """The script ends this connection."""


Act = Callable[["Connection"], None]
"""What the server does with one request."""


@dataclass
class Connection:
    sock: socket.socket
    peer: "HttpPeer"
    _pending: bytes = b""

    def read(self) -> Request:
        """One whole request, kept in `peer.requests`."""
        head, body = self._until(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        while len(body) < length:
            body += self._receive()
        self._pending = body[length:]
        request = Request(method, path, headers, body[:length])
        self.peer.requests.append(request)
        return request

    def wait(self) -> None:
        """Until another request begins to come."""
        if not self._pending:
            self._pending = self._receive()

    def write(self, content: bytes) -> None:
        self.sock.sendall(content)

    def hold(self) -> None:
        """Do nothing until the test is over."""
        self.peer.over.wait(PATIENCE)
        raise BrokenOffError

    def reset(self) -> None:
        """Close as a crashed machine does: RST, no FIN."""
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        )
        raise BrokenOffError

    def _until(self, end: bytes) -> tuple[bytes, bytes]:
        received = self._pending
        while end not in received:
            received += self._receive()
        head, _, rest = received.partition(end)
        return head, rest

    def _receive(self) -> bytes:
        received = self.sock.recv(65536)
        if not received:
            raise BrokenOffError
        return received


@dataclass
class HttpPeer:
    """Does the planned acts in turn, one a request, and `otherwise` when none is left."""

    url: str
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    hung_up: threading.Event = field(default_factory=threading.Event)  # this side has closed a connection
    otherwise: Act | None = None
    _plan: deque[Act] = field(default_factory=deque)
    _open: set[socket.socket] = field(default_factory=set)

    def plan(self, *acts: Act) -> None:
        self._plan.extend(acts)

    def came(self, count: int) -> bool:
        """Whether so many requests have come and no more. Those that a client gave up may still be on their way."""
        wait_until(lambda: len(self.requests) >= count, PATIENCE, f"{count} requests have come")
        return len(self.requests) == count

    @property
    def unused(self) -> int:
        """How many planned acts no request has met."""
        return len(self._plan)

    def serve(self, sock: socket.socket) -> None:
        """One connection, to its end."""
        self.connections += 1
        self._open.add(sock)
        connection = Connection(sock, self)
        try:
            while act := (self._plan.popleft() if self._plan else self.otherwise):
                act(connection)
                connection.wait()  # an act is for whoever comes: not for a kept connection that nobody uses again
        except (BrokenOffError, OSError):
            pass
        finally:
            self._open.discard(sock)
            sock.close()
            self.hung_up.set()

    def end(self) -> None:
        """Let go of every connection."""
        self.over.set()
        for sock in list(self._open):
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not the one of TLS, which is for the thread that reads


def reply_bytes(status: int, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def as_body(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()


def answer(status: int, body: object = b"", headers: dict[str, str] | None = None) -> Act:
    """Read the request, answer, keep the connection."""

    def act(connection: Connection) -> None:
        connection.read()
        connection.write(reply_bytes(status, as_body(body), headers))

    return act


def answer_and_close(status: int, body: object = b"") -> Act:
    """Promise to keep the connection, and close it."""

    def act(connection: Connection) -> None:
        connection.read()
        connection.write(reply_bytes(status, as_body(body)))
        raise BrokenOffError

    return act


def drip(content: bytes, *, pause: float) -> Act:
    """Answer one byte at a time."""

    def act(connection: Connection) -> None:
        connection.read()
        for place in range(len(content)):
            if connection.peer.over.wait(pause):
                return
            connection.write(content[place : place + 1])

    return act


def answer_partly(content: bytes) -> Act:
    """Write this much of an answer, and close."""

    def act(connection: Connection) -> None:
        connection.read()
        connection.write(content)
        raise BrokenOffError

    return act


def drop_after_reading(connection: Connection) -> None:
    connection.read()
    raise BrokenOffError


def reset_after_reading(connection: Connection) -> None:
    connection.read()
    connection.reset()


def hang_after_reading(connection: Connection) -> None:
    connection.read()
    connection.hold()


def hang_before_reading(connection: Connection) -> None:
    connection.hold()


@contextmanager
def http_peer(tls: ssl.SSLContext | None = None, otherwise: Act | None = None) -> Iterator[HttpPeer]:
    """A listening peer. With `tls` it speaks TLS; without an act of its own it closes every connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        scheme = "https" if tls else "http"
        peer = HttpPeer(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", otherwise=otherwise)
        threads: list[threading.Thread] = []

        def serve(sock: socket.socket) -> None:
            sock.settimeout(PATIENCE)
            try:
                wrapped = tls.wrap_socket(sock, server_side=True) if tls else sock
            except OSError:  # the client did not like our certificate
                sock.close()
                return
            peer.serve(wrapped)

        def accept() -> None:
            while not peer.over.is_set():
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=serve, args=(sock,), daemon=True))
                threads[-1].start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield peer
        finally:
            peer.end()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # closing alone does not wake `accept` everywhere
    acceptor.join(PATIENCE)
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a connection of the peer is still open"


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of this machine on which nobody listens. It is kept meanwhile, so that no other process can take it."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]
