"""How long a request may take to say what it wants, and in how many bytes; and how long to take its answer.

uvicorn waits for ever for the head of a request and keeps whatever comes: who opens connections and says nothing, or
never ends, could take all of them, or the memory. So could who never reads. Bodies are bounded in `asgi.py`.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import OPEN

from notifier.bridge import STALLED_SECONDS

HEAD_SECONDS = 20.0
HEAD_BYTES = 64 * 1024
LAST_SECONDS = 5.0
"""How long a stop waits for a client that does not read."""

GOING_AWAY, PROTOCOL_ERROR, INVALID_TEXT = 1001, 1002, 1007

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Impatient(asyncio.Protocol):
    """Hangs up on a client that for a while takes nothing of what is kept for it."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _looking: asyncio.TimerHandle | None = None
    _kept = 0

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_later(STALLED_SECONDS)

    def resume_writing(self) -> None:
        self._look_no_more()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._look_no_more()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server ends."""
        self._hurry()
        super().shutdown()  # type: ignore[misc]  # uvicorn's

    def _hurry(self) -> None:
        if self._looking is not None:
            self._look_no_more()
            self._look_later(LAST_SECONDS)

    def _look_later(self, seconds: float) -> None:
        self._kept = self.transport.get_write_buffer_size()
        self._looking = self.loop.call_later(seconds, self._look, seconds)

    def _look_no_more(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _look(self, seconds: float) -> None:
        if self.transport.get_write_buffer_size() < self._kept:
            self._look_later(seconds)
        else:
            self._looking = None
            self.transport.abort()


class BoundedSockets(_Impatient, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which answers no pings of who does not read, and ends as one that goes away."""

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.read_paused:
            self.transport.resume_reading()
        super().resume_writing()

    async def receive(self) -> Any:
        """As uvicorn does, which reads on then, whether its answers are taken or not."""
        event = await super().receive()
        if not self.writable.is_set():
            self.transport.pause_reading()
        return event

    def send_receive_event_to_app(self) -> None:
        """As uvicorn does, but a text that is none (RFC 6455 §8.1) is the client's fault, and no story for the log."""
        try:
            _ = self.curr_msg_data_type == "text" and b"".join(self.frames).decode()
        except UnicodeDecodeError:
            self.frames = []
            if self.conn.state is OPEN:  # it may have come before we answered the handshake
                self.conn.send_close(INVALID_TEXT)
            self.handle_parser_exception()
        else:
            super().send_receive_event_to_app()

    def shutdown(self) -> None:
        """The server ends."""
        if self.handshake_complete and not self.close_sent and self.conn.state is OPEN:
            self._hurry()
            self.stop_keepalive()
            self.queue.put_nowait({"type": "websocket.disconnect", "code": GOING_AWAY})
            self.conn.send_close(GOING_AWAY)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
        else:
            super().shutdown()

    def handle_parser_exception(self) -> None:
        """What came is no WebSocket's; uvicorn supposes that the handshake was over."""
        if self.conn.close_sent is None:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": PROTOCOL_ERROR})
            self.transport.close()
        else:
            super().handle_parser_exception()

    def send_500_response(self) -> None:
        """Asked for where the server ends before the handshake does."""
        if not self.initial_response and not self.handshake_complete:
            self.conn.send_response(self.conn.reject(HTTPStatus.SERVICE_UNAVAILABLE, ""))
            self.transport.write(b"".join(self.conn.data_to_send()))


class BoundedHeads(_Impatient, HttpToolsProtocol):
    """uvicorn's protocol, which hangs up on a head that is too slow or too long."""

    _waiting: asyncio.TimerHandle | None = None
    _seen = 0
    _answering: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)
        # uvicorn tells only the last request that came, which may still wait behind the one that is answered.
        if (cycle := self._unfinished()) is not None:
            cycle.disconnected = True
            cycle.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _unfinished(self) -> RequestResponseCycle | None:
        return None if self._answering is None or self._answering.response_complete else self._answering

    def handle_websocket_upgrade(self) -> None:
        """Not behind a request whose answer goes on: its end would not be noticed any more."""
        if self._unfinished() is not None:
            self.transport.close()
        else:
            super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waiting is not None:
            self._seen += len(data)
            if self._seen > HEAD_BYTES:
                self._stop_waiting()
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._waiting is None:
            self._wait()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._seen = 0
        self._wait_on()

    def _wait_on(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _hang_up(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_on()  # an answer is under way, and the head behind it may take as long
        else:
            self._waiting = None
            self.transport.close()
