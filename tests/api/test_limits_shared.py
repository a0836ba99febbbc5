"""Limits over several web processes: one count for all of them, and a Redis that hangs holds nobody up for long."""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

from notifier.counters import LEFT_ALONE
from tests.servers.base import wait_until
from tests.servers.migrated import migrate
from tests.servers.postgres import PostgresServer
from tests.servers.processes import ProjectProcess, manage, web
from tests.servers.redis import RedisServer

pytestmark = [pytest.mark.real_server, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]
ANN: dict[str, Any] = {"to": {"email": "ann@example.com"}, "message": "Hello"}


@contextmanager
def site(
    postgres: PostgresServer, redis: RedisServer, directory: Path, **more: str
) -> Iterator[tuple[ProjectProcess, requests.Session]]:
    """A running service, and a client with a key of his own."""
    environment = {
        "DATABASE_URL": postgres.create_database(f"limits_{os.urandom(4).hex()}"),
        "REDIS_URL": redis.url,
        "DJANGO_SECRET_KEY": os.urandom(16).hex(),  # a count of its own in a Redis that others use too
        "WEB_CONCURRENCY": "2",
        **more,
    }
    migrate(environment)
    key = manage("create_api_key", "default", environment=environment).split()[-1]
    with web(environment, directory) as running, requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        running.wait_for_line("listens on", 60)
        yield running, session


def post(running: ProjectProcess, session: requests.Session, body: dict[str, Any] = ANN, **headers: str) -> int:
    """The status of a notification, over a connection of its own: any of the processes may take it."""
    url = f"http://127.0.0.1:{running.environment['PORT']}/api/notifications/"
    sent = {**session.headers, **headers, "Connection": "close"}
    return requests.post(url, json=body, headers=sent, timeout=30).status_code


def questions(server: RedisServer) -> int:
    """How often it was asked to count."""
    with redis.Redis.from_url(server.url) as client:
        found: dict[str, dict[str, int]] = client.info("commandstats")
    return found.get("cmdstat_evalsha", {}).get("calls", 0)


@pytest.mark.parametrize("variable", ["API_THROTTLE_SEND", "API_THROTTLE_RECIPIENT", "API_THROTTLE_DAY"])
def test_twenty_at_once_are_exactly_so_many(
    variable: str, postgres_server: PostgresServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    limit = {"API_THROTTLE_SEND": "37/h"}.get(variable, "37")
    with site(postgres_server, redis_server, tmp_path, **{variable: limit}) as (running, session):
        with ThreadPoolExecutor(20) as pool:
            answers = Counter(pool.map(lambda _: post(running, session), range(120)))
        assert answers == {202: 37, 429: 83}
        assert "Traceback" not in running.output


def test_a_redis_that_hangs_holds_a_post_up_once(
    postgres_server: PostgresServer, fresh_redis_server: RedisServer, tmp_path: Path
) -> None:
    """And all limits go on counting, in the process."""
    limits = {"API_THROTTLE_RECIPIENT": "3", "API_THROTTLE_DAY": "1000", "WEB_CONCURRENCY": "1"}
    with site(postgres_server, fresh_redis_server, tmp_path, **limits) as (running, session):
        assert post(running, session, {**ANN, "to": {"email": "bob@example.com"}}) == 202
        before = questions(fresh_redis_server)
        fresh_redis_server.pause()
        began = time.monotonic()
        answers = [post(running, session) for _ in range(20)]
        spent = time.monotonic() - began
        fresh_redis_server.resume()
        wait_until(lambda: questions(fresh_redis_server) > before, 30, "Redis hears what it was asked")
        asked = questions(fresh_redis_server) - before
    assert answers == [202] * 3 + [429] * 17
    assert asked <= 1 + spent // LEFT_ALONE
