"""`manage.py serve` as a real process: its start, its end, and bodies as they come over the wire."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
import requests

from tests.commands.conftest import Serve, Web
from tests.servers.base import free_port, is_listening, wait_until
from tests.servers.processes import DEVELOPMENT, PASSED_ON, ROOT

JSON = {"Content-Type": "application/json"}
USER = b'{"email": "user@example.com"}'
TEN_MB = 10 * 1024 * 1024


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`manage.py` with these arguments, run to its end."""
    base = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**base, **DEVELOPMENT, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def talk(web: Web, *pieces: bytes, between: Callable[[], object] = lambda: None) -> bytes:
    """Send these bytes over a connection of its own and read until the server closes it."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as connection:
        for number, piece in enumerate(pieces):
            if number:
                between()
            connection.sendall(piece)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def head(method: str, path: str, *more: str) -> bytes:
    """The head of a request after which the connection ends."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def parsed(answer: bytes) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    top, _, body = answer.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(body) if body else None


# --- The start -------------------------------------------------------------------------------------------------------
def test_it_says_where_it_listens(serve: Serve) -> None:
    web = serve()
    assert f"http://127.0.0.1:{web.port}/" in web.process.output
    assert requests.get(web.url("api/users/"), timeout=30).json()["results"] == []
    assert requests.get(web.url("health/ready/"), timeout=30).json()["status"] == "ok"
    assert "Server" not in requests.get(web.url("api/users/"), timeout=30).headers, "no version to look up holes for"


def test_a_missing_migration_stops_it_and_names_the_command(tmp_path: Path) -> None:
    ended = run("serve", "--port", str(free_port()), DATABASE_URL=f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    assert ended.returncode == 1
    assert "python manage.py migrate" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_one_missing_migration_is_enough(database: str) -> None:
    with sqlite3.connect(database.removeprefix("sqlite:///")) as connection:
        last = connection.execute("SELECT max(name) FROM django_migrations WHERE app = 'notifier'").fetchone()
        connection.execute("DELETE FROM django_migrations WHERE app = 'notifier' AND name = ?", last)
    connection.close()
    ended = run("serve", "--port", str(free_port()), DATABASE_URL=database)
    assert ended.returncode == 1
    assert "python manage.py migrate" in ended.stderr


def test_a_database_that_is_out_stops_it_with_a_sentence() -> None:
    url = f"postgres://user:canary@127.0.0.1:{free_port()}/notifier"
    ended = run("serve", "--port", str(free_port()), DATABASE_URL=url)
    assert ended.returncode == 1
    assert "DATABASE_URL" in ended.stderr
    assert "canary" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_port_stops_it_with_a_way_out(database: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = run("serve", "--port", str(port), DATABASE_URL=database)
    assert ended.returncode == 1
    assert str(port) in ended.stderr
    assert "--port" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "0"),
        ("SMTP_PORT", "70000"),
        ("DJANGO_DEBUG", "perhaps"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DEFAULT_CHAIN", "email,pigeon"),
        ("TIME_ZONE", "Mars/Olympus"),
        ("REDIS_URL", "http://localhost"),
        ("NOTIFICATION_TTL", "a day"),
    ],
)
def test_a_wrong_setting_stops_it_with_one_sentence_that_names_it(name: str, value: str) -> None:
    ended = run("serve", **{name: value})
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"{name} ")
    assert f"Example: {name}=" in ended.stderr


@pytest.mark.parametrize("name", ["DJANGO_SECRET_KEY", "ENCRYPTION_KEYS"])
def test_without_debug_a_missing_secret_stops_it(name: str) -> None:
    keys = {"DJANGO_SECRET_KEY": "x" * 60, "ENCRYPTION_KEYS": "x" * 43 + "="}
    ended = run("serve", DJANGO_DEBUG="0", **{**keys, name: ""})
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{name} is missing")
    assert ended.stderr.count("\n") == 1


# --- The end ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_quickly(serve: Serve, number: int) -> None:
    web = serve()
    with requests.Session() as session:
        session.get(web.url("health/live/"), timeout=30)  # a connection that stays open must not hold it up
        began = time.monotonic()
        assert web.process.stop(number, seconds=60) == 0
        assert time.monotonic() - began < 20  # 30 where it waits for the client
    assert not is_listening(web.port)
    assert "Traceback" not in web.process.output


def test_a_request_under_way_is_answered_before_the_end(serve: Serve) -> None:
    web = serve(CELERY_TASK_ALWAYS_EAGER="1")
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as connection:
        connection.sendall(
            head("POST", "/api/users/", "Content-Type: application/json", f"Content-Length: {len(USER)}")
        )
        connection.sendall(USER[:5])
        wait_until(lambda: requests.get(web.url("health/live/"), timeout=30).ok, 30, "it answers others meanwhile")
        web.process.send(signal.SIGTERM)
        wait_until(lambda: not is_listening(web.port), 30, "it takes no more connections")
        connection.sendall(USER[5:])
        assert b"201 Created" in connection.recv(65536)
    assert web.process.wait(60) == 0


def test_what_it_accepted_is_there_after_a_new_start(serve: Serve) -> None:
    web = serve()
    body = {"to": {"email": "user@example.com"}, "message": "Hello", "send_at": "2026-12-01T00:00:00Z"}
    place = requests.post(web.url("api/notifications/"), json={**body, "send_at": None}, timeout=30).headers["Location"]
    web.process.kill()
    again = serve()
    assert requests.get(again.url(place.lstrip("/")), timeout=30).json()["message"] == "Hello"


# --- Bodies over the wire --------------------------------------------------------------------------------------------
def chunked(*pieces: bytes) -> bytes:
    """These pieces as a chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def test_a_chunked_body_is_read(web: Web) -> None:

    def pieces() -> Iterator[bytes]:
        yield USER[:7]
        yield USER[7:]

    response = requests.post(web.url("api/users/"), data=pieces(), headers=JSON, timeout=30)
    assert response.status_code == 201
    request = head("POST", "/api/users", "Content-Type: application/json", "Transfer-Encoding: chunked")
    assert parsed(talk(web, request, chunked(*(USER[n : n + 1] for n in range(len(USER))))))[0] == 201
    assert parsed(talk(web, request, chunked()))[0] == 400, "an empty one is no user"


def assert_too_large(status: int, body: Any) -> None:
    """413 in the one shape of every error."""
    assert status == 413
    assert set(body) == {"type", "title", "status", "errors"}
    assert (body["status"], body["errors"][0]["code"], body["errors"][0]["attr"]) == (413, "too_large", None)


def test_a_body_over_10_mb_is_refused_as_a_problem(web: Web) -> None:
    for body in (b" " * (TEN_MB + 1), (b" " * 1024 * 1024 for _ in range(11))):
        response = requests.post(web.url("api/notifications/"), data=body, headers=JSON, timeout=30)
        assert response.headers["Content-Type"] == "application/problem+json"
        assert_too_large(response.status_code, response.json())
    assert requests.get(web.url("health/live/"), timeout=30).ok


def test_a_client_that_reads_only_after_it_has_sent_all_gets_its_answer_too(web: Web) -> None:
    whole = b" " * (4 * TEN_MB)
    announced = head("POST", "/api/users/", f"Content-Length: {len(whole)}")
    assert_too_large(*parsed(talk(web, announced, whole)))
    unannounced = head("POST", "/api/users/", "Transfer-Encoding: chunked")
    assert_too_large(*parsed(talk(web, unannounced, chunked(*[b" " * 1024 * 1024] * 40))))


def test_an_announced_size_is_refused_before_the_body_comes(web: Web) -> None:
    request = head("POST", "/api/users/", "Content-Type: application/json", f"Content-Length: {10**12}")
    assert_too_large(*parsed(talk(web, request, b"{")))
    waiting = head("POST", "/api/users/", f"Content-Length: {10**12}", "Expect: 100-continue")
    answer = talk(web, waiting)
    assert b"100 Continue" not in answer
    assert_too_large(*parsed(answer))


def test_a_body_of_10_mb_is_read(web: Web) -> None:
    body = json.dumps({"to": {"email": "user@example.com"}, "message": "Hello", "html": "x" * 900_000}).encode()
    response = requests.post(web.url("api/notifications/"), data=body.ljust(TEN_MB), headers=JSON, timeout=30)
    assert response.status_code == 202


def test_slow_clients_keep_nobody_waiting(web: Web) -> None:
    """More of them than there are threads: none takes one before its body is complete."""
    request = head("POST", "/api/users/", "Content-Type: application/json", f"Content-Length: {len(USER)}")
    all_there, others_were_answered = Barrier(41, timeout=60), Event()

    def wait() -> None:
        all_there.wait()
        others_were_answered.wait(60)

    with ThreadPoolExecutor(40) as pool:
        slow = [pool.submit(talk, web, request + USER[:9], USER[9:], between=wait) for _ in range(40)]
        all_there.wait()
        assert requests.get(web.url("api/users/"), timeout=30).status_code == 200
        others_were_answered.set()
        assert {parsed(answer.result())[0] for answer in slow} == {201}


def test_a_client_that_goes_away_in_the_middle_stores_nothing(web: Web) -> None:
    before = requests.get(web.url("api/users/"), timeout=30).json()
    request = head("POST", "/api/users/", "Content-Type: application/json", f"Content-Length: {len(USER) + 5}")
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as connection:
        connection.sendall(request + USER)
    assert requests.get(web.url("api/users/"), timeout=30).json() == before
    assert "Traceback" not in web.process.output


@pytest.mark.parametrize("debug", ["0", "1"])
def test_bytes_that_make_no_sense_are_no_bug(serve: Serve, debug: str) -> None:
    keys = {"DJANGO_SECRET_KEY": "x" * 60, "ENCRYPTION_KEYS": "x" * 43 + "=", "API_OPEN": "1"}
    web = serve(DJANGO_DEBUG=debug, **keys)
    for path in (
        "/api/users/?email=\xff\xfe",
        "/api/users/\xff",
        "/api/users/%ff/%00",
        "/api/users/?email=%ff%00",
        "/api/../../etc/passwd",
        "//evil.example.com/api/users/",
        "/api/users/?cursor=%%%",
        "/api/" + "a" * 20_000,
    ):
        status, _ = talk(web, head("GET", path)).split(b" ", 2)[1:]
        assert 200 <= int(status) < 500, path
    for line in (
        "Host: evil.example.com",
        "X-API-Key: \xff\xfe",
        "Accept: \xff",
        "Content-Length: -1",
        "Cookie: \xff=\x01",
    ):
        answer = talk(web, head("GET", "/api/users/", line))
        assert 200 <= int(answer.split(b" ", 2)[1]) < 500, line
        assert b"<html" not in answer.lower()
    assert "Traceback" not in web.process.output
