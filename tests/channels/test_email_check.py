"""An account tried out: the stage that fails is named, and the ones before it have passed."""

import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from channels.base import Message
from channels.email import SmtpAccount
from channels.email.check import Checked, Stage, check
from tests.channels.http_peer import closed_port
from tests.channels.smtp_peer import Action, Drip, Drop, Hang, SmtpPeer
from tests.channels.test_email_connections import tls_for

DNS, CONNECT, TLS, LOGIN, SENDER, RECIPIENT, MESSAGE = Stage
MESSAGES = [
    Message(to="first@example.net", text="Hello", reference="test-1", subject="A test"),
    Message(to="second@example.net", text="Hello", reference="test-2", subject="A test"),
]


def account(port: int, **options: Any) -> SmtpAccount:
    options = {
        "host": "127.0.0.1",
        "security": "none",
        "user": "u",
        "password": "canary",
        "auth_in_clear": True,
        "from_email": "sender@example.org",
        "timeout": timedelta(seconds=30),
        "reply_timeout": timedelta(seconds=30),
        **options,
    }
    return SmtpAccount(port=port, **options)


def failed(checked: Checked) -> list[tuple[Stage, str, str]]:
    """Stage, code and addressee of each failure."""
    return [(failure.stage, failure.code, failure.to) for failure in checked.failures]


def test_all_is_well() -> None:
    begun = time.monotonic()
    with SmtpPeer(user="u", password="canary") as peer:
        checked = check(account(peer.port), MESSAGES)
    most = (time.monotonic() - begun) * 1000 + len(Stage)  # each is rounded
    assert checked.is_well
    assert checked.sent == ["first@example.net", "second@example.net"] == [taken.recipient for taken in peer.taken]
    assert list(checked.passed) == [DNS, CONNECT, LOGIN, SENDER, RECIPIENT, MESSAGE]
    assert min(checked.passed.values()) >= 0
    assert sum(checked.passed.values()) <= most
    assert peer.connections == 1


# What the server does at which step, the stage that is named, its code, for whom, who got a mail all the same.
ROWS: list[tuple[Mapping[str, Action], Stage, str, list[str], int]] = [
    ({"connect": Drop}, CONNECT, "unreachable", [""], 0),
    ({"connect": Hang}, CONNECT, "timeout", [""], 0),
    ({"connect": "554 no"}, CONNECT, "provider_error", [""], 0),
    ({"connect": "HTTP/1.1 400 Bad Request"}, CONNECT, "misconfigured", [""], 0),
    ({"EHLO": "421 too busy"}, CONNECT, "unreachable", [""], 0),
    ({"AUTH": "535 5.7.8 canary is wrong"}, LOGIN, "authentication_failed", [""], 0),
    ({"AUTH": "454 4.7.0 later"}, LOGIN, "provider_error", [""], 0),
    ({"AUTH": Drop}, LOGIN, "unreachable", [""], 0),
    ({"MAIL": "553 5.7.1 not yours"}, SENDER, "misconfigured", ["first@example.net"], 1),
    ({"RCPT": "550 5.1.1 nobody"}, RECIPIENT, "invalid_address", ["first@example.net"], 1),
    ({"RCPT": "450 4.2.0 greylisted"}, RECIPIENT, "rejected", ["first@example.net"], 1),
    ({"DATA": "554 5.5.0 no"}, MESSAGE, "rejected", ["first@example.net"], 1),
    ({"END": "554 5.7.1 spam"}, MESSAGE, "rejected", ["first@example.net"], 1),
    ({"END": Drop}, MESSAGE, "outcome_unknown", ["first@example.net"], 0),
]


@pytest.mark.parametrize(("script", "stage", "code", "whom", "sent"), ROWS)
def test_the_stage_that_failed(
    script: Mapping[str, Action], stage: Stage, code: str, whom: list[str], sent: int
) -> None:
    with SmtpPeer(script, user="u", password="canary") as peer:
        timeout = timedelta(seconds=0.5 if script.get("connect") is Hang else 30)
        checked = check(account(peer.port, timeout=timeout), MESSAGES)
    assert failed(checked) == [(stage, code, to) for to in whom]
    assert len(checked.sent) == sent
    assert "canary" not in repr(checked)
    assert not checked.is_well
    order = list(Stage)
    if not sent:
        assert all(order.index(passed) < order.index(stage) for passed in checked.passed)


@pytest.mark.parametrize(
    ("options", "stage", "code"),
    [
        ({"host": "no-such-host.invalid"}, DNS, "unreachable"),
        ({"host": "127.0.0.1", "public_only": True}, DNS, "misconfigured"),
        ({"security": "starttls"}, TLS, "tls_failed"),
        ({"security": "ssl"}, TLS, "tls_failed"),
        ({"from_email": "nobody"}, SENDER, "misconfigured"),
        ({"password": "wrong"}, LOGIN, "authentication_failed"),
        ({"password": ""}, LOGIN, "misconfigured"),
        ({"auth_in_clear": False}, LOGIN, "misconfigured"),
        ({"host": ""}, DNS, "misconfigured"),
    ],
)
def test_what_the_account_lacks(options: dict[str, Any], stage: Stage, code: str) -> None:
    with SmtpPeer(user="u", password="canary") as peer:
        checked = check(account(peer.port, **options), MESSAGES[:1])
    assert [(failure.stage, failure.code) for failure in checked.failures] == [(stage, code)]
    assert not peer.taken


def test_a_server_without_a_login() -> None:
    with SmtpPeer() as peer:
        assert failed(check(account(peer.port), MESSAGES)) == [(LOGIN, "misconfigured", "")]
        assert check(account(peer.port, user="", password=""), MESSAGES).is_well


def test_nobody_listens() -> None:
    with closed_port() as port:
        assert failed(check(account(port), MESSAGES)) == [(CONNECT, "unreachable", "")]


def test_an_address_that_is_none() -> None:
    with SmtpPeer(user="u", password="canary") as peer:
        checked = check(account(peer.port), [Message(to="nobody", text="Hello", reference="test-1"), MESSAGES[1]])
    assert failed(checked) == [(RECIPIENT, "invalid_address", "nobody")]
    assert checked.sent == ["second@example.net"]


@pytest.mark.parametrize("security", ["starttls", "ssl"])
def test_certificates(security: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    tls = tls_for(authority, "127.0.0.1")
    with SmtpPeer(tls=tls, implicit_tls=security == "ssl", user="u", password="canary") as peer:
        assert failed(check(account(peer.port, security=security), MESSAGES)) == [(TLS, "tls_failed", "")]
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        checked = check(account(peer.port, security=security), MESSAGES)
        assert checked.is_well
        assert list(checked.passed)[:4] == [DNS, CONNECT, TLS, LOGIN]
        wrong = check(account(peer.port, security=security, password="wrong"), MESSAGES)
        assert [(failure.stage, TLS in wrong.passed) for failure in wrong.failures] == [(LOGIN, True)]


@pytest.mark.parametrize(
    ("script", "stage", "code", "to", "sent"),
    [
        ({"connect": Hang}, CONNECT, "timeout", "", 0),
        ({"AUTH": Hang}, LOGIN, "timeout", "", 0),
        ({"RCPT": ["250 ok", Hang]}, RECIPIENT, "timeout", "second@example.net", 1),
        ({"END": Hang}, MESSAGE, "outcome_unknown", "first@example.net", 0),
        ({"RCPT": Drip("250 2.1.5 ok" + "y" * 900, every=0.1)}, RECIPIENT, "timeout", "first@example.net", 0),
    ],
)
def test_it_ends_in_time(script: Mapping[str, Any], stage: Stage, code: str, to: str, sent: int) -> None:
    slow = timedelta(seconds=90)
    for seconds in (0.5, 4, 30):  # the steps before the silence need some of it, on a busy machine much
        actions = {step: list(action) if isinstance(action, list) else action for step, action in script.items()}
        with SmtpPeer(actions, user="u", password="canary") as peer:
            begun = time.monotonic()
            mine = account(peer.port, timeout=slow, reply_timeout=slow)
            checked = check(mine, MESSAGES, within=timedelta(seconds=seconds))
            spent = time.monotonic() - begun
        if peer.is_silent.is_set():
            break
    assert spent < seconds + 10
    assert failed(checked) == [(stage, code, to)]
    assert len(checked.sent) == sent
    assert stage not in checked.passed or sent
