"""What leaves is encrypted, for a server that proves its name: seen from the whole service, over real sockets.

How each channel behaves at each step stands in tests/channels; here are whole notifications, and people in the middle.
"""

import socket
import ssl
import threading
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest
import trustme
from pytest_django.fixtures import Settings

from notifier import callbacks, delivery, errands, send
from notifier.models import Attempt, Callback, Notification
from notifier.states import Status
from tests.channels.http_peer import HttpPeer, answer, http_peer
from tests.channels.smtp_peer import SmtpPeer
from tests.notifier.rows import organization, stored

pytestmark = pytest.mark.django_db
PASSWORD = "canary-in-the-mine"
SIGHTS = (PASSWORD, b64encode(PASSWORD.encode()).decode(), b64encode(f"\0u@example.com\0{PASSWORD}".encode()).decode())


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def fresh_channels(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Real channels on a machine whose administrator trusts the authority."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    for cached in (errands.channels, callbacks._client):
        cached.cache_clear()
    yield
    errands.channels().close()
    for cached in (errands.channels, callbacks._client):
        cached.cache_clear()


# --- Servers that are not to be trusted ------------------------------------------------------------------------------
def _context(authority: trustme.CA, name: str = "127.0.0.1", **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    return context


def good(authority: trustme.CA) -> ssl.SSLContext:
    return _context(authority)


def of_another_name(authority: trustme.CA) -> ssl.SSLContext:
    return _context(authority, "127.0.0.2")


def of_an_unknown_authority(_: trustme.CA) -> ssl.SSLContext:
    return _context(trustme.CA())


def expired(authority: trustme.CA) -> ssl.SSLContext:
    return _context(authority, not_after=datetime.now(UTC) - timedelta(days=1))


def old_tls(version: ssl.TLSVersion) -> Callable[[trustme.CA], ssl.SSLContext]:
    def made(authority: trustme.CA) -> ssl.SSLContext:
        context = _context(authority)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        return context

    return made


BAD = {
    "another name": of_another_name,
    "an unknown authority": of_an_unknown_authority,
    "an expired certificate": expired,
    "TLS 1.0": old_tls(ssl.TLSVersion.TLSv1),
    "TLS 1.1": old_tls(ssl.TLSVersion.TLSv1_1),
}


def the_attempt(row: Notification) -> Attempt:
    """The only one, after one round."""
    row.refresh_from_db()
    return Attempt.objects.get(notification=row)


# --- SMTP ------------------------------------------------------------------------------------------------------------
def by_mail(settings: Settings, port: int, *, implicit: bool, own: bool) -> Notification:
    """A mail with a login, through the configured account or the request's own; worked on once."""
    settings.SMTP_HOST, settings.SMTP_PORT = "127.0.0.1", port
    settings.SMTP_USE_SSL, settings.SMTP_USE_TLS = implicit, not implicit
    settings.SMTP_DEFAULT_USER, settings.SMTP_DEFAULT_PASSWORD = "u@example.com", PASSWORD
    settings.DEFAULT_FROM_EMAIL = "sender@example.com"
    more = {"smtp_user": "u@example.com", "smtp_password": PASSWORD} if own else {}
    row = send(to="ann@example.com", message="Hello", channels=["email"], organization=organization(), **more)
    delivery.deliver([row.pk])
    return row


def refused(row: Notification, *, own: bool) -> Attempt:
    """It failed for its encryption: for good with the request's own account, else an operator may mend it."""
    attempt = the_attempt(row)
    assert (attempt.outcome, attempt.code, attempt.temporary) == ("failed", "tls_failed", not own)
    assert row.status == (Status.FAILED if own else Status.QUEUED)
    return attempt


def kept_quiet(peer: SmtpPeer) -> None:
    """Neither the login nor the message was shown to this server."""
    assert not peer.taken
    said = "\n".join(peer.commands)
    assert not any(sight in said for sight in SIGHTS)
    assert not any(command.startswith(("AUTH", "MAIL", "RCPT", "DATA")) for command in peer.commands)


WAYS = pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "smtps"])
ACCOUNTS = pytest.mark.parametrize("own", [False, True], ids=["configured", "own"])


@WAYS
@ACCOUNTS
def test_a_mail_leaves_for_a_server_that_proves_its_name(
    authority: trustme.CA, settings: Settings, implicit: bool, own: bool
) -> None:
    tls = good(authority)
    with SmtpPeer(tls=tls, implicit_tls=implicit, user="u@example.com", password=PASSWORD) as peer:
        row = by_mail(settings, peer.port, implicit=implicit, own=own)
        assert the_attempt(row).outcome == "accepted"
        assert len(peer.taken) == 1


@WAYS
@ACCOUNTS
@pytest.mark.parametrize("bad", BAD)
def test_no_mail_and_no_login_for_a_server_that_does_not(
    authority: trustme.CA, settings: Settings, bad: str, implicit: bool, own: bool
) -> None:
    tls = BAD[bad](authority)
    with SmtpPeer(tls=tls, implicit_tls=implicit, user="u@example.com", password=PASSWORD) as peer:
        refused(by_mail(settings, peer.port, implicit=implicit, own=own), own=own)
        kept_quiet(peer)


@ACCOUNTS
def test_no_mail_and_no_login_without_starttls(settings: Settings, own: bool) -> None:
    with SmtpPeer(user="u@example.com", password=PASSWORD) as peer:
        refused(by_mail(settings, peer.port, implicit=False, own=own), own=own)
        kept_quiet(peer)


class Middleman:
    """Passes an SMTP conversation on, each chunk from the server as `change` makes it."""

    def __init__(self, port: int, change: Callable[[bytes], bytes]) -> None:
        self.change, self.heard = change, b""
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                theirs = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._pump, args=(ours, theirs, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(theirs, ours, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, from_server: bool) -> None:
        with suppress(OSError), source, target:
            while chunk := source.recv(65536):
                if not from_server:
                    self.heard += chunk
                target.sendall(self.change(chunk) if from_server else chunk)
            target.shutdown(socket.SHUT_RDWR)


def stripping(chunk: bytes) -> bytes:
    """Takes the offer away."""
    return chunk.replace(b"250-STARTTLS\r\n", b"250-XXXXXXXX\r\n")


def refusing(chunk: bytes) -> bytes:
    """Answers in the server's name that it cannot just now."""
    return b"502 5.5.1 unknown\r\n" if chunk.startswith(b"220 2.0.0") else chunk


def slipping_in(chunk: bytes) -> bytes:
    """Puts words of its own behind the server's, which are read as if they had come encrypted."""
    words = b"250-peer.test\r\n250 AUTH PLAIN\r\n235 2.7.0 welcome\r\n250 2.1.0 ok\r\n"
    return chunk + words if chunk.startswith(b"220 2.0.0") else chunk


@ACCOUNTS
@pytest.mark.parametrize("change", [stripping, refusing, slipping_in])
def test_who_sits_in_the_middle_cannot_talk_us_out_of_encryption(
    authority: trustme.CA, settings: Settings, change: Callable[[bytes], bytes], own: bool
) -> None:
    with (
        SmtpPeer(tls=good(authority), user="u@example.com", password=PASSWORD) as peer,
        Middleman(peer.port, change) as middleman,
    ):
        refused(by_mail(settings, middleman.port, implicit=False, own=own), own=own)
        kept_quiet(peer)
        assert not any(sight.encode() in middleman.heard for sight in SIGHTS)
        assert b"ann@example.com" not in middleman.heard


def test_who_sits_in_the_middle_and_does_nothing_hears_nothing(authority: trustme.CA, settings: Settings) -> None:
    with (
        SmtpPeer(tls=good(authority), user="u@example.com", password=PASSWORD) as peer,
        Middleman(peer.port, lambda chunk: chunk) as middleman,
    ):
        assert the_attempt(by_mail(settings, middleman.port, implicit=False, own=False)).outcome == "accepted"
        assert not any(sight.encode() in middleman.heard for sight in SIGHTS)
        assert b"ann@example.com" not in middleman.heard


# --- HTTPS -----------------------------------------------------------------------------------------------------------
def telegram(settings: Settings, url: str) -> None:
    settings.TELEGRAM_BOT_TOKEN, settings.TELEGRAM_API_URL = f"1:{PASSWORD}", url


def gateway(settings: Settings, url: str) -> None:
    settings.SMS_PROVIDER, settings.SMS_HTTP_URL, settings.SMS_HTTP_TOKEN = ("http",), f"{url}/send", PASSWORD


def twilio(settings: Settings, url: str) -> None:
    settings.SMS_PROVIDER, settings.TWILIO_API_URL, settings.TWILIO_FROM = ("twilio",), url, "+12025550199"
    settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKEN = "AC" + "0" * 32, PASSWORD


def smsru(settings: Settings, url: str) -> None:
    settings.SMS_PROVIDER, settings.SMSRU_API_URL, settings.SMSRU_API_ID = ("smsru",), url, PASSWORD


def smsc(settings: Settings, url: str) -> None:
    settings.SMS_PROVIDER, settings.SMSC_API_URL = ("smsc",), url
    settings.SMSC_LOGIN, settings.SMSC_PASSWORD = "login", PASSWORD


PROVIDERS = pytest.mark.parametrize("provider", [telegram, gateway, twilio, smsru, smsc])


def by_provider(provider: Callable[[Settings, str], None], settings: Settings, url: str) -> Notification:
    provider(settings, url)
    row = stored("telegram" if provider is telegram else "sms")
    delivery.deliver([row.pk])
    return row


@PROVIDERS
@pytest.mark.parametrize("bad", BAD)
def test_no_provider_is_believed_that_does_not_prove_its_name(
    authority: trustme.CA, settings: Settings, provider: Callable[[Settings, str], None], bad: str
) -> None:
    with http_peer(BAD[bad](authority), answer(200, {})) as peer:
        row = by_provider(provider, settings, peer.url)
        attempt = the_attempt(row)
        assert (attempt.outcome, peer.requests) == ("failed", [])
        assert attempt.code in ({"tls_failed", "unreachable"} if bad.startswith("TLS") else {"tls_failed"})
        assert PASSWORD not in attempt.detail


@PROVIDERS
def test_a_provider_that_does_is_asked(
    authority: trustme.CA, settings: Settings, provider: Callable[[Settings, str], None]
) -> None:
    with http_peer(good(authority), answer(200, {})) as peer:
        by_provider(provider, settings, peer.url)
        assert len(peer.requests) == 1


def called_back(peer: HttpPeer, settings: Settings) -> None:
    settings.CALLBACK_HOSTS = ["127.0.0.1"]
    row = stored(callback_url=f"{peer.url}/hook")
    callbacks.announce([row.pk])
    callbacks.deliver_due()


@pytest.mark.parametrize("bad", BAD)
def test_no_callback_for_a_server_that_does_not_prove_its_name(
    authority: trustme.CA, settings: Settings, bad: str
) -> None:
    with http_peer(BAD[bad](authority), answer(204)) as peer:
        called_back(peer, settings)
        assert peer.requests == []
        assert Callback.objects.get().tries == 1  # tried again later: it may be mended


def test_a_callback_for_a_server_that_does(authority: trustme.CA, settings: Settings) -> None:
    with http_peer(good(authority), answer(204)) as peer:
        called_back(peer, settings)
        assert len(peer.requests) == 1
        assert not Callback.objects.exists()
