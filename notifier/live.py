"""The two wires of a stream: Server-Sent Events and a WebSocket, written by the front without a thread that waits."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from notifier.bridge import Event, Handed, Receive, Send, ThreadedWSGI, problem
from notifier.hub import End, hub
from notifier.streams import Stream, Told, sse_head

BEAT = b":\n\n"
"""A comment: a sign of life for proxies, and the way to find out that a reader is gone."""

MESSAGES, MINUTE = 60, 60.0
"""What a client may say on a WebSocket in a minute: nothing of it is needed."""

GOING_AWAY, POLICY_VIOLATION, NOT_ALLOWED = 1001, 1008, 4401
_CODES = {End.STOPPING: GOING_AWAY, End.NOT_ALLOWED: NOT_ALLOWED}

PATHS = {"/ws/notifications", "/ws/notifications/"}


async def sse(handed: Handed, receive: Receive, send: Send) -> None:
    """Answer with events until the reader leaves, or they end."""
    stream: Stream = handed.stream

    async def write(told: Sequence[Told]) -> None:
        body = b"".join(one.for_sse() for one in told) or BEAT
        await send({"type": "http.response.body", "body": body, "more_body": True})

    async def answer() -> None:
        await send(handed.head)
        await send({"type": "http.response.body", "body": sse_head(stream.position), "more_body": True})
        await hub.follow(stream, write)
        await send({"type": "http.response.body", "body": b""})

    async def leave() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    await _first_of(stream, answer(), leave())


async def websocket(django: ThreadedWSGI, scope: Event, receive: Receive, send: Send) -> None:
    """Ask Django as for the twin's address; accept where it answers with a stream, else refuse with its answer."""
    await receive()  # "websocket.connect"
    answered: list[Event] = problem(HTTPStatus.NOT_FOUND, "not_found", "Not found.")
    handed = None
    if scope["path"] in PATHS:
        answered = []

        async def keep(event: Event) -> None:
            answered.append(event)

        handed = await django(_as_request(scope), b"", keep)
    if handed is None:
        for event in answered:
            await send({**event, "type": f"websocket.{event['type']}"})
    else:
        await _speak(handed.stream, receive, send)


def _as_request(scope: Event) -> Event:
    """The handshake as a GET of the Server-Sent Events that tell the same."""
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    number = query.get("notification", [None])[-1]
    if number is None:
        path = "/api/events/"
    else:
        path = f"/api/notifications/{number if number.isascii() and number.isdigit() else 'none'}/events/"
    scheme = "https" if scope.get("scheme") == "wss" else "http"
    return {**scope, "method": "GET", "path": path, "scheme": scheme}


async def _speak(stream: Stream, receive: Receive, send: Send) -> None:
    async def write(told: Sequence[Told]) -> None:
        for one in told:
            await send({"type": "websocket.send", "text": one.for_websocket()})

    async def tell() -> int:
        await send({"type": "websocket.accept"})
        return _CODES[await hub.follow(stream, write)]

    code = await _first_of(stream, tell(), _hear(receive))
    if code:
        await send({"type": "websocket.close", "code": code})


async def _hear(receive: Receive) -> int:
    """0 once the client has left; the code to close with where he says too much. What he says is thrown away."""
    heard: deque[float] = deque(maxlen=MESSAGES)
    while (await receive())["type"] != "websocket.disconnect":
        now = asyncio.get_running_loop().time()
        if len(heard) == MESSAGES and now - heard[0] < MINUTE:
            return POLICY_VIOLATION
        heard.append(now)
    return 0


async def _first_of(stream: Stream, *ways: Coroutine[Any, Any, Any]) -> Any:
    """What the first of these comes to; the others end with it, and the stream is left."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stream.leave()
    return next(task for task in tasks if task in done).result()
