"""The web server itself, over the wire: whom it believes, how long it waits, what it tells of itself."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.commands.conftest import Web, started
from tests.servers.migrated import migrated_file
from tests.servers.processes import manage

pytestmark = pytest.mark.real_server

KEYS = {
    "DJANGO_DEBUG": "0",
    "DJANGO_SECRET_KEY": "only-for-the-tests-" + "x" * 40,
    "ENCRYPTION_KEYS": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg=",
    "API_OPEN": "1",
    "DJANGO_ALLOWED_HOSTS": "127.0.0.1,notifier.example.com",
}


def serve(directory: Path, **environment: str) -> Web:
    """A production server on a database of its own."""
    return started(migrated_file(directory / "db.sqlite3"), directory, **KEYS, **environment)


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """As it comes: nobody is trusted."""
    running = serve(tmp_path_factory.mktemp("direct"))
    yield running
    running.process.kill()


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Behind a proxy on this machine that speaks https."""
    environment = {"TRUSTED_PROXIES": "127.0.0.1,10.0.0.0/8", "PUBLIC_URL": "https://notifier.example.com"}
    running = serve(tmp_path_factory.mktemp("proxied"), **environment)
    yield running
    running.process.kill()


def sign_in(web: Web, forwarded: str) -> int:
    """The answer to a wrong password that claims to come from there, by https."""
    headers = {"X-Forwarded-For": forwarded, "X-Forwarded-Proto": "https"}
    headers["Referer"] = headers["Origin"] = "https://notifier.example.com"
    with requests.Session() as session:
        page = session.get(web.url("admin/login/"), headers={**headers, "Host": "notifier.example.com"}, timeout=30)
        token = page.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        cookie = {"Cookie": f"csrftoken={page.cookies['csrftoken']}", "Host": "notifier.example.com"}
        if web.process.environment.get("PUBLIC_URL") is None:
            headers["Origin"] = "http://notifier.example.com"
        body = {"username": "root", "password": "wrong", "csrfmiddlewaretoken": token}
        return requests.post(web.url("admin/login/"), body, headers={**headers, **cookie}, timeout=30).status_code


def test_nobody_is_believed_who_is_not_named(direct: Web) -> None:
    answers = [sign_in(direct, f"198.51.100.{number}") for number in range(20)]
    assert answers[:4] == [200] * 4
    assert set(answers[4:]) == {429}


def test_a_trusted_proxy_tells_callers_apart_and_they_cannot(proxied: Web) -> None:
    answers = [sign_in(proxied, f"192.0.2.{number}, 198.51.100.7, 10.1.2.3") for number in range(20)]
    assert answers[:4] == [200] * 4
    assert set(answers[4:]) == {429}, "what the caller put in front is not believed"
    assert sign_in(proxied, "198.51.100.8") == 200, "another caller behind the same proxy"


def test_only_a_trusted_proxy_says_that_it_was_https(direct: Web, proxied: Web) -> None:
    secure = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
    page = requests.get(proxied.url("admin/login/"), headers=secure, timeout=30)
    assert page.status_code == 200
    assert page.headers["Strict-Transport-Security"].startswith("max-age=")
    assert "Secure" in page.headers["Set-Cookie"]
    plain = {"X-Forwarded-For": "198.51.100.7"}
    answer = requests.get(proxied.url("admin/login/"), headers=plain, allow_redirects=False, timeout=30)
    assert answer.headers["Location"] == "https://notifier.example.com/admin/login/"
    refused = requests.post(proxied.url("api/users/"), json={"email": "user@example.com"}, headers=plain, timeout=30)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "https_required")
    for path in ("health/live", "api/users/"):
        assert requests.get(proxied.url(path), timeout=30).status_code == 200, "from this machine"
    page = requests.get(direct.url("admin/login/"), headers=secure, timeout=30)
    assert page.status_code == 200
    assert "Strict-Transport-Security" not in page.headers


@pytest.mark.parametrize("value", ["*", "localhost", "10.0.0.1/8", "127.0.0.1;10.0.0.1"])
def test_what_is_no_address_stops_the_start_with_a_sentence(value: str, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}", **KEYS, "TRUSTED_PROXIES": value}
    with pytest.raises(Exception, match="TRUSTED_PROXIES is wrong"):
        manage("check", environment=environment)


@pytest.mark.parametrize("path", ["", "sandbox/state/", "sandbox/inbox/", "sandbox/switches/"])
def test_in_production_there_is_no_demo(direct: Web, path: str) -> None:
    assert requests.get(direct.url(path), timeout=30).status_code == 404
    assert requests.post(direct.url(path), json={"email": "refused"}, timeout=30).status_code == 404


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "FOO"])
def test_odd_methods_are_refused_and_echo_nothing(direct: Web, method: str) -> None:
    with socket.create_connection(("127.0.0.1", direct.port), timeout=30) as connection:
        target = b"127.0.0.1:80" if method == "CONNECT" else b"/api/users/"
        head = b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Canary: canary\r\nConnection: close\r\n\r\n"
        connection.sendall(head % (method.encode(), target))
        answer = connection.recv(65536)
    assert answer.split()[1] in {b"405", b"400"}
    assert b"canary" not in answer


def test_no_answer_names_what_it_was_made_with(direct: Web) -> None:
    for path in ("", "api/users/", "api/docs/", "admin/login/", "health/ready", "nothing", "static/admin/css/base.css"):
        headers = requests.get(direct.url(path), timeout=30).headers
        assert not {"server", "x-powered-by", "via", "x-aspnet-version"} & {name.lower() for name in headers}, path


def test_an_endless_head_is_cut_off(direct: Web) -> None:
    for start in (
        b"GET /api/users/ HTTP/1.1\r\nX-Long: ",
        b"GET /" + b"a" * 100,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 99,
    ):
        answer, sent = b"", 0
        with socket.create_connection(("127.0.0.1", direct.port), timeout=30) as connection:
            connection.sendall(start)
            try:
                while sent < 20_000_000:
                    sent += connection.send(b"a" * 16_384)
                    time.sleep(0)
            except OSError:
                pass  # it has hung up: what it said before may be lost with what we were still sending
            else:
                answer = connection.recv(100)
        assert sent < 20_000_000, answer
    assert requests.get(direct.url("health/live"), timeout=30).ok


def test_a_head_of_a_usual_size_is_read(direct: Web) -> None:
    answer = requests.get(direct.url("api/users/"), headers={"X-Long": "a" * 30_000}, timeout=30)
    assert answer.status_code == 200
