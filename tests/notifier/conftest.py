"""What the domain's tests share."""

from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from notifier import callbacks
from tests.channels.http_peer import HttpPeer, answer, http_peer
from tests.notifier.lawful import Watch, watched


@pytest.fixture
def peer(settings: Settings) -> Iterator[HttpPeer]:
    """A client's server, which may be called, and takes every callback unless told otherwise."""
    settings.CALLBACK_HOSTS = ["127.0.0.1"]
    with http_peer(otherwise=answer(204)) as made:
        yield made
        for public_only in (True, False):
            callbacks._client(public_only).close()


@pytest.fixture
def watch(db: None) -> Iterator[Watch]:
    """Every move in the test is one of the contract's table."""
    with watched() as made:
        yield made
