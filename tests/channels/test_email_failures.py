"""Every way an SMTP server can fail, seen from outside: through `EmailChannel.send`, over a real socket."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from channels.base import Message
from channels.email import EmailChannel, SmtpAccount
from channels.errors import (
    InvalidRecipientError,
    MisconfiguredError,
    PermanentError,
    TemporaryError,
    UnknownOutcomeError,
)
from tests.channels.http_peer import closed_port
from tests.channels.smtp_peer import Action, Drip, Drop, Hang, Reset, SmtpPeer

HELLO = Message(to="user@example.com", subject="Hello", text="Hello!", reference="ref-1")
ONE_BY_ONE = ("SIZE 10000000", "ENHANCEDSTATUSCODES")
LONG = timedelta(seconds=30)
SHORT = timedelta(seconds=0.3)
LONG_LINE = "y" * 300  # takes half a minute to drip


@pytest.fixture
def channel() -> Iterator[EmailChannel]:
    channel = EmailChannel()
    yield channel
    channel.close()


def account(port: int, **options: Any) -> SmtpAccount:
    options = {"host": "127.0.0.1", "security": "none", "from_email": "sender@example.org", "timeout": LONG, **options}
    return SmtpAccount(port=port, **options)


def times(step: str, action: Action) -> dict[str, timedelta]:
    """Little time for what stays silent, and for nothing else."""
    if action is Hang or isinstance(action, Drip):
        return {"reply_timeout": SHORT} if step in {"body", "END"} else {"timeout": SHORT}
    return {}


# Where, what the server does there, our error, its code, the reply's codes as the detail must show them.
ROWS: list[tuple[str, Action, type[Exception], str, str]] = [
    # Before the dialogue
    ("connect", Drop, TemporaryError, "unreachable", ""),
    ("connect", Reset, TemporaryError, "unreachable", ""),
    ("connect", Hang, TemporaryError, "timeout", ""),
    ("connect", Drip(f"220 peer.test {LONG_LINE}"), TemporaryError, "timeout", ""),
    ("connect", "421 4.3.2 too many connections", TemporaryError, "unreachable", "421 4.3.2"),
    ("connect", "450 later", TemporaryError, "unreachable", "450"),
    ("connect", "554 5.7.1 your address is on a list", MisconfiguredError, "provider_error", "554 5.7.1"),
    ("connect", "HTTP/1.1 400 Bad Request", MisconfiguredError, "misconfigured", ""),
    ("connect", "SSH-2.0-OpenSSH_9.2", MisconfiguredError, "misconfigured", ""),
    ("connect", b"200 ready\r\n", MisconfiguredError, "misconfigured", ""),
    ("connect", b"\x16\x03\x01" * 4000, MisconfiguredError, "misconfigured", ""),  # no line end in sight
    # EHLO
    ("EHLO", Drop, TemporaryError, "unreachable", ""),
    ("EHLO", Hang, TemporaryError, "timeout", ""),
    ("EHLO", "421 4.3.2 going down", TemporaryError, "unreachable", "421 4.3.2"),
    ("EHLO", "550 5.7.0 no", PermanentError, "provider_error", "550 5.7.0"),
    ("EHLO", "451 4.3.0 busy", TemporaryError, "provider_error", "451 4.3.0"),
    ("EHLO", b"250-x\r\n" * 101 + b"250 x\r\n", TemporaryError, "provider_error", ""),
    ("EHLO", b"250-x\r\n550 y\r\n", TemporaryError, "provider_error", ""),  # one reply, two codes
    # AUTH
    ("AUTH", "535 5.7.8 wrong", MisconfiguredError, "authentication_failed", "535 5.7.8"),
    ("AUTH", "535 wrong", MisconfiguredError, "authentication_failed", "535"),
    ("AUTH", "530 5.7.0 not here", MisconfiguredError, "authentication_failed", "530 5.7.0"),
    ("AUTH", "454 4.7.0 later", TemporaryError, "provider_error", "454 4.7.0"),
    ("AUTH", "432 4.7.12 change it first", TemporaryError, "provider_error", "432 4.7.12"),
    ("AUTH", "421 4.3.0 bye", TemporaryError, "unreachable", "421 4.3.0"),
    ("AUTH", Drop, TemporaryError, "unreachable", ""),
    ("AUTH", Hang, TemporaryError, "timeout", ""),
    # MAIL
    ("MAIL", "530 5.7.0 log in first", MisconfiguredError, "misconfigured", "530 5.7.0"),
    ("MAIL", "550 5.7.1 not your address", MisconfiguredError, "misconfigured", "550 5.7.1"),
    ("MAIL", "553 5.7.1 not owned by user", MisconfiguredError, "misconfigured", "553 5.7.1"),
    ("MAIL", "553 no such sender", MisconfiguredError, "misconfigured", "553"),
    ("MAIL", "550 5.1.8 no such domain", MisconfiguredError, "misconfigured", "550 5.1.8"),
    ("MAIL", "550 5.1.0 sender rejected", MisconfiguredError, "misconfigured", "550 5.1.0"),
    ("MAIL", "553 5.5.4 domain name required", MisconfiguredError, "misconfigured", "553 5.5.4"),
    ("MAIL", "501 5.5.4 bad syntax", MisconfiguredError, "misconfigured", "501 5.5.4"),
    ("MAIL", "550 5.3.0 our trouble", PermanentError, "provider_error", "550 5.3.0"),
    ("MAIL", "451 4.3.0 later", TemporaryError, "provider_error", "451 4.3.0"),
    ("MAIL", "452 4.3.1 disk full", TemporaryError, "provider_error", "452 4.3.1"),
    ("MAIL", "421 4.4.2 bye", TemporaryError, "unreachable", "421 4.4.2"),
    ("MAIL", "552 5.3.4 too big", PermanentError, "message_too_large", "552 5.3.4"),
    ("MAIL", "552 too big", PermanentError, "message_too_large", "552"),
    ("MAIL", "500 5.5.2 what?", PermanentError, "provider_error", "500 5.5.2"),
    ("MAIL", "354 eh?", TemporaryError, "provider_error", "354"),
    ("MAIL", Drop, TemporaryError, "unreachable", ""),
    ("MAIL", Hang, TemporaryError, "timeout", ""),
    # RCPT
    ("RCPT", "550 no such user", InvalidRecipientError, "invalid_address", "550"),
    ("RCPT", "551 not local", InvalidRecipientError, "invalid_address", "551"),
    ("RCPT", "553 bad name", InvalidRecipientError, "invalid_address", "553"),
    ("RCPT", "550 5.1.1 no such user", InvalidRecipientError, "invalid_address", "550 5.1.1"),
    ("RCPT", "550-5.1.1 no such\r\n550 5.1.1 user", InvalidRecipientError, "invalid_address", "550 5.1.1"),
    ("RCPT", "550 5.1.2 no such domain", InvalidRecipientError, "invalid_address", "550 5.1.2"),
    ("RCPT", "501 5.1.3 bad syntax", InvalidRecipientError, "invalid_address", "501 5.1.3"),
    ("RCPT", "550 5.1.6 moved", InvalidRecipientError, "invalid_address", "550 5.1.6"),
    ("RCPT", "556 5.1.10 null MX", InvalidRecipientError, "invalid_address", "556 5.1.10"),
    ("RCPT", "550 5.2.1 disabled", InvalidRecipientError, "invalid_address", "550 5.2.1"),
    ("RCPT", "550 <relay@example.com> is not known", InvalidRecipientError, "invalid_address", "550"),
    ("RCPT", "550 4.1.1 not sure", TemporaryError, "rejected", "550 4.1.1"),
    ("RCPT", "450 5.1.1 not sure", TemporaryError, "rejected", "450 5.1.1"),
    ("RCPT", "550 5.7.1 policy", PermanentError, "rejected", "550 5.7.1"),
    ("RCPT", "550 5.7.1 Relaying denied", MisconfiguredError, "misconfigured", "550 5.7.1"),
    ("RCPT", "554 5.7.1 <a@b.test>: Relay access denied", MisconfiguredError, "misconfigured", "554 5.7.1"),
    ("RCPT", "550 relay not permitted", MisconfiguredError, "misconfigured", "550"),
    ("RCPT", "550 5.7.54 SMTP; Unable to relay recipient", MisconfiguredError, "misconfigured", "550 5.7.54"),
    ("RCPT", "553 not in my list of allowed rcpthosts (#5.7.1)", MisconfiguredError, "misconfigured", "553 5.7.1"),
    ("RCPT", "454 4.7.1 Relay access denied", TemporaryError, "misconfigured", "454 4.7.1"),
    ("RCPT", "553 5.7.1 Sender address rejected: not owned", MisconfiguredError, "misconfigured", "553 5.7.1"),
    ("RCPT", "550 5.1.8 Sender address rejected", MisconfiguredError, "misconfigured", "550 5.1.8"),
    ("RCPT", "530 5.7.0 Authentication required", MisconfiguredError, "misconfigured", "530 5.7.0"),
    ("RCPT", "552 5.2.2 full", TemporaryError, "mailbox_full", "552 5.2.2"),
    ("RCPT", "550 5.2.2 full", TemporaryError, "mailbox_full", "550 5.2.2"),
    ("RCPT", "452 4.2.2 full", TemporaryError, "mailbox_full", "452 4.2.2"),
    ("RCPT", "552 full", TemporaryError, "mailbox_full", "552"),
    ("RCPT", "452 full", TemporaryError, "mailbox_full", "452"),
    ("RCPT", "450 4.7.1 greylisted", TemporaryError, "rejected", "450 4.7.1"),
    ("RCPT", "451 4.7.500 busy", TemporaryError, "rejected", "451 4.7.500"),
    ("RCPT", "450 4.2.1 later", TemporaryError, "rejected", "450 4.2.1"),
    ("RCPT", "451 later", TemporaryError, "rejected", "451"),
    ("RCPT", "552 5.3.4 too big", PermanentError, "message_too_large", "552 5.3.4"),
    ("RCPT", "554 5.4.6 loop", PermanentError, "provider_error", "554 5.4.6"),
    ("RCPT", "503 5.5.1 not now", PermanentError, "provider_error", "503 5.5.1"),
    ("RCPT", "421 4.4.2 bye", TemporaryError, "unreachable", "421 4.4.2"),
    ("RCPT", Drop, TemporaryError, "unreachable", ""),
    ("RCPT", Hang, TemporaryError, "timeout", ""),
    # DATA
    ("DATA", "451 4.3.0 later", TemporaryError, "provider_error", "451 4.3.0"),
    ("DATA", "554 5.7.1 no", PermanentError, "rejected", "554 5.7.1"),
    ("DATA", "554 no", PermanentError, "rejected", "554"),
    ("DATA", "503 5.5.1 not now", PermanentError, "provider_error", "503 5.5.1"),
    ("DATA", "250 ok?", TemporaryError, "provider_error", "250"),
    ("DATA", "421 4.3.0 bye", TemporaryError, "unreachable", "421 4.3.0"),
    ("DATA", Drop, TemporaryError, "unreachable", ""),
    ("DATA", Hang, TemporaryError, "timeout", ""),
    # After the final dot
    ("END", "451 4.3.0 later", TemporaryError, "provider_error", "451 4.3.0"),
    ("END", "451 4.7.1 greylisted", TemporaryError, "rejected", "451 4.7.1"),
    ("END", "452 4.2.2 full", TemporaryError, "mailbox_full", "452 4.2.2"),
    ("END", "421 4.3.0 bye", TemporaryError, "unreachable", "421 4.3.0"),
    ("END", "552 5.3.4 too big", PermanentError, "message_too_large", "552 5.3.4"),
    ("END", "552 Message size exceeds the limit", PermanentError, "message_too_large", "552"),
    ("END", "552 5.2.2 full", TemporaryError, "mailbox_full", "552 5.2.2"),
    ("END", "552 no", PermanentError, "rejected", "552"),
    ("END", "452 later", TemporaryError, "provider_error", "452"),
    ("END", "550 no", PermanentError, "rejected", "550"),
    ("END", "550 5.1.1 no such user", InvalidRecipientError, "invalid_address", "550 5.1.1"),
    ("END", "554 5.6.0 malformed", PermanentError, "rejected", "554 5.6.0"),
    ("END", "554 5.7.1 spam", PermanentError, "rejected", "554 5.7.1"),
    ("END", "550 5.7.60 may not send as this sender", MisconfiguredError, "misconfigured", "550 5.7.60"),
    ("END", "500 5.5.2 what?", PermanentError, "provider_error", "500 5.5.2"),
    ("END", "354 more?", UnknownOutcomeError, "outcome_unknown", "354"),
    ("END", b"\xff\xfe eh?\r\n", UnknownOutcomeError, "outcome_unknown", ""),
    ("END", Hang, UnknownOutcomeError, "outcome_unknown", ""),
    ("END", Drip(f"250 2.0.0 {LONG_LINE}"), UnknownOutcomeError, "outcome_unknown", ""),
    ("END", Drop, UnknownOutcomeError, "outcome_unknown", ""),
    ("END", Reset, UnknownOutcomeError, "outcome_unknown", ""),
]
PIPELINED_STEPS = {"MAIL", "RCPT", "DATA"}
_NAMES = [f"{step}-{str(getattr(action, '__name__', action))[:40]}" for step, action, *_ in ROWS]


@pytest.mark.parametrize(("step", "action", "error", "code", "codes"), ROWS, ids=_NAMES)
def test_a_failure_becomes_our_error(
    channel: EmailChannel, step: str, action: Action, error: type[Exception], code: str, codes: str
) -> None:
    for extensions in (("PIPELINING", *ONE_BY_ONE), ONE_BY_ONE) if step in PIPELINED_STEPS else (ONE_BY_ONE,):
        _fails(channel, extensions, step, action, error, code, codes)


def _fails(
    channel: EmailChannel,
    extensions: tuple[str, ...],
    step: str,
    action: Action,
    error: type[Exception],
    code: str,
    codes: str,
) -> None:
    with SmtpPeer({step: action}, extensions=extensions, user="u", password="canary") as peer:
        mine = account(peer.port, user="u", password="canary", auth_in_clear=True, **times(step, action))
        started = time.monotonic()
        with pytest.raises(error) as raised:
            channel.send(HELLO, mine)
        assert time.monotonic() - started < 15
        assert type(raised.value) is error
        assert raised.value.code == code  # type: ignore[attr-defined]
        detail = raised.value.detail  # type: ignore[attr-defined]
        assert detail.endswith(f"({codes}).") if codes else "(4" not in detail
        assert "canary" not in repr(raised.value)
        if isinstance(action, str) and not codes:
            assert action[4:] not in detail
        assert bool(peer.taken) == (step == "END")


def test_nobody_listening_is_unreachable(channel: EmailChannel) -> None:
    refused = r"^No connection to the server: it refused\.$"
    with closed_port() as port, pytest.raises(TemporaryError, match=refused) as raised:
        channel.send(HELLO, account(port))
    assert raised.value.code == "unreachable"


def test_a_server_that_breaks_off_while_the_message_is_written_took_nothing(channel: EmailChannel) -> None:
    large = Message(to="user@example.com", text="a long line of text\n" * 400_000, reference="ref-1")
    with SmtpPeer({"body": Reset}) as peer:
        with pytest.raises(TemporaryError) as raised:
            channel.send(large, account(peer.port))
        assert raised.value.code == "unreachable"


def test_a_server_that_stops_reading_took_nothing(channel: EmailChannel) -> None:
    large = Message(to="user@example.com", text="a long line of text\n" * 400_000, reference="ref-1")
    with SmtpPeer({"body": Hang}) as peer:
        with pytest.raises(TemporaryError) as raised:
            channel.send(large, account(peer.port, **times("body", Hang)))
        assert raised.value.code == "timeout"


def test_a_connection_that_is_lost_after_the_acceptance_changes_nothing(channel: EmailChannel) -> None:
    with SmtpPeer({"QUIT": Reset}) as peer:
        assert channel.send(HELLO, account(peer.port)).provider_id == "ref-1@example.org"
        channel.close()
        assert len(peer.taken) == 1


def test_a_refused_recipient_whose_message_is_wanted_all_the_same_gets_none(channel: EmailChannel) -> None:
    """A pipelining server may answer 354 although nobody is left to send to: an empty message must not follow."""
    with SmtpPeer({"RCPT": "550 5.1.1 no"}) as peer:
        started = time.monotonic()
        with pytest.raises(InvalidRecipientError):
            channel.send(HELLO, account(peer.port))
        assert time.monotonic() - started < 15
        channel.send(HELLO, account(peer.port))
        assert [mail.connection for mail in peer.taken] == [2]


def test_a_server_that_hangs_up_right_after_a_refusal_has_refused(channel: EmailChannel) -> None:
    with SmtpPeer({"RCPT": "550 5.1.1 no", "DATA": Drop}) as peer, pytest.raises(InvalidRecipientError):
        channel.send(HELLO, account(peer.port))


def test_a_message_larger_than_the_server_takes_is_not_sent(channel: EmailChannel) -> None:
    with SmtpPeer(extensions=["SIZE 200"]) as peer:
        with pytest.raises(PermanentError) as raised:
            channel.send(HELLO, account(peer.port))
        assert raised.value.code == "message_too_large"
        assert not any(command.startswith("MAIL") for command in peer.commands)


@pytest.mark.parametrize("size", ["SIZE", "SIZE 0", "SIZE 99999999", "SIZE nonsense"])
def test_no_limit_and_a_large_one_let_a_message_pass(channel: EmailChannel, size: str) -> None:
    with SmtpPeer(extensions=[size]) as peer:
        channel.send(HELLO, account(peer.port))
        assert len(peer.taken) == 1


def test_a_server_without_ehlo_gets_helo(channel: EmailChannel) -> None:
    with SmtpPeer({"EHLO": "502 5.5.1 what?"}) as peer:
        channel.send(HELLO, account(peer.port))
        assert peer.commands[:2] == ["EHLO [127.0.0.1]", "HELO [127.0.0.1]"]


@pytest.mark.parametrize("reply", [b"250 ok\n", b"250\r\n", b"251 will forward\r\n", b"250-a\r\n250 b\r\n"])
def test_replies_of_every_lawful_form_are_read(channel: EmailChannel, reply: bytes) -> None:
    with SmtpPeer({"RCPT": reply}) as peer:
        channel.send(HELLO, account(peer.port))
        assert len(peer.taken) == 1
