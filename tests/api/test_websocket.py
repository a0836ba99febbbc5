"""Both wires of a stream, Server-Sent Events and the WebSocket, at the server as it is deployed."""

import json
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from notifier.live import MESSAGES
from tests.servers.migrated import migrate
from tests.servers.processes import ProjectProcess, manage, web

pytestmark = pytest.mark.real_server

SEED = """
import json
from django.contrib.auth.models import User
from accounts.tokens import AccessToken, create_token
from notifier import api_keys
from notifier.models import Membership, Organization
ours, theirs = Organization.objects.get(slug="default"), Organization.objects.create(slug="other", name="Other")
keys = {one.slug: api_keys.make(one, kind="test").secret for one in (ours, theirs)}
user = User.objects.create_user("ann@example.com", "ann@example.com", "x" * 20)
Membership.objects.create(user=user, organization=ours, role="member")
print(json.dumps({**keys, "access": create_token(user, AccessToken)}))
"""
HELLO = {"to": {"email": "rejected@simulator.test"}, "channels": ["email"], "message": "Hello"}
"""Its one event: it fails at once."""


class Site:
    """The service, closed to who shows nothing; two organizations, and a member of the first."""

    def __init__(self, process: ProjectProcess, shown: dict[str, str]) -> None:
        self.process = process
        self.shown = shown
        self.address = f"127.0.0.1:{process.environment['PORT']}"

    def url(self, path: str, scheme: str = "http") -> str:
        """Of this path."""
        return f"{scheme}://{self.address}{path}"

    def key(self, slug: str = "default") -> dict[str, str]:
        """The header that proves it."""
        return {"Authorization": f"Bearer {self.shown[slug]}"}

    def post(self, path: str, body: Any = None, slug: str = "default") -> Any:
        """The answer's JSON."""
        answer = requests.post(self.url(path), json=body, headers=self.key(slug), timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def send(self, number: int, slug: str = "default") -> list[int]:
        """So many notifications, each with one event; their ids."""
        ids: list[int] = self.post("/api/notifications/bulk/", {"notifications": [HELLO] * number}, slug)["ids"]
        return ids

    def token(self) -> str:
        """A socket token of the member."""
        return str(self.post("/api/auth/socket-token/", slug="access")["token"])

    def websocket(self, query: str = "", *, slug: str | None = "default", **more: Any) -> Any:
        """A new one, for `with`."""
        headers = {**(self.key(slug) if slug else {}), **more.pop("headers", {})}
        path = more.pop("path", "/ws/notifications/")
        return connect(self.url(f"{path}{query}", "ws"), additional_headers=headers, proxy=None, **more)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """For all tests of this file."""
    directory: Path = tmp_path_factory.mktemp("live")
    environment = {
        "DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}",
        "API_OPEN": "0",
        "PUBLIC_URL": "https://notifier.example.com",
    }
    migrate(environment)
    shown = json.loads(manage("shell", "-v", "0", "-c", SEED, environment=environment).splitlines()[-1])
    with web(environment, directory) as running:
        running.wait_for_line("listens on", 60)
        yield Site(running, shown)
        assert "Traceback" not in running.output


class Sse:
    """A stream as a browser hears it. `last`: the id from which it would go on."""

    def __init__(self, site: Site, path: str = "/api/events/", slug: str = "default", last: str = "") -> None:
        headers = {**site.key(slug), "Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        self._answer = requests.get(site.url(path), headers=headers, stream=True, timeout=30)
        assert self._answer.status_code == 200, self._answer.text
        self._lines = self._answer.iter_lines(chunk_size=1, decode_unicode=True)
        self.last = last
        self._block()  # the head

    def _block(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line and fields:
                break
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value
        self.last = fields.get("id", self.last)
        return fields

    def next(self) -> dict[str, Any]:
        """The next event's JSON."""
        while "data" not in (block := self._block()):
            assert block, "the stream ended"
        found: dict[str, Any] = json.loads(block["data"])
        assert found["type"] == block["event"]
        return found

    def rest(self) -> list[str]:
        """What comes until it ends."""
        return [line for line in self._lines if line]

    def close(self) -> None:
        """Go, without a word."""
        self._answer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Socket:
    """The same over the WebSocket."""

    def __init__(self, site: Site, last: str = "") -> None:
        self._context = ExitStack()
        self._connection = self._context.enter_context(site.websocket(f"?last_event_id={last}" if last else ""))
        self.last = last

    def next(self) -> dict[str, Any]:
        """The next event's JSON."""
        found: dict[str, Any] = json.loads(self._connection.recv(timeout=30))
        self.last = found["id"]
        assert isinstance(self.last, str)
        assert set(found) == {"id", "type", "timestamp", "data"}
        return found

    def close(self) -> None:
        """Go, without a word."""
        self._connection.socket.shutdown(socket.SHUT_RDWR)
        self._context.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()


WIRES: list[Callable[..., Any]] = [Sse, Socket]


def ids_of(stream: Any, number: int) -> list[int]:
    """Whose events the next ones are."""
    return [stream.next()["data"]["id"] for _ in range(number)]


@pytest.mark.parametrize("wire", WIRES)
def test_who_comes_back_misses_nothing_and_hears_nothing_twice(site: Site, wire: Callable[..., Any]) -> None:
    first = wire(site)
    ids = site.send(300)
    heard = ids_of(first, 120)
    first.close()
    with wire(site, last=first.last) as second:
        heard += ids_of(second, 180)
    assert sorted(heard) == ids


def test_each_organization_hears_its_own(site: Site) -> None:
    with Sse(site) as ours, Sse(site, slug="other") as theirs, Socket(site) as twin:
        mine, foreign = site.send(5), site.send(5, "other")
        for stream, ids in ((ours, mine), (theirs, foreign), (twin, mine)):
            assert sorted(ids_of(stream, 5)) == ids
        (last,) = site.send(1)
        assert ids_of(ours, 1) == ids_of(twin, 1) == [last]
        (last,) = site.send(1, "other")
        assert ids_of(theirs, 1) == [last]


def test_one_notification_is_followed_to_its_end(site: Site) -> None:
    pk = site.post("/api/notifications/", {**HELLO, "send_at": soon()})["id"]
    path = f"/api/notifications/{pk}/events/"
    with Sse(site, path) as stream, site.websocket(f"?notification={pk}") as twin, Sse(site) as everything:
        ids_of(everything, len(site.send(3)))  # of these the others hear nothing
        site.post(f"/api/notifications/{pk}/cancel/")
        heard = [stream.next() for _ in range(2)]
        assert [one["type"] for one in heard] == ["notification.queued", "notification.cancelled"]
        assert [json.loads(twin.recv(timeout=30))["type"] for _ in range(2)] == [one["type"] for one in heard]
        assert heard[1]["data"]["attempts"] == []


def soon() -> str:
    """In an hour."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))


@pytest.mark.parametrize(
    ("query", "more", "status"),
    [
        ("", {"slug": None}, 401),
        ("", {"slug": None, "headers": {"X-API-Key": "wrong"}}, 401),
        ("?token=wrong", {}, 401),
        ("?notification=9999999", {}, 404),
        ("?notification=1%2F..", {}, 404),
        ("?notification=", {}, 404),
        ("?notification=%D9%A1", {}, 404),
        ("?last_event_id=x", {}, 400),
        ("", {"path": "/ws/"}, 404),
        ("", {"path": "/api/events/"}, 404),
        ("", {"headers": {"Origin": "https://evil.example.com"}}, 403),
        ("", {"headers": {"Origin": "null"}}, 403),
    ],
)
def test_a_handshake_is_refused_as_a_request_is(site: Site, query: str, more: dict[str, Any], status: int) -> None:
    with pytest.raises(InvalidStatus) as refused, site.websocket(query, **more):
        pass
    answer = refused.value.response
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.body or b"")["status"] == status


@pytest.mark.parametrize("path", ["/ws/notifications/", "/ws/notifications"])
def test_pages_of_the_service_are_let_in(site: Site, path: str) -> None:
    for origin in (f"http://{site.address}", "https://notifier.example.com"):
        with site.websocket(path=path, headers={"Origin": origin}):
            pass


def test_a_socket_token_opens_one_stream(site: Site) -> None:
    token = site.token()
    with site.websocket(f"?token={token}", slug=None) as stream:
        ids = site.send(2)
        assert sorted(json.loads(stream.recv(timeout=30))["data"]["id"] for _ in ids) == ids
    with pytest.raises(InvalidStatus) as refused, site.websocket(f"?token={token}", slug=None):
        pass
    assert refused.value.response.status_code == 401
    assert requests.get(site.url("/api/events/"), {"token": token}, timeout=30).status_code == 401
    with requests.get(site.url("/api/events/"), {"token": site.token()}, stream=True, timeout=30) as answer:
        assert answer.status_code == 200
    assert token not in site.process.output


@pytest.mark.parametrize(("size", "number", "code"), [(10_000, 1, 1009), (10, MESSAGES + 1, 1008)])
def test_who_says_too_much_is_shown_out(site: Site, size: int, number: int, code: int) -> None:
    with site.websocket() as stream:
        with suppress(ConnectionClosed):
            for _ in range(number):
                stream.send("x" * size)
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code


def test_what_clients_say_is_not_heard(site: Site) -> None:
    with site.websocket() as stream:
        for text in ("hello", '{"type": "subscribe"}', b"\x00\xff"):
            stream.send(text)
        assert stream.ping().wait(30)
        ids = site.send(1)
        assert json.loads(stream.recv(timeout=30))["data"]["id"] == ids[0]


def test_streams_hold_no_thread(site: Site) -> None:
    """There are 16 that answer requests."""
    with ExitStack() as stack:
        streams = [stack.enter_context(Sse(site)) for _ in range(40)]
        (pk,) = site.send(1)
        assert {stream.next()["data"]["id"] for stream in streams} == {pk}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_stop_ends_streams_at_once(site: Site) -> None:
    with ExitStack() as stack:
        listening = [stack.enter_context(Sse(site)) for _ in range(10)]
        sockets = [stack.enter_context(site.websocket()) for _ in range(10)]
        began = time.monotonic()
        assert site.process.stop(signal.SIGTERM, seconds=60) == 0
        assert time.monotonic() - began < 20  # 30 where it waits for them
        assert all(stream.rest() == [] for stream in listening)  # each ended as an answer does
        for one in sockets:
            with pytest.raises(ConnectionClosed) as closed:
                one.recv(timeout=30)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
    assert "Traceback" not in site.process.output
    after = len(site.process.output)
    site.process.start().wait_for_line("listens on", 60, after=after)
