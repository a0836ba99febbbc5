"""The broker: what comes over it is data, never code; and nobody speaks to it without its password."""

import os
import pickle
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
import yaml
from celery import Celery
from kombu import Connection

from notifier.brokers import BROKER_FAILS_FAST
from tests.servers.base import end, free_port, guard, wait_until
from tests.servers.migrated import migrate
from tests.servers.processes import ProjectProcess, worker
from tests.servers.redis import RedisServer, find_redis

ROOT = Path(__file__).resolve().parent.parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
PREFIX = BROKER_FAILS_FAST["global_keyprefix"]
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


# --- Pickle ----------------------------------------------------------------------------------------------------------
class Bomb:
    """Makes a directory in whatever process reads it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.trace),)


class Service:
    """A worker with a database and a broker of its own."""

    def __init__(self, directory: Path, server: RedisServer) -> None:
        self.broker = server.url.rpartition("/")[0] + "/7"
        self.database = directory / "db.sqlite3"
        self.trace = directory / "exploded"
        settings = {"DATABASE_URL": f"sqlite:///{self.database}", "REDIS_URL": self.broker}
        migrate(settings)
        self.worker: ProjectProcess = worker(settings, directory)
        self.redis = redis.Redis.from_url(self.broker)
        self.redis.flushdb()

    def publish(self, body: bytes, content_type: str, encoding: str, **headers: Any) -> None:
        with Connection(self.broker, transport_options=BROKER_FAILS_FAST) as connection:
            connection.Producer().publish(
                body, routing_key="notifier", content_type=content_type, content_encoding=encoding, headers=headers
            )

    def sessions(self, *statement: Any) -> int:
        """How many sessions there are, after this statement."""
        with closing(sqlite3.connect(self.database, timeout=20)) as connection:
            if statement:
                connection.execute(*statement)
                connection.commit()
            return int(connection.execute("SELECT count(*) FROM django_session").fetchone()[0])


@pytest.fixture(scope="module")
def service(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("broker"), redis_server)
    with made.worker:
        made.worker.wait_for_line("ready")
        yield made
    made.redis.flushdb()
    made.redis.close()


def bell(task: str = "notifier.deliver") -> dict[str, Any]:
    """The headers of a task as Celery sends it."""
    name = str(uuid4())
    return {
        "lang": "py",
        "task": task,
        "id": name,
        "root_id": name,
        "parent_id": None,
        "argsrepr": "",
        "kwargsrepr": "",
    }


def as_task(bomb: Bomb) -> Any:
    return (bomb,), {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def as_old_task(bomb: Bomb) -> Any:
    return {"task": "notifier.deliver", "id": str(uuid4()), "args": [bomb], "kwargs": {}}


PICKLE, JSON = "application/x-python-serialize", "application/json"
PICKLES: dict[str, tuple[Callable[[Bomb], Any], str, dict[str, Any]]] = {
    "a task": (as_task, PICKLE, bell()),
    "a task of Celery's old form": (as_old_task, PICKLE, {}),
    "a task that does not exist": (as_task, PICKLE, bell("os.system")),
    "under the name of raw bytes": (as_task, "application/data", bell()),
    "under the name of YAML": (as_task, "application/x-yaml", bell()),
    "under the name of JSON": (as_task, JSON, bell()),
    "a bare object": (lambda bomb: bomb, PICKLE, {}),
}
UNREADABLE: dict[str, tuple[bytes, str, dict[str, Any]]] = {
    "no JSON": (b"[[", JSON, bell()),
    "another form": (b'{"a": 1}', JSON, bell()),
    "text": (b'"[[], {}, {}]"', JSON, bell()),
    "nothing": (b"", JSON, bell()),
    "deep": (b"[" * 100_000, JSON, bell()),
    "no time": (b"[[], {}, {}]", JSON, {**bell(), "eta": "yesterday"}),
    "no end": (b"[[], {}, {}]", JSON, {**bell(), "expires": {"a": 1}}),
    "no limit": (b"[[], {}, {}]", JSON, {**bell(), "timelimit": "x"}),
    "no id": (b"[[], {}, {}]", JSON, {"task": "notifier.deliver"}),
    "no name": (b"[[], {}, {}]", JSON, {**bell(), "task": ["a"]}),
    "strange arguments": (b'[["a", {"b": []}], {"os": "system"}, {}]', JSON, bell()),
    "strange text": (b"\xff\xfe", JSON, bell()),
}


def goes_on(service: Service) -> None:
    """The worker has taken all messages, and hears the next bell behind them in the same queue."""
    wait_until(lambda: service.redis.llen(f"{PREFIX}notifier") == 0, 30, "the worker takes the message")
    assert service.sessions("INSERT INTO django_session VALUES (?, '', '2020-01-01 00:00:00')", (str(uuid4()),)) == 1
    with Celery(broker=service.broker) as sender:
        sender.conf.broker_transport_options = BROKER_FAILS_FAST
        sender.send_task("notifier.purge", queue="notifier")
    service.worker.wait_for(lambda: service.sessions() == 0, 30, "the next task is done")
    # Else it would come back, to this worker or the next one.
    wait_until(lambda: service.redis.hlen(f"{PREFIX}unacked") == 0, 30, "nothing is left to be read again")
    assert service.worker.process.poll() is None


@pytest.mark.real_server
@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_is_refused_runs_nothing_and_the_worker_goes_on(service: Service, name: str) -> None:
    form, content_type, headers = PICKLES[name]
    before = len(service.worker.output)
    service.publish(pickle.dumps(form(Bomb(service.trace))), content_type, "binary", **headers)
    goes_on(service)
    assert not service.trace.exists()
    assert "succeeded" not in service.worker.output[before:]


@pytest.mark.real_server
@pytest.mark.parametrize("name", UNREADABLE)
def test_what_nobody_can_read_is_dropped_and_the_worker_goes_on(service: Service, name: str) -> None:
    body, content_type, headers = UNREADABLE[name]
    service.publish(body, content_type, "utf-8", **headers)
    goes_on(service)


def test_the_bomb_would_have_gone_off(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "exploded")))  # noqa: S301 - our own
    assert (tmp_path / "exploded").is_dir()


@pytest.mark.real_server
@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="needs root")
def test_a_worker_that_runs_as_root_is_told_not_to(service: Service) -> None:
    service.worker.wait_for_line("superuser privileges")


def test_no_container_runs_as_root_or_may_become_it() -> None:
    assert "USER notifier" in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    for name, container in COMPOSE.items():
        assert str(container.get("user", "")) not in {"0", "root", "0:0"}, name
        assert "privileged" not in container, name
        assert container["security_opt"] == ["no-new-privileges:true"], name


# --- Passwords -------------------------------------------------------------------------------------------------------
class ComposeRedis:
    """Redis as docker-compose.yml starts it, on another port."""

    def __init__(self, directory: Path, password: str) -> None:
        self.port = free_port()
        script: str = COMPOSE["redis"]["command"][-1].replace("$$", "$").replace("/tmp/", f"{directory}/")  # noqa: S108
        (directory / "bin").mkdir()
        shim = directory / "bin" / "redis-server"
        where = f"--bind 127.0.0.1 --port {self.port} --dir {directory}"
        shim.write_text(f'#!/bin/sh\nexec "{find_redis()}" "$@" {where}\n', encoding="utf-8")
        shim.chmod(0o755)
        [shell, *options, _] = COMPOSE["redis"]["command"]
        self.process = subprocess.Popen(
            [shell, *options, script],
            env={"PATH": f"{directory / 'bin'}:{os.environ['PATH']}", "REDIS_PASSWORD": password},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        guard(self.process, 15)

    def say(self, *commands: str) -> list[str]:
        """The answers to these, on one connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection, connection.makefile() as file:
            answers = []
            for command in commands:
                connection.sendall(f"{command}\r\n".encode())
                answers.append(file.readline().strip())
            return answers

    def answers(self) -> bool:
        with suppress(OSError):
            return bool(self.say("PING")[0])
        return False


@pytest.fixture
def compose_redis(tmp_path: Path) -> Iterator[ComposeRedis]:
    if find_redis() is None or shutil.which("sh") is None:
        pytest.skip(RedisServer.missing())
    made = ComposeRedis(tmp_path, "s3cretWord")
    wait_until(made.answers, 30, "Redis answers")
    yield made
    end(made.process)
    assert made.process.stderr is not None
    made.process.stderr.close()


@posix
@pytest.mark.real_server
def test_the_broker_of_the_compose_file_answers_nobody_without_its_password(compose_redis: ComposeRedis) -> None:
    commands = ["PING", "KEYS *", "LPUSH notifier x", "CONFIG GET requirepass", "FLUSHALL", "INFO"]
    answers = compose_redis.say(*commands)
    assert [answer.partition(" ")[0] for answer in answers] == ["-NOAUTH"] * len(commands)
    assert compose_redis.say("AUTH wrong", "PING")[0].startswith("-WRONGPASS")
    assert compose_redis.say("AUTH default", "PING")[1].startswith("-NOAUTH")
    assert compose_redis.say("AUTH s3cretWord", "PING") == ["+OK", "+PONG"]


@posix
@pytest.mark.real_server
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_the_brokers_password_stands_on_no_command_line(compose_redis: ComposeRedis) -> None:
    words = Path(f"/proc/{compose_redis.process.pid}/cmdline").read_bytes()
    assert b"redis" in words
    assert b"s3cretWord" not in words


@posix
def test_the_broker_of_the_compose_file_does_not_start_without_a_password(tmp_path: Path) -> None:
    started = time.monotonic()
    made = ComposeRedis(tmp_path, "")
    _, problem = made.process.communicate(timeout=60)
    end(made.process)
    assert made.process.returncode != 0
    assert b"REDIS_PASSWORD: set it in .env" in problem
    assert time.monotonic() - started < 60


def test_the_database_of_the_compose_file_trusts_nobody() -> None:
    environment = COMPOSE["postgres"]["environment"]
    # The image refuses an empty password, unless it is told to trust everybody; and then asks everybody for it.
    assert set(environment) == {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}
    assert environment["POSTGRES_PASSWORD"] == "${POSTGRES_PASSWORD:-}"
    assert "command" not in COMPOSE["postgres"]


def test_only_the_web_server_can_be_reached_and_from_this_machine_alone() -> None:
    published = {name: container["ports"] for name, container in COMPOSE.items() if "ports" in container}
    assert published == {"web": ["${HOST:-127.0.0.1}:${PORT:-8000}:8000"]}
    on_the_host = [name for name, container in COMPOSE.items() if container.get("network_mode") == "host"]
    assert on_the_host == ["demo"]  # which listens on the loopback address alone, and has no real account
    assert not any("expose" in container or "networks" in container for container in COMPOSE.values())
