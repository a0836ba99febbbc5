"""What the tests of outgoing connections share."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from pytest_django.fixtures import Settings

from notifier import callbacks, provider_accounts
from tests.channels.http_peer import HttpPeer, http_peer
from tests.security.trap import Line, Trap, trap, watched_line


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Line:
    """The watched line. Any public server may be named; answers are awaited as long as on a busy machine."""
    settings.SMTP_OVERRIDE_HOSTS = ("*",)
    settings.SMTP_HOST = ""
    settings.SMTP_TIMEOUT = settings.SMTP_REPLY_TIMEOUT = timedelta(seconds=30)
    monkeypatch.setattr(callbacks, "TIMEOUT", timedelta(seconds=30))
    return watched_line(monkeypatch)


@pytest.fixture
def inside(line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    """The trap, at a port that a request may name."""
    with trap() as made:
        monkeypatch.setattr(provider_accounts, "SMTP_PORTS", (made.port, 587))
        yield made
        for public_only in (True, False):
            callbacks._client(public_only).close()


@pytest.fixture
def client_of_ours(line: Line, settings: Settings) -> Iterator[HttpPeer]:
    """A client's server that may be called, and which has turned against us."""
    settings.CALLBACK_HOSTS = ["127.0.0.1"]
    with http_peer() as peer:
        yield peer
        for public_only in (True, False):
            callbacks._client(public_only).close()
