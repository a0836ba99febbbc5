"""SMS and Telegram accounts asked whether they are let in, over the wire; nothing is sent to anybody."""

import base64
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from channels.errors import ChannelError, MisconfiguredError, PermanentError, TemporaryError, UnknownOutcomeError
from channels.sms import GatewayProvider, Provider, SmsChannel, SmscProvider, SmsRuProvider, TwilioProvider
from channels.sms.provider import Standing
from channels.telegram import TelegramAccount, TelegramChannel
from tests.channels.http_peer import (
    Act,
    HttpPeer,
    answer,
    answer_partly,
    closed_port,
    drop_after_reading,
    hang_after_reading,
    http_peer,
)

SECRET = "12345:very-secret"
SID = "AC" + "0" * 32
SHORT, LONG = timedelta(seconds=1), timedelta(seconds=30)


@pytest.fixture
def peer() -> Iterator[HttpPeer]:
    with http_peer() as made:
        yield made


def checked(name: str, url: str, timeout: timedelta = LONG) -> Standing | str:
    """What the account of this name, whose server stands there, is told."""
    if name == "telegram":
        channel = TelegramChannel()
        try:
            return channel.check(TelegramAccount(token=SECRET, api_url=url, timeout=timeout))
        finally:
            channel.close()
    providers: dict[str, Provider] = {
        "twilio": TwilioProvider(SID, SECRET, "+15005550006", api_url=url, timeout=timeout),
        "smsru": SmsRuProvider(SECRET, api_url=url, timeout=timeout),
        "smsc": SmscProvider("me", SECRET, api_url=url, timeout=timeout),
        "http": GatewayProvider(f"{url}/send?a=b", SECRET, timeout=timeout),
    }
    sms = SmsChannel()
    try:
        return sms.check(providers[name])
    finally:
        sms.close()


NAMES = ["twilio", "smsru", "smsc", "http", "telegram"]
WELL: list[tuple[str, dict[str, Any], int, Standing | str]] = [
    ("twilio", {"sid": SID, "status": "active", "friendly_name": "Acme"}, 200, Standing(name="Acme")),
    ("twilio", {"sid": SID, "status": "active"}, 200, Standing()),
    ("smsru", {"status": "OK", "status_code": 100, "balance": 4122.56}, 200, Standing(balance="4122.56")),
    ("smsc", {"balance": "100.01"}, 200, Standing(balance="100.01")),
    ("smsc", {"balance": 0}, 200, Standing(balance="0")),
    ("http", {}, 200, Standing(name="HTTP 200")),
    ("http", {"detail": "Method not allowed"}, 405, Standing(name="HTTP 405")),
    ("telegram", {"ok": True, "result": {"id": 1, "is_bot": True, "username": "acme_bot"}}, 200, "@acme_bot"),
]


@pytest.mark.parametrize(("name", "body", "status", "expected"), WELL)
def test_it_is_let_in(peer: HttpPeer, name: str, body: dict[str, Any], status: int, expected: Standing | str) -> None:
    peer.plan(answer(status, body))
    assert checked(name, peer.url) == expected


@pytest.mark.parametrize(
    ("name", "method", "path"),
    [
        ("twilio", "GET", f"/2010-04-01/Accounts/{SID}.json"),
        ("smsru", "POST", "/my/balance"),
        ("smsc", "POST", "/sys/balance.php"),
        ("http", "GET", "/send?a=b"),
        ("telegram", "GET", f"/bot{SECRET}/getMe"),
    ],
)
def test_what_is_asked(peer: HttpPeer, name: str, method: str, path: str) -> None:
    peer.plan(answer(200, next(body for known, body, _status, _expected in WELL if known == name)))
    checked(name, peer.url)
    [request] = peer.requests
    assert (request.method, request.path) == (method, path)
    basic = base64.b64encode(f"{SID}:{SECRET}".encode()).decode()
    authorization = {"twilio": f"Basic {basic}", "http": f"Bearer {SECRET}"}
    assert request.headers.get("authorization") == authorization.get(name)
    forms = {
        "smsru": {"api_id": SECRET, "json": "1"},
        "smsc": {"login": "me", "psw": SECRET, "fmt": "3"},
    }
    assert (request.form if name in forms else {}) == forms.get(name, {})


NOT_IN = (MisconfiguredError, "authentication_failed")
REFUSED: list[tuple[str, Act, type[Exception], str]] = [
    ("twilio", answer(401, {"code": 20003, "message": f"Authenticate {SECRET}"}), *NOT_IN),
    ("twilio", answer(404, {"code": 20404}), MisconfiguredError, "misconfigured"),
    ("twilio", answer(200, {"status": "suspended"}), MisconfiguredError, "misconfigured"),
    ("twilio", answer(200, {"status": "closed"}), MisconfiguredError, "misconfigured"),
    ("twilio", answer(429, {"code": 20429}), TemporaryError, "rate_limited"),
    ("smsru", answer(200, {"status": "ERROR", "status_code": 200, "status_text": SECRET}), *NOT_IN),
    ("smsru", answer(200, {"status": "ERROR", "status_code": 301}), *NOT_IN),
    ("smsru", answer(200, {"status": "ERROR", "status_code": 500}), TemporaryError, "provider_error"),
    ("smsc", answer(200, {"error": f"authorise error {SECRET}", "error_code": 2}), *NOT_IN),
    ("smsc", answer(200, {"error": "ip is blocked", "error_code": 4}), TemporaryError, "provider_error"),
    ("http", answer(401, {"detail": f"bad token {SECRET}"}), *NOT_IN),
    ("http", answer(403), *NOT_IN),
    ("http", answer(302, b"", {"Location": "http://127.0.0.1/"}), MisconfiguredError, "misconfigured"),
    ("http", answer(502), TemporaryError, "provider_error"),
    ("telegram", answer(401, {"ok": False, "description": f"Unauthorized {SECRET}"}), *NOT_IN),
    ("telegram", answer(404, {"ok": False, "description": "Not Found"}), *NOT_IN),
    ("telegram", answer(429, {"ok": False, "parameters": {"retry_after": 5}}), TemporaryError, "rate_limited"),
    ("telegram", answer(200, {"ok": False}), TemporaryError, "provider_error"),
]


@pytest.mark.parametrize(("name", "act", "error", "code"), REFUSED)
def test_it_is_refused(peer: HttpPeer, name: str, act: Act, error: type[Exception], code: str) -> None:
    peer.plan(act)
    with pytest.raises(error) as raised:
        checked(name, peer.url)
    assert raised.value.code == code  # type: ignore[attr-defined]
    told(raised)


BROKEN: list[tuple[Act, set[str]]] = [
    (answer(200, b""), {"provider_error"}),
    (answer(200, b"<html>"), {"provider_error"}),
    (answer(200, [1, 2]), {"provider_error"}),
    (answer(200, {"result": 7, "status": 7, "status_code": "x", "balance": None}), {"provider_error"}),
    (answer(500, SECRET.encode()), {"provider_error"}),
    (answer(301, b"", {"Location": "http://127.0.0.1:1/"}), {"misconfigured"}),
    (answer_partly(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"), {"outcome_unknown"}),
    (answer_partly(b"nonsense\r\n\r\n"), {"outcome_unknown", "provider_error"}),
    (drop_after_reading, {"outcome_unknown"}),
    (hang_after_reading, {"outcome_unknown"}),
]


@pytest.mark.parametrize(
    ("name", "row"),
    # A gateway may answer anything: only what refuses the token, and what is no answer, counts there.
    [(name, row) for name in NAMES for row in range(len(BROKEN)) if name != "http" or row >= 4],
)
def test_a_broken_answer_lets_nobody_in(peer: HttpPeer, name: str, row: int) -> None:
    act, codes = BROKEN[row]
    peer.plan(act)
    with pytest.raises((ChannelError, MisconfiguredError)) as raised:
        checked(name, peer.url, SHORT if act is hang_after_reading else LONG)
    assert raised.value.code in codes
    told(raised)


@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_there(name: str) -> None:
    with closed_port() as port, pytest.raises(TemporaryError) as raised:
        checked(name, f"http://127.0.0.1:{port}")
    assert raised.value.code == "unreachable"
    told(raised)


def test_a_name_that_echoes_the_secret_is_hidden(peer: HttpPeer) -> None:
    peer.plan(answer(200, {"status": "active", "friendly_name": SECRET}))
    assert checked("twilio", peer.url) == Standing(name="***")
    peer.plan(answer(200, {"ok": True, "result": {"username": SECRET}}))
    assert checked("telegram", peer.url) == "@***"
    for name in ("smsru", "smsc"):
        peer.plan(answer(200, {**({"status_code": 100} if name == "smsru" else {}), "balance": SECRET}))
        assert checked(name, peer.url) == Standing(balance="***")


def told(raised: Any) -> None:
    """The error says something, and not the secret."""
    assert raised.value.detail
    assert SECRET not in f"{raised.value.detail} {raised.value!r} {raised.value.__cause__!r}"
    assert not isinstance(raised.value, PermanentError)
    assert isinstance(raised.value, UnknownOutcomeError) == (raised.value.code == "outcome_unknown")
