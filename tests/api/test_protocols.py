"""uvicorn's protocols as we bound them: who does not read, or leaves while he waits for more."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import uvicorn

from notifier import heads
from notifier.heads import BoundedHeads, BoundedSockets
from tests.servers.base import wait_until

pytestmark = pytest.mark.real_server


async def endless(scope: Any, receive: Any, send: Any) -> None:
    """Says more than anybody reads."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "text": "x" * 100_000})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while (await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})) is None:
        if scope["state"].setdefault("sent", 0) > 10_000:
            raise OverflowError("It was never told to stop.")
        scope["state"]["sent"] += 1


@contextmanager
def serving(application: Any) -> Iterator[tuple[uvicorn.Server, int]]:
    """This application in a thread, under our protocols; the server and its port."""
    door = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application, http=BoundedHeads, ws=BoundedSockets, lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([door],))
    thread.start()
    wait_until(lambda: server.started, 30, "it listens")
    try:
        yield server, door.getsockname()[1]
    finally:
        server.force_exit = server.should_exit = True
        thread.join(30)
        door.close()
    assert not thread.is_alive()


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("request_", [PLAIN, HANDSHAKE])
def test_who_does_not_read_is_hung_up_on(monkeypatch: pytest.MonkeyPatch, request_: bytes) -> None:
    monkeypatch.setattr(heads, "STALLED_SECONDS", 0.3)
    begun = threading.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await endless(scope, receive, send)

    with serving(application) as (server, port), socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(request_)
        assert begun.wait(30)
        wait_until(lambda: not server.server_state.connections, 30, "it hangs up")


@pytest.mark.parametrize("behind", [PLAIN, HANDSHAKE])
def test_who_leaves_is_missed_also_where_he_asked_for_more(behind: bytes) -> None:
    left = []

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        event: Any = None
        while event is None or event["type"] != "http.disconnect":
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    event = await receive()
        left.append(scope["type"])

    with serving(stream) as (_server, port):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(PLAIN)
            assert client.recv(10)
            client.sendall(behind)
            time.sleep(0.1)
        wait_until(lambda: left == ["http"], 30, "the first answer has ended")


def test_who_does_not_read_is_not_answered_without_end() -> None:
    async def listen(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    mask, most = bytes(4), 30_000_000
    pings, text = (b"\x89\xfd" + mask + bytes(125)) * 400, b"\x81\x81" + mask + b"x"
    sent = 0
    with serving(listen) as (_server, port), socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(HANDSHAKE)
        assert client.recv(10)
        client.settimeout(0.5)
        with suppress(OSError):
            while sent < most:
                client.sendall(pings + text)
                sent += len(pings)
    assert sent < most


async def patient(scope: Any, receive: Any, send: Any) -> None:
    """Says nothing until the client leaves."""
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


def test_a_text_that_is_none_ends_the_connection_and_is_no_story_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with serving(patient) as (_, port), socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(HANDSHAKE)
        assert client.recv(4096).startswith(b"HTTP/1.1 101")
        client.sendall(b"\x81\x82\0\0\0\0\xff\xfe")
        assert client.recv(4096)[:4] == b"\x88\x02" + (1007).to_bytes(2, "big")
    assert [record for record in caplog.records if record.exc_info] == []
