"""What `channels.web` speaks with: `requests`, with connections that note how far a request got and keep to its time.

Loaded with the first request: it takes 5 MiB, which a process without requests to make does without.
"""

import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, NamedTuple

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from channels import net
from channels.errors import ChannelError, MisconfiguredError, TemporaryError, UnknownOutcomeError

MAX_REPLY_BYTES = 64 * 1024


class Answer(NamedTuple):
    """What the server said, as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Session(requests.Session):
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
        self,
        method: str,
        url: str,
        content: bytes | None,
        headers: Mapping[str, str],
        *,
        service: str,
        timeout: timedelta,
        public_only: bool,
    ) -> Answer:
        """Ask, and read the reply to its end. Errors are those of `channels.errors`, and name the `service`."""
        exchange = _here.exchange = _Exchange(timeout, public_only)
        try:
            return self._answer(method, url, content, headers, timeout.total_seconds())
        except (requests.RequestException, HTTPError, OSError, ValueError, TemporaryError, MisconfiguredError) as error:
            # `from None`: the original text shows the URL, which may hold a token.
            raise _explained(error, exchange, service) from None
        finally:
            _here.exchange = None

    def _answer(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str], patience: float
    ) -> Answer:
        response = self.request(
            method, url, data=content, headers=headers, timeout=patience, allow_redirects=False, stream=True
        )
        try:
            return Answer(response.status_code, response.headers, _read(response))
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


def tls_context() -> ssl.SSLContext:
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
