"""The web process: Django's WSGI application in a fixed pool of threads, behind a thin ASGI front.

Sync Django views under an ASGI server are several times slower than under WSGI, and each thread would keep a database
connection of its own. The front reads a body whole before a thread takes it, so a slow client occupies no thread, and a
body that is too large is never kept. Streams of events are answered by the front itself (`live.py`).
"""

import asyncio
from contextlib import suppress
from http import HTTPStatus

from django.conf import settings

from notifier.wsgi import application as django_application  # before all else: it makes Django ready

# isort: split
from notifier import collector, live
from notifier.bridge import Event, Receive, Send, ThreadedWSGI, problem
from notifier.embedded import EmbeddedWork
from notifier.hub import hub

THREADS = 16
"""Requests that Django works on at the same time, each with a database connection of its own."""

BODY_SECONDS = 120.0
"""How long a body may take to come: until then it is kept in memory."""

LINGER_SECONDS, LINGER_BYTES = 2.0, 100 * 1024 * 1024
"""How long a pause, and how much, the front bears with while it throws away a body that is too large."""

_django = ThreadedWSGI(django_application, threads=THREADS)
_work = EmbeddedWork()


async def application(scope: Event, receive: Receive, send: Send) -> None:
    """The lifespan starts and stops the embedded mode; every request goes to Django, a WebSocket's handshake too."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "http":
        await _http(scope, receive, send)
    else:
        await live.websocket(_django, scope, receive, send)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            hub.open()
            await asyncio.to_thread(_work.start)
            collector.spare_what_stays()
            await send({"type": "lifespan.startup.complete"})
        else:
            hub.close()
            await asyncio.to_thread(_work.stop)
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _http(scope: Event, receive: Receive, send: Send) -> None:
    announced = dict(scope["headers"])
    if int(announced.get(b"content-length", 0)) > settings.MAX_BODY_BYTES:
        if b"expect" not in announced:  # else the client has not begun to send: it asked first
            await _throw_away(receive)
        await _too_large(send)
        return
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _body(receive)
    except TimeoutError:
        await _refuse(send, HTTPStatus.REQUEST_TIMEOUT, "too_slow", "The body did not come in time.")
        return
    except _GoneError:
        return
    if body is None:
        await _too_large(send)
    elif (handed := await _django(scope, body, send)) is not None:
        await live.sse(handed, receive, send)


class _GoneError(Exception):
    """The client went away: nobody waits for an answer."""


async def _body(receive: Receive) -> bytes | None:
    """The body, once it is whole; None where it is too large. `_GoneError` where it will not come."""
    body = bytearray()
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise _GoneError
        body += event.get("body", b"")
        more = event.get("more_body", False)
        if len(body) > settings.MAX_BODY_BYTES:
            if more:
                await _throw_away(receive)
            return None
    return bytes(body)


async def _throw_away(receive: Receive) -> None:
    """Take the rest of a body. Most clients read the answer only after they sent everything: one that is cut off
    before sees a broken connection instead of its 413.
    """
    taken, more = 0, True
    with suppress(TimeoutError):
        while more and taken < LINGER_BYTES:
            event = await asyncio.wait_for(receive(), LINGER_SECONDS)
            taken += len(event.get("body", b""))
            more = event.get("more_body", False)


async def _too_large(send: Send) -> None:
    await _refuse(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", "The body may have at most 10 MB.")


async def _refuse(send: Send, status: HTTPStatus, code: str, detail: str) -> None:
    """The API's own error shape, without Django; the connection ends."""
    for event in problem(status, code, detail):
        await send(event)
