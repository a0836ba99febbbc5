"""Real servers as fixtures. In the root conftest: `pytest_plugins = ["tests.servers.fixtures"]`.

The session's servers are shared: leave them running. A test that kills, pauses or restarts one asks for a `fresh_` one.
Whatever test uses any of them is marked `real_server`.
"""

import os
import signal
import threading
from collections.abc import Iterator
from typing import TypeVar

import pytest

from tests.servers.base import Server
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

S = TypeVar("S", bound=Server)
KINDS = ("redis", "postgres", "rabbitmq")
FIXTURES = {name for kind in KINDS for name in (f"{kind}_server", f"fresh_{kind}_server", f"{kind}_url")}


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; let SIGTERM end the run as Ctrl+C does, so that no server outlives it."""
    config.addinivalue_line("markers", "real_server: needs a real Redis, PostgreSQL, RabbitMQ or mail server")
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a server, so that nobody has to remember it."""
    for item in items:
        if FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("real_server")


def running(server: S) -> Iterator[S]:
    """The server between its start and its stop; skips, with the reason, where there is none."""
    if reason := server.missing():
        pytest.skip(reason)
    with server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis of our own for the whole run."""
    yield from running(RedisServer())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of our own for the whole run."""
    yield from running(PostgresServer())


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitServer]:
    """A RabbitMQ of our own for the whole run."""
    yield from running(RabbitServer())


@pytest.fixture
def fresh_redis_server() -> Iterator[RedisServer]:
    """A Redis that the test may kill, pause and restart."""
    yield from running(RedisServer())


@pytest.fixture
def fresh_postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that the test may kill, pause and restart."""
    yield from running(PostgresServer())


@pytest.fixture
def fresh_rabbitmq_server() -> Iterator[RabbitServer]:
    """A RabbitMQ that the test may kill, pause and restart."""
    yield from running(RabbitServer())


def url_of(kind: type[Server], fixture: str, request: pytest.FixtureRequest) -> str:
    """The server that the environment names, else our own."""
    named = os.environ.get(kind.url_variable, "")
    if named:
        return named
    server: Server = request.getfixturevalue(fixture)
    return server.url


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> str:
    """`TEST_REDIS_URL`, else our own Redis."""
    return url_of(RedisServer, "redis_server", request)


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    """`TEST_DATABASE_URL`, else our own PostgreSQL."""
    return url_of(PostgresServer, "postgres_server", request)


@pytest.fixture(scope="session")
def rabbitmq_url(request: pytest.FixtureRequest) -> str:
    """`TEST_RABBITMQ_URL`, else our own RabbitMQ."""
    return url_of(RabbitServer, "rabbitmq_server", request)
