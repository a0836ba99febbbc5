"""From ASGI to WSGI for requests whose body has been read whole: one hop to a thread, one answer back.

a2wsgi hands every header and every chunk from its thread to the loop and waits for each: three hops a request, which
with 16 threads cost more than a view (answering JSON: 1,815 a second with it, 5,068 so; a plain INSERT: 911, 1,259).
"""

import asyncio
import io
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, NamedTuple

Event = MutableMapping[str, Any]
Send = Callable[[Event], Awaitable[None]]
Receive = Callable[[], Awaitable[Event]]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_WITHOUT_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}

STALLED_SECONDS = 60.0
"""How long one piece of a streamed answer may wait for a client that does not read; then its thread is freed."""


class Handed(NamedTuple):
    """An answer that is to go on for long: nothing of it is sent yet, and no thread waits for it. `stream`: what the
    application's answer had to give."""

    head: Event
    stream: Any


class ThreadedWSGI:
    """A WSGI application in a fixed pool of threads."""

    def __init__(self, application: Application, *, threads: int) -> None:
        self._application = application
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="request")

    async def __call__(self, scope: Event, body: bytes, send: Send) -> Handed | None:
        """Answer the request. A streamed answer keeps its thread to its end, any other only until it is made.

        One that offers a stream (`take_stream`) is returned: the caller answers.
        """
        loop = asyncio.get_running_loop()
        made = await loop.run_in_executor(self._pool, self._answer, scope, body, send, loop)
        if isinstance(made, Handed):
            return made
        for event in made:
            await send(event)
        return None

    def _answer(self, scope: Event, body: bytes, send: Send, loop: asyncio.AbstractEventLoop) -> list[Event] | Handed:
        """In a thread: the events of the answer that are still to be sent."""
        head: Event = {"type": "http.response.start"}

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
            head["status"] = int(status[:3])
            head["headers"] = [
                # Django writes a space before each cookie, which h11 takes for an attack.
                (name.lower().encode("latin-1"), value.strip().encode("latin-1", "replace"))
                for name, value in headers
            ]

        answer = self._application(environ(scope, body), start_response)
        try:
            if (take := getattr(answer, "take_stream", None)) is not None:
                return Handed(head, take())
            if not getattr(answer, "streaming", True):  # Django's word for "it is all there"
                body = b"".join(answer)
                _tell_length(head, body)
                return [head, {"type": "http.response.body", "body": body}]
            self._send(send, head, loop)
            for piece in answer:
                self._send(send, {"type": "http.response.body", "body": piece, "more_body": True}, loop)
            return [{"type": "http.response.body", "body": b""}]
        finally:
            close = getattr(answer, "close", None)
            if close is not None:
                close()

    @staticmethod
    def _send(send: Send, event: Event, loop: asyncio.AbstractEventLoop) -> None:
        """From a thread, at the pace of the client."""

        async def sent() -> None:
            await send(event)

        asyncio.run_coroutine_threadsafe(sent(), loop).result(STALLED_SECONDS)


def problem(status: HTTPStatus, code: str, detail: str) -> list[Event]:
    """The API's own error shape, without Django; the connection ends."""
    error = {"code": code, "detail": detail, "attr": None}
    shown = {"type": "about:blank", "title": status.phrase, "status": int(status), "errors": [error]}
    body = json.dumps(shown).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    return [
        {"type": "http.response.start", "status": int(status), "headers": headers},
        {"type": "http.response.body", "body": body},
    ]


def _tell_length(head: Event, body: bytes) -> None:
    """Unknown, it would be sent in pieces."""
    if head["status"] not in _WITHOUT_BODY and not any(name == b"content-length" for name, _ in head["headers"]):
        head["headers"].append((b"content-length", str(len(body)).encode()))


def environ(scope: Event, body: bytes) -> dict[str, Any]:
    """PEP 3333's dictionary for this request."""
    made: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if scope["type"] == "websocket":
        made["notifier.websocket"] = True
    host, port = scope.get("server") or ("localhost", 80)
    made["SERVER_NAME"], made["SERVER_PORT"] = host, str(port or 0)
    if scope.get("client"):
        made["REMOTE_ADDR"] = scope["client"][0]
    for name, value in scope["headers"]:
        if b"_" in name:
            continue  # `X_Forwarded_For` would read as `X-Forwarded-For`: nginx, Apache and gunicorn drop it too
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
        text = value.decode("latin-1")
        made[key] = f"{made[key]},{text}" if key in made else text
    # The length is known now, however the body came: as a chunked one it would be read as empty.
    made.pop("HTTP_TRANSFER_ENCODING", None)
    if body or "CONTENT_LENGTH" in made:
        made["CONTENT_LENGTH"] = str(len(body))
    return made
