"""HTTP for channels: one POST, and one of three ends: a reply, "nothing left", or "it may have arrived".

`requests` alone can't tell the last two apart: it calls a silent TLS handshake a read timeout, and a broken write the
same as a broken read. So the connections of this module note how far a request got, and that decides:

    before the last byte of the body was written    TemporaryError or MisconfiguredError: nobody acts on half a body
    after it, without a whole reply                 UnknownOutcomeError

Kept connections. A server may close an idle one at any time. A request on it would then look like "it may have arrived"
though nothing did, and repeating it blindly could send twice. So nothing is ever repeated here; an idle connection that
has become readable (closed, or speaking out of turn) is thrown away before use, which urllib3 does; and one that was
idle for more than `IDLE_SECONDS` is not used again, because servers, NAT tables and load balancers drop idle ones after
five seconds or more, often without a word. What remains is a close that crosses our request on the wire: an unknown.
"""

import base64
import json
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from channels import net
from channels.errors import ChannelError, MisconfiguredError, PermanentError, TemporaryError, UnknownOutcomeError

MAX_REPLY_BYTES = 64 * 1024
IDLE_SECONDS = 4.0
MAX_RETRY_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Body:
    """What is posted."""

    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said, whatever its status. `body` is b"" where an error's body broke off."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx. That alone proves nothing: read the body."""
        return 200 <= self.status < 300

    def record(self) -> dict[str, Any]:
        """The body as a JSON object. {}: it is none."""
        try:
            data = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}

    @property
    def retry_after(self) -> timedelta | None:
        """The header Retry-After, in seconds or as a date. None: absent or unreadable."""
        text = self.headers.get("Retry-After", "").strip()
        if text.isascii() and text.isdigit():
            return delay(float(text))
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return delay((aware - datetime.now(UTC)).total_seconds())


def delay(seconds: object) -> timedelta | None:
    """A delay that a provider named, brought between zero and a day. None: it is no number."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return timedelta(seconds=min(max(seconds, 0), MAX_RETRY_AFTER.total_seconds()))


def as_json(data: object) -> Body:
    """PermanentError for text that UTF-8 can't carry: a lone surrogate."""
    return Body(_utf8(json.dumps(data, ensure_ascii=False)), "application/json")


def as_form(fields: Mapping[str, str]) -> Body:
    """PermanentError for text that UTF-8 can't carry: a lone surrogate."""
    encoded = urlencode({name: _utf8(value) for name, value in fields.items()})
    return Body(encoded.encode(), "application/x-www-form-urlencoded")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise PermanentError("The text holds half of a sign (a lone surrogate), which can't be sent.") from None


def basic_auth(user: str, password: str) -> str:
    """The header's value, in UTF-8 as RFC 7617 allows; `requests` would stumble over a Cyrillic password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class WebClient:
    """Posts, and keeps connections: one `requests.Session` a thread, so that threads never share a socket.

    Redirects are not followed (a secret must not travel to another host), cookies are not kept (nor one account's
    mixed with another's), and the environment's proxies and netrc are ignored. Certificates are checked against the
    system's store (SSL_CERT_FILE counts), or the list that `requests` brings where the system has none. With
    `public_only` the host must have public addresses only: for addresses that a client of the service named.
    """

    def __init__(self, *, public_only: bool = False) -> None:
        self._public_only = public_only
        self._here = threading.local()
        self._sessions: WeakSet[_Session] = WeakSet()
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def post(
        self, url: str, body: Body, *, service: str, timeout: timedelta, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Post once and return the reply, whatever its status. `service` names the server in errors.

        `timeout` covers everything from the name's lookup to the last byte of the reply, however slowly it drips.
        Connecting may use half of it: were the rest too short for the answer, a slow connect would make an unknown.
        """
        return self._once("POST", url, service, timeout, {"Content-Type": body.content_type, **(headers or {})}, body)

    def get(self, url: str, *, service: str, timeout: timedelta, headers: Mapping[str, str] | None = None) -> Reply:
        """Get once and return the reply, as `post` does: for questions about an account."""
        return self._once("GET", url, service, timeout, headers or {})

    def _once(
        self,
        method: str,
        url: str,
        service: str,
        timeout: timedelta,
        headers: Mapping[str, str],
        body: Body | None = None,
    ) -> Reply:
        session = self._session()
        exchange = _here.exchange = _Exchange(timeout, self._public_only)
        try:
            return session.once(method, url, body.content if body else None, headers, timeout)
        except (requests.RequestException, HTTPError, OSError, ValueError, TemporaryError, MisconfiguredError) as error:
            # `from None`: the original text shows the URL, which may hold a token.
            raise _explained(error, exchange, service) from None
        finally:
            _here.exchange = None

    def close(self) -> None:
        """Close the idle connections of all threads. The client may be used again afterwards."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.close()

    def _session(self) -> "_Session":
        """This thread's session, without connections that were idle for too long or belong to a parent process."""
        session: _Session | None = getattr(self._here, "session", None)
        if session is None or session.pid != os.getpid():
            with self._lock:
                self._tls = self._tls or _tls_context()  # one for all threads: reading the authorities takes a while
                session = self._here.session = _Session(self._tls)
                self._sessions.add(session)
        elif time.monotonic() - session.used_at > IDLE_SECONDS:
            session.close()
        return session


class _Session(requests.Session):
    """A session that brings nothing along from the environment or from earlier replies."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__()
        self.pid = os.getpid()
        self.used_at = time.monotonic()
        self.trust_env = False
        self.headers.update({"User-Agent": "notifier", "Accept": "application/json", "Accept-Encoding": "identity"})
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = _Adapter(tls)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def once(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str], timeout: timedelta
    ) -> Reply:
        """Ask, and read the reply to its end."""
        patience = timeout.total_seconds()
        response = self.request(
            method, url, data=content, headers=headers, timeout=patience, allow_redirects=False, stream=True
        )
        try:
            return Reply(response.status_code, response.headers, _read(response))
        finally:
            self.used_at = time.monotonic()
            response.close()

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None, always: `requests` reads the whole body of a redirect to prepare the next request, wanted or not."""


def _read(response: requests.Response) -> bytes:
    """The body, or its first MAX_REPLY_BYTES. What follows is of no use, and the connection is closed on it."""
    content = b""
    try:
        while (left := MAX_REPLY_BYTES - len(content)) and (piece := response.raw.read(left, decode_content=False)):
            content += piece  # a body that is shorter than promised fails in the read after its last piece
    except (HTTPError, OSError):
        if response.status_code < 300:
            raise
        return b""  # the status alone says that it was refused
    return content


# How far a request got


class _Exchange:
    """One request under way in this thread."""

    def __init__(self, timeout: timedelta, public_only: bool) -> None:
        self.timeout = timeout
        self.public_only = public_only
        self.deadline = net.Deadline(timeout)
        self.connect_deadline = net.Deadline(timeout / 2)
        self.handed_over = False
        self.trouble: Exception | None = None

    @contextmanager
    def noting_trouble(self) -> Iterator[None]:
        """Keep the first error as it was, before urllib3 and `requests` rename it."""
        try:
            yield
        except Exception as error:
            self.trouble = self.trouble or error
            raise


class _Here(threading.local):
    exchange: _Exchange | None = None


_here = _Here()


def _under_way() -> _Exchange:
    if _here.exchange is None:
        raise RuntimeError("The connections of channels.web work inside a WebClient only.")
    return _here.exchange


def _explained(error: Exception, exchange: _Exchange, service: str) -> ChannelError | MisconfiguredError:
    if exchange.handed_over:
        return UnknownOutcomeError(f"{service}: the request was sent, but its answer did not come whole and in time.")
    trouble = exchange.trouble or error
    if isinstance(trouble, MisconfiguredError):
        return MisconfiguredError(f"{service}: {trouble.detail}", code=trouble.code)
    if isinstance(trouble, TemporaryError):
        return TemporaryError(f"{service}: {trouble.detail}", code=trouble.code)
    if isinstance(trouble, ssl.SSLCertVerificationError):
        reason = f"{service}: the server's certificate is not to be trusted: {trouble.verify_message}."
        return MisconfiguredError(reason, code="tls_failed")
    if isinstance(trouble, ValueError):  # the address or a header, both made from the account
        return MisconfiguredError(f"{service}: no request can be made of this address and key.")
    if isinstance(trouble, TimeoutError):
        return TemporaryError(f"{service}: the server was silent before the request was sent.", code="timeout")
    return TemporaryError(f"{service}: the connection failed before the request was sent.", code="unreachable")


class _Socket(socket.socket):
    """Waits no longer than the request under way may take. A timeout of its own would begin anew with each byte."""

    def recv_into(self, *args: Any) -> int:
        self.settimeout(_under_way().deadline.remaining())
        return super().recv_into(*args)

    def sendall(self, *args: Any) -> None:
        self.settimeout(_under_way().deadline.remaining())
        super().sendall(*args)


class _TlsSocket(ssl.SSLSocket):
    """The same, with TLS."""

    def recv_into(self, *args: Any) -> int:
        self.settimeout(_under_way().deadline.remaining())
        return super().recv_into(*args)

    def send(self, *args: Any) -> int:
        self.settimeout(_under_way().deadline.remaining())
        return super().send(*args)


class _Connection(HTTPConnection):
    """Notes what broke before the hand-over, and that the hand-over is complete."""

    def _new_conn(self) -> socket.socket:
        exchange = _under_way()
        deadline = exchange.connect_deadline
        found = net.resolve(self._dns_host, self.port, public_only=exchange.public_only, deadline=deadline)
        sock = _Socket(fileno=net.connect(found, deadline).detach())
        sock.settimeout(deadline.remaining())  # for a TLS handshake, which inherits it
        return sock

    def connect(self) -> None:
        with _under_way().noting_trouble():
            super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:
        with _under_way().noting_trouble():
            super().request(*args, **kwargs)
        _under_way().handed_over = True


class _TlsConnection(_Connection, HTTPSConnection):
    """The same, with TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """The adapter of `requests` with our connections and our idea of whom to trust. It repeats nothing."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to do: the context checks, and `requests` would add its own list of authorities to it."""


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    folder = ssl.get_default_verify_paths().capath
    if not context.get_ca_certs() and not (folder and any(Path(folder).iterdir())):
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)  # a slim container image has no store
    context.sslsocket_class = _TlsSocket
    return context


def _is_not_ours(record: logging.LogRecord) -> bool:
    return _here.exchange is None


for _name in ("urllib3.connectionpool", "urllib3.connection"):
    # They log the path of each request, and the path of a Telegram request holds the bot's token.
    logging.getLogger(_name).addFilter(_is_not_ours)
