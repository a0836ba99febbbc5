"""Several web processes at one port: they start, answer, are replaced and end; and one alone where it must be."""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.servers.base import ServerError, family, is_listening, wait_until
from tests.servers.migrated import migrate
from tests.servers.postgres import PostgresServer
from tests.servers.processes import ProjectProcess, manage, web
from tests.servers.redis import RedisServer

pytestmark = [pytest.mark.real_server, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]
HELLO = {"to": {"email": "user@example.com"}, "message": "Hello"}


@pytest.fixture
def site(postgres_server: PostgresServer, redis_server: RedisServer, tmp_path: Path) -> Iterator[ProjectProcess]:
    """Two processes."""
    environment = {
        "DATABASE_URL": postgres_server.create_database(f"web_processes_{os.urandom(4).hex()}"),
        "REDIS_URL": redis_server.url,
        "WEB_CONCURRENCY": "2",
    }
    migrate(environment)
    with web(environment, tmp_path) as running:
        running.wait_for_line("listens on", 60)
        yield running


def url(site: ProjectProcess, path: str) -> str:
    """The address of a path."""
    return f"http://127.0.0.1:{site.environment['PORT']}{path}"


def accepted(site: ProjectProcess) -> bool:
    """Whether a notification is taken."""
    return requests.post(url(site, "/api/notifications/"), json=HELLO, timeout=30).status_code == 202


def servers(site: ProjectProcess) -> list[int]:
    """The processes that serve; multiprocessing has a helper beside them."""
    return [pid for pid in family(site.pid) if pid != site.pid and b"spawn_main" in words_of(pid)]


def words_of(pid: int) -> bytes:
    """What that process was started with; nothing where it has just ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="Linux's /proc")
def test_they_start_answer_and_end_cleanly(site: ProjectProcess) -> None:
    started = servers(site)
    assert len(started) == 2
    assert all(accepted(site) for _ in range(10))
    streams = [requests.get(url(site, "/api/events/"), stream=True, timeout=30) for _ in range(4)]
    assert site.stop(signal.SIGTERM, seconds=60) == 0
    assert all(b"retry" in stream.content for stream in streams)
    assert not is_listening(int(site.environment["PORT"]))
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    assert "Traceback" not in site.output


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="Linux's /proc")
def test_one_that_dies_is_replaced(site: ProjectProcess) -> None:
    before = servers(site)
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(set(servers(site)) - set(before)) == 1, 60, "another one is there")
    assert accepted(site)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="Linux's /proc")
def test_they_do_not_outlive_the_one_that_started_them(site: ProjectProcess) -> None:
    assert accepted(site)
    site.send(signal.SIGKILL)
    wait_until(lambda: not is_listening(int(site.environment["PORT"])), 60, "nobody listens any more")


def test_a_database_that_was_restarted_costs_no_request(
    fresh_postgres_server: PostgresServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Each thread has a connection that is dead now, and nobody asked it before its next statement."""
    database = fresh_postgres_server.create_database("restarted")
    environment = {"DATABASE_URL": database, "REDIS_URL": redis_server.url}
    migrate(environment)
    with web(environment, tmp_path) as site, ThreadPoolExecutor(16) as pool:
        site.wait_for_line("listens on", 60)
        assert all(pool.map(lambda _: accepted(site), range(48)))
        fresh_postgres_server.restart()
        assert all(pool.map(lambda _: accepted(site), range(48)))


@pytest.mark.parametrize("how", ["variable", "option"])
def test_the_embedded_mode_is_one_process(how: str, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}"}
    migrate(environment)
    options = ["--workers", "2"] if how == "option" else []
    more = {"WEB_CONCURRENCY": "2"} if how == "variable" else {}
    with pytest.raises(ServerError, match=r"Without a broker .*\n") as refused:
        manage("serve", *options, environment={**environment, **more})
    assert "exit code 1" in str(refused.value)
    assert "Traceback" not in str(refused.value)
