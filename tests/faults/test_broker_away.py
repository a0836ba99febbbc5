"""A Redis that refuses or freezes is no client's business: 202 at once, and soon delivered by workers that look."""

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from sandbox.servers import Sandbox
from tests.faults.clients import post
from tests.servers.migrated import migrate
from tests.servers.postgres import PostgresServer
from tests.servers.processes import ProjectProcess, web, worker
from tests.servers.redis import RedisServer

pytestmark = [pytest.mark.real_server, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]
ONCE = 8.0
"""Seconds of a busy machine: the contract's 1.5 of an idle one."""
THEN = 0.45
"""Seconds of an answer that waits for no Redis. Where each did, the quickest one would take longer, too."""
SOON = 60
_numbers = count()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def environment(sandbox: Sandbox, postgres_server: PostgresServer, fresh_redis_server: RedisServer) -> dict[str, str]:
    """An installation of its own."""
    made = {
        **sandbox.environment(),
        "DATABASE_URL": postgres_server.create_database(f"broker_away_{next(_numbers)}"),
        "REDIS_URL": fresh_redis_server.url,
        "DJANGO_SECRET_KEY": "only-for-the-tests-" + "x" * 32,
    }
    migrate(made)
    return made


def posted(site: ProjectProcess, name: str) -> float:
    """The seconds that its 202 took."""
    body = {"to": {"email": f"{name}@example.com"}, "message": "Hello"}
    status, content, _, seconds = post(int(site.environment["PORT"]), body)
    assert (status, content["status"]) == (202, "queued")
    return seconds


def wait_for_all(working: ProjectProcess, sandbox: Sandbox, names: set[str]) -> None:
    """Each has one message."""
    wanted = sorted(f"{name}@example.com" for name in names)

    def arrived() -> list[str]:
        return sorted(entry.to for entry in sandbox.inbox.messages())

    working.wait_for(lambda: len(arrived()) >= len(wanted), SOON, f"{len(wanted)} messages arrive")
    assert arrived() == wanted


@pytest.mark.parametrize("away", ["refused", "frozen"])
def test_posts_are_accepted_at_once_and_delivered_by_workers_that_were_there(
    away: str, environment: dict[str, str], sandbox: Sandbox, fresh_redis_server: RedisServer, tmp_path: Path
) -> None:
    with web(environment, tmp_path) as site, worker(environment, tmp_path) as working:
        site.wait_for_line("listens on", 60)
        working.wait_for_line("ready", 60)
        posted(site, "warm")
        wait_for_all(working, sandbox, {"warm"})
        fresh_redis_server.kill() if away == "refused" else fresh_redis_server.pause()
        first, *others = [posted(site, f"p{nth}") for nth in range(5)]
        assert first <= ONCE
        assert min(others) < THEN
        wait_for_all(working, sandbox, {"warm", *(f"p{nth}" for nth in range(5))})


@pytest.mark.parametrize("away", ["refused", "frozen"])
def test_posts_to_a_service_that_never_met_its_redis_arrive_too(
    away: str, environment: dict[str, str], sandbox: Sandbox, fresh_redis_server: RedisServer, tmp_path: Path
) -> None:
    fresh_redis_server.kill() if away == "refused" else fresh_redis_server.pause()
    with web(environment, tmp_path) as site, worker(environment, tmp_path) as working:
        site.wait_for_line("listens on", 60)
        _cold, *others = [posted(site, f"p{nth}") for nth in range(4)]  # the first request of a process loads much
        assert min(others) < THEN
        wait_for_all(working, sandbox, {f"p{nth}" for nth in range(4)})


def test_a_redis_that_comes_back_rings_again(
    environment: dict[str, str], sandbox: Sandbox, fresh_redis_server: RedisServer, tmp_path: Path
) -> None:
    with web(environment, tmp_path) as site, worker(environment, tmp_path) as working:
        site.wait_for_line("listens on", 60)
        working.wait_for_line("ready", 60)
        fresh_redis_server.pause()
        posted(site, "meanwhile")
        fresh_redis_server.resume()
        fresh_redis_server.kill()
        fresh_redis_server.restart()
        posted(site, "afterwards")
        wait_for_all(working, sandbox, {"meanwhile", "afterwards"})
        assert working.process.poll() is None
