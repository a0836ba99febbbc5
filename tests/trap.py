"""A trap for whatever wants to leave: every provider is configured, and all of them lead into it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from notifier import errands


class Trap:
    """A port on which somebody listens, and everything that was about to leave this process."""

    def __init__(self) -> None:
        self.caught: list[tuple[str, Any]] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self._door.setblocking(False)
        self.port: int = self._door.getsockname()[1]
        self.friends: set[int] = set()
        """Ports of the test's own servers, which may be spoken to."""

    @property
    def url(self) -> str:
        """Where every provider is said to be."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Note who knocked, and end."""
        with self._door:
            try:
                knocked, address = self._door.accept()
            except BlockingIOError:
                return
            knocked.close()
            self.caught.append(("accept", address))

    def spring(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Note every connection and every look-up of a name, whichever library wants it, and let none happen."""
        plain_connect, plain_lookup = socket.socket.connect, socket.getaddrinfo

        def connect(sock: socket.socket, address: Any) -> None:
            if isinstance(address, tuple) and address[1] in self.friends:
                return plain_connect(sock, address)
            self.caught.append(("connect", address))
            raise ConnectionRefusedError("trapped")

        def lookup(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
            if host == "127.0.0.1":  # nobody is asked about that
                return plain_lookup(host, port, *args, **kwargs)
            self.caught.append(("lookup", host))
            raise socket.gaierror("trapped")

        monkeypatch.setattr(socket.socket, "connect", connect)
        monkeypatch.setattr(socket.socket, "connect_ex", connect)
        monkeypatch.setattr(socket, "getaddrinfo", lookup)


@contextmanager
def sprung(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[Trap]:
    """The trap around a test that speaks to the real channels: AssertionError where anything was about to leave."""
    trap = Trap()
    settings.SMTP_HOST, settings.SMTP_PORT = "127.0.0.1", trap.port
    settings.SMTP_USE_TLS = settings.SMTP_USE_SSL = False
    settings.SMTP_OVERRIDE_HOSTS = [f"127.0.0.1:{trap.port}"]
    settings.DEFAULT_FROM_EMAIL = "notifier@example.com"
    settings.SMS_PROVIDER, settings.SMS_HTTP_URL = ("http",), f"{trap.url}/sms"
    settings.TELEGRAM_BOT_TOKEN, settings.TELEGRAM_API_URL = "1:token", trap.url
    trap.spring(monkeypatch)
    errands.channels.cache_clear()
    try:
        yield trap
    finally:
        errands.channels().close()
        errands.channels.cache_clear()
        trap.close()
    assert trap.caught == []
