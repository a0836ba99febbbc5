"""A small real HTTP server that speaks Telegram's Bot API and four SMS gateways, and behaves as its switches say."""

import itertools
import json
import logging
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from sandbox import ports
from sandbox.dialects import Dialect, Refused, Reply, Request, Submission
from sandbox.inbox import Inbox
from sandbox.recipients import Greylist, outcome_of
from sandbox.sms import HttpGateway, Smsc, SmsRu, Twilio
from sandbox.switches import Channel, Switches
from sandbox.telegram import BotApi

LARGEST_BODY: Final = 1024 * 1024
ROUTES: Final[tuple[tuple[re.Pattern[str], Dialect], ...]] = (
    (re.compile(r"/bot.*"), BotApi()),
    (re.compile(r"/sms/?"), HttpGateway()),
    (re.compile(r"/2010-04-01/Accounts/[^/]+/Messages\.json"), Twilio()),
    (re.compile(r"/sms/send/?"), SmsRu()),
    (re.compile(r"/sys/send\.php"), Smsc()),
)
_OUTAGES: Final = frozenset({"error", "rate_limited"})  # these answer whatever was asked
_WAKE_UP: Final = 0.02  # seconds: how soon the listening thread sees that it must end


class NoAnswer(Exception):  # noqa: N818 - what a client gets, no error of ours
    """The client gets no answer. `silent`: it is left waiting; otherwise the connection ends at once."""

    def __init__(self, *, silent: bool) -> None:
        super().__init__()
        self.silent = silent


class Gateways:
    """What the providers behind the servers do with a request: shared by the servers, safe in several threads."""

    def __init__(self, inbox: Inbox, switches: Switches, greylist: Greylist) -> None:
        self._inbox = inbox
        self._switches = switches
        self._greylist = greylist
        self._numbers = itertools.count(1)

    def answer(self, request: Request) -> Reply:
        """Take the message or not, and say so. Raises NoAnswer where the client must not hear of it."""
        dialect = next((dialect for path, dialect in ROUTES if path.fullmatch(request.path)), None)
        if dialect is None:
            return Reply(404, {"error": "not found"})
        if self._switches.get(dialect.channel) in {"silent", "refused"}:
            # Refused: a connection that was accepted in the very moment of the change.
            raise NoAnswer(silent=self._switches.get(dialect.channel) == "silent")
        try:
            submission = dialect.read(request)
        except Refused as refused:
            name = self._switches.get(dialect.channel)
            return dialect.refused(Submission(to="", text=""), name) if name in _OUTAGES else refused.reply
        except ValueError:
            return Reply(400, {"ok": False, "error_code": 400, "description": "Bad Request: the body cannot be read"})
        outcome = self._outcome(dialect.channel, submission)
        if outcome == "silent":
            raise NoAnswer(silent=True)
        if outcome not in {"ok", "lost_answer"}:
            return dialect.refused(submission, outcome)
        return self._take(dialect, submission, lost=outcome == "lost_answer")

    def _outcome(self, channel: Channel, submission: Submission) -> str:
        outcome = outcome_of(channel, submission.to) or self._switches.get(channel)
        if outcome == "greylisted":
            message = (channel, submission.to.lstrip("+"), submission.reference or submission.text)
            return outcome if self._greylist.refuses(message) else "ok"
        return outcome

    def _take(self, dialect: Dialect, submission: Submission, *, lost: bool) -> Reply:
        number = next(self._numbers)
        self._inbox.add(
            dialect.channel,
            submission.to,
            sender=submission.sender,
            text=submission.text,
            html=submission.html,
            reference=submission.reference,
            provider_id=dialect.provider_id(submission, number),
        )
        if lost:
            raise NoAnswer(silent=False)
        return dialect.accepted(submission, number)


class WebServer:
    """Listens on a loopback port in a thread of its own, from `listen` to `refuse` or `stop`."""

    def __init__(self, gateways: Gateways, *, port: int = 0) -> None:
        self._gateways = gateways
        self._reserved: socket.socket | None = ports.reserve(port)
        self.port = ports.number(self._reserved)
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    def listen(self) -> None:
        """Accept connections; nothing where it does already."""
        if self._listener is None:
            assert self._reserved is not None, "the server has ended"  # noqa: S101
            self._listener = _Listener(self._reserved, self._gateways)
            self._reserved = None
            self._thread = threading.Thread(
                target=self._listener.serve_forever, args=(_WAKE_UP,), name=f"sandbox-http-{self.port}", daemon=True
            )
            self._thread.start()

    def refuse(self) -> None:
        """Close the listener and every connection; the port stays ours."""
        if self._listener is not None:
            self._end()
            self._reserved = ports.reserve(self.port)

    def stop(self) -> None:
        """Close everything and end the threads, whatever the clients wait for."""
        self._end()
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    def _end(self) -> None:
        if self._listener is not None and self._thread is not None:
            self._listener.shutdown()
            self._thread.join()
            self._listener.server_close()
            self._listener.end_connections()
            self._listener = self._thread = None


class _Listener(ThreadingHTTPServer):
    """One thread a connection; knows its connections, so that it can end them."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, reserved: socket.socket, gateways: Gateways) -> None:
        super().__init__((ports.HOST, 0), _Handler, bind_and_activate=False)
        self.socket.close()  # the base class made one of its own
        self.socket = reserved
        self.server_address = reserved.getsockname()
        self.gateways = gateways
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._counting = threading.Lock()
        self.server_activate()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        with self._counting:
            self._connections[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        with self._counting:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """Cut every connection and wait for its thread."""
        with self._counting:
            connections = list(self._connections.items())
        for connection, thread in connections:
            _cut(connection)
            thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in mid-sentence is no news; anything else is a bug of ours."""
        error = sys.exception()
        if not isinstance(error, OSError):
            logging.getLogger(__name__).error("The sandbox's HTTP server stumbled", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"
    server_version = "NotifierSandbox"
    sys_version = ""
    wbufsize = -1  # an answer goes out in one piece
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._converse()

    def do_POST(self) -> None:
        self._converse()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing: paths hold bot tokens."""

    def _converse(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isascii() or not length.isdigit():
            self._say(Reply(411, {"error": "a Content-Length is needed"}, {"Connection": "close"}))
            return
        if int(length) > LARGEST_BODY:
            self._say(Reply(413, {"error": "the body is too large"}, {"Connection": "close"}))
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):  # the client went away; half a message is none
            self.close_connection = True
            return
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            self._say(self.server.gateways.answer(Request(self.command, path, query, headers, body)))
        except NoAnswer as none:
            if none.silent:
                self._wait_for_the_end()
            self.close_connection = True

    def _say(self, reply: Reply) -> None:
        if isinstance(reply.content, str):
            kind, content = "text/plain; charset=utf-8", reply.content.encode()
        else:
            kind, content = "application/json", json.dumps(reply.content).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _wait_for_the_end(self) -> None:
        """Leave the client waiting until it hangs up or the server ends."""
        while self.rfile.read1():
            pass


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself
