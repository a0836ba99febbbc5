"""HTTP for channels: one POST, and one of three ends: a reply, "nothing left", or "it may have arrived".

`requests` alone can't tell the last two apart: it calls a silent TLS handshake a read timeout, and a broken write the
same as a broken read. So the connections of `web_session.py` note how far a request got, and that decides:

    before the last byte of the body was written    TemporaryError or MisconfiguredError: nobody acts on half a body
    after it, without a whole reply                 UnknownOutcomeError

Kept connections. A server may close an idle one at any time. A request on it would then look like "it may have arrived"
though nothing did, and repeating it blindly could send twice. So nothing is ever repeated here; an idle connection that
has become readable (closed, or speaking out of turn) is thrown away before use, which urllib3 does; and one that was
idle for more than `IDLE_SECONDS` is not used again, because servers, NAT tables and load balancers drop idle ones after
five seconds or more, often without a word. What remains is a close that crosses our request on the wire: an unknown.
"""

import base64
import importlib
import json
import os
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from weakref import WeakSet

from channels.errors import PermanentError

if TYPE_CHECKING:
    from channels.web_session import Session

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
        self._sessions: WeakSet[Session] = WeakSet()
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
        content = body.content if body else None
        session, public_only = self._session(), self._public_only
        answer = session.once(method, url, content, headers, service=service, timeout=timeout, public_only=public_only)
        return Reply(*answer)

    def close(self) -> None:
        """Close the idle connections of all threads. The client may be used again afterwards."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.close()

    def _session(self) -> "Session":
        """This thread's session, without connections that were idle for too long or belong to a parent process."""
        session: Session | None = getattr(self._here, "session", None)
        if session is None or session.pid != os.getpid():
            with self._lock:
                sessions = importlib.import_module("channels.web_session")
                self._tls = self._tls or sessions.tls_context()  # one for all: reading the authorities takes a while
                session = self._here.session = sessions.Session(self._tls)
                self._sessions.add(session)
        elif time.monotonic() - session.used_at > IDLE_SECONDS:
            session.close()
        return session
