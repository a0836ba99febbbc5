"""A trap on loopback that nothing forbidden may reach, a name service that lies, and a watch over every connection."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Trap:
    """Listens on 127.0.0.1 and, where there is IPv6, on ::1. Whoever connects is counted and hung up on."""

    port: int
    caught: int = 0
    listeners: list[socket.socket] = field(default_factory=list)

    def listen(self, listener: socket.socket) -> None:
        """Count who comes, until the listener is closed."""
        self.listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                self.caught += 1
                connection.close()

        threading.Thread(target=accept, daemon=True).start()


@contextmanager
def trap() -> Iterator[Trap]:
    """A trap that is set."""
    first = socket.create_server(("127.0.0.1", 0))
    made = Trap(first.getsockname()[1])
    made.listen(first)
    with suppress(OSError):  # no IPv6 here, or the port is taken there
        made.listen(socket.create_server(("::1", made.port), family=socket.AF_INET6))
    try:
        yield made
    finally:
        for listener in made.listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()


@dataclass
class Line:
    """What this process asks of the name service, and whom it connects to. Only loopback is ever reached."""

    connects: list[Any] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    answers: dict[str, list[Sequence[str]]] = field(default_factory=dict)

    def name(self, name: str, *answers: Sequence[str]) -> None:
        """What a name resolves to: the first time, the second …; the last answer stays."""
        self.answers[name] = list(answers)


def watched_line(monkeypatch: pytest.MonkeyPatch) -> Line:
    """Put the line under watch until the test is over."""
    line, real = Line(), socket.getaddrinfo

    class Watched(socket.socket):
        def connect(self, address: Any) -> None:
            line.connects.append(address)
            if not str(address[0]).startswith("127.") and address[0] != "::1":
                raise ConnectionRefusedError  # nothing leaves this machine
            super().connect(address)

        def connect_ex(self, address: Any) -> int:
            line.connects.append(address)
            return super().connect_ex(address)

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        answers = line.answers.get(host)
        if answers is None:
            kwargs["flags"] = socket.AI_NUMERICHOST if host != "localhost" else 0  # asks nobody
            return real(host, port, *args, **kwargs)
        line.asked.append(host)
        return [_entry(address, port) for address in (answers.pop(0) if len(answers) > 1 else answers[0])]

    monkeypatch.setattr(socket, "socket", Watched)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return line


def _entry(address: str, port: int) -> tuple[Any, ...]:
    if ":" in address:
        bare, _, zone = address.partition("%")
        scope = socket.if_nametoindex(zone) if zone else 0
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", (bare, port, 0, scope)
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)
