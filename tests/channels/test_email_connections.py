"""Kept connections, encryption, logins: what happens around a message, over a real socket."""

import os
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from channels.base import Message
from channels.email import EmailChannel, SmtpAccount
from channels.errors import InvalidRecipientError, MisconfiguredError, TemporaryError, UnknownOutcomeError
from tests.channels.patience import Patience
from tests.channels.smtp_peer import Drop, Hang, Held, SmtpPeer
from tests.servers.base import wait_until

HELLO = Message(to="user@example.com", subject="Hello", text="Hello!", reference="ref-1")
LONG, SHORT = timedelta(seconds=30), timedelta(seconds=0.3)


@pytest.fixture
def channel() -> Iterator[EmailChannel]:
    channel = EmailChannel()
    yield channel
    channel.close()


def account(port: int, **options: Any) -> SmtpAccount:
    options = {"host": "127.0.0.1", "security": "none", "from_email": "sender@example.org", "timeout": LONG, **options}
    return SmtpAccount(port=port, **options)


# Kept connections


def test_messages_share_a_connection_and_its_login(channel: EmailChannel) -> None:
    with SmtpPeer(user="u", password="p") as peer:
        for _ in range(3):
            channel.send(HELLO, account(peer.port, user="u", password="p", auth_in_clear=True))
        assert [mail.connection for mail in peer.taken] == [1, 1, 1]
        assert sum(command.startswith("AUTH") for command in peer.commands) == 1


def test_another_account_never_gets_the_connection(channel: EmailChannel) -> None:
    with SmtpPeer(user="u", password="p") as peer:
        mine = account(peer.port, user="u", password="p", auth_in_clear=True)
        channel.send(HELLO, mine)
        with pytest.raises(MisconfiguredError):
            channel.send(HELLO, replace(mine, password="other"))
        channel.send(HELLO, replace(mine, origin="request"))
        assert [mail.connection for mail in peer.taken] == [1, 3]


def test_a_server_that_hung_up_meanwhile_is_called_again(channel: EmailChannel) -> None:
    with SmtpPeer() as peer:
        channel.send(HELLO, account(peer.port))
        peer.drop_connections()
        channel.send(HELLO, account(peer.port))
        assert [mail.connection for mail in peer.taken] == [1, 2]


@pytest.mark.parametrize("farewell", ["421 4.4.2 you were idle too long", Drop])
def test_a_server_that_hangs_up_on_the_next_message_is_called_again_once(channel: EmailChannel, farewell: Any) -> None:
    with SmtpPeer({"MAIL": ["250 ok", farewell, "250 ok", farewell, farewell]}) as peer:
        channel.send(HELLO, account(peer.port))
        channel.send(HELLO, account(peer.port))
        with pytest.raises(TemporaryError) as raised:
            channel.send(HELLO, account(peer.port))
        assert raised.value.code == "unreachable"
        assert [mail.connection for mail in peer.taken] == [1, 2]
        assert peer.connections == 3


def test_a_kept_connection_that_breaks_after_the_handover_is_not_tried_again(channel: EmailChannel) -> None:
    with SmtpPeer({"END": ["250 ok", Drop]}) as peer:
        channel.send(HELLO, account(peer.port))
        with pytest.raises(UnknownOutcomeError):
            channel.send(HELLO, account(peer.port))
        assert len(peer.taken) == 2
        channel.send(HELLO, account(peer.port))
        assert peer.taken[-1].connection == 2


@pytest.mark.parametrize(("step", "action", "code"), [("RCPT", Drop, "unreachable"), ("MAIL", Hang, "timeout")])
def test_a_kept_connection_that_fails_otherwise_has_failed(
    channel: EmailChannel, step: str, action: Any, code: str
) -> None:
    patience = Patience()
    with SmtpPeer({step: ["250 ok", action]}) as peer:
        channel.send(HELLO, account(peer.port, timeout=patience))
        if action is Hang:
            patience.span = 0.3
        with pytest.raises(TemporaryError) as raised:
            channel.send(HELLO, account(peer.port, timeout=patience))
        assert raised.value.code == code
        assert peer.connections == 1


def test_after_a_refusal_the_connection_serves_the_next_message(channel: EmailChannel) -> None:
    with SmtpPeer({"RCPT": "550 5.1.1 no", "DATA": "503 5.5.1 nobody to send to"}) as peer:
        with pytest.raises(InvalidRecipientError):
            channel.send(HELLO, account(peer.port))
        channel.send(HELLO, account(peer.port))
        assert [mail.connection for mail in peer.taken] == [1]
        assert "RSET" in peer.commands


def test_a_connection_out_of_step_is_not_kept(channel: EmailChannel) -> None:
    patience = Patience()
    patience.span = 0.3
    with SmtpPeer({"END": Hang}) as peer:
        with pytest.raises(UnknownOutcomeError):
            channel.send(HELLO, account(peer.port, reply_timeout=patience))
        patience.span = 30
        channel.send(HELLO, account(peer.port, reply_timeout=patience))
        assert [mail.connection for mail in peer.taken] == [1, 2]


def test_a_connection_that_the_server_is_closing_is_not_kept(channel: EmailChannel) -> None:
    with SmtpPeer({"END": "421 4.3.0 going down"}) as peer:
        with pytest.raises(TemporaryError):
            channel.send(HELLO, account(peer.port))
        channel.send(HELLO, account(peer.port))
        assert [mail.connection for mail in peer.taken] == [1, 2]


def test_an_idle_connection_is_closed_with_a_goodbye() -> None:
    channel = EmailChannel(idle=timedelta(seconds=0.2))
    with SmtpPeer() as peer:
        channel.send(HELLO, account(peer.port))
        wait_until(lambda: peer.commands[-1] == "QUIT", 30, "it says goodbye")
        channel.send(HELLO, account(peer.port))
        assert peer.connections == 2
        channel.close()


def test_a_connection_carries_only_so_many_messages() -> None:
    channel = EmailChannel(most_messages=2)
    with SmtpPeer() as peer:
        for _ in range(3):
            channel.send(HELLO, account(peer.port))
        assert [mail.connection for mail in peer.taken] == [1, 1, 2]
        channel.close()


def test_many_threads_share_the_connections_of_an_account() -> None:
    channel = EmailChannel(connections=2)
    with SmtpPeer({"END": [Held, Held]}) as peer:
        together = threading.Barrier(4)

        def send(number: int) -> str:
            together.wait()
            message = replace(HELLO, reference=f"ref-{number}")
            return "".join(channel.send(message, account(peer.port)).provider_id for _ in range(5))

        with ThreadPoolExecutor(4) as threads:
            sent = threads.map(send, range(4))
            wait_until(lambda: len(peer.taken) == 2, 30, "two are under way at once")
            peer.go_on.set()
            assert len(list(sent)) == 4
        assert len(peer.taken) == 20
        assert peer.connections == 2
        channel.close()
        wait_until(lambda: peer.commands.count("QUIT") == 2, 30, "it says goodbye on both")
        channel.send(HELLO, account(peer.port))  # closed is not over
        channel.close()


SENDS_AND_ENDS = """
import sys
from channels.base import Message
from channels.email import EmailChannel, SmtpAccount

account = SmtpAccount(host="127.0.0.1", port=int(sys.argv[1]), security="none", from_email="sender@example.org")
EmailChannel().send(Message(to="user@example.com", subject="Hello", text="Hello!", reference="ref-1"), account)
"""


def ends(peer: SmtpPeer) -> int:
    """The exit code of a process that sends one message, and closes nothing."""
    return subprocess.run([sys.executable, "-c", SENDS_AND_ENDS, str(peer.port)], timeout=60, check=False).returncode


def test_a_process_that_ends_says_goodbye() -> None:
    with SmtpPeer() as peer:
        assert ends(peer) == 0
        wait_until(lambda: peer.commands[-1] == "QUIT", 30, "the goodbye")


def test_a_server_that_says_no_goodbye_does_not_keep_a_process_alive() -> None:
    with SmtpPeer({"QUIT": Hang}) as peer:
        assert ends(peer) == 0
        assert peer.commands[-1] == "QUIT"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system knows no fork")
def test_a_child_process_does_not_talk_on_its_parents_connection(channel: EmailChannel) -> None:
    with SmtpPeer() as peer:
        channel.send(HELLO, account(peer.port))
        child = os.fork()
        if child == 0:
            try:
                channel.send(HELLO, account(peer.port))
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        channel.send(HELLO, account(peer.port))
        assert [mail.connection for mail in peer.taken] == [1, 2, 1]


# Encryption


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority is one that this machine trusts."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def tls_for(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


BOTH_WAYS = pytest.mark.parametrize("security", ["starttls", "ssl"])


@BOTH_WAYS
@pytest.mark.usefixtures("trusted")
def test_an_encrypted_login_and_message(
    channel: EmailChannel, authority: trustme.CA, security: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **options: look_up("127.0.0.1", *rest, **options))
    tls = tls_for(authority, "localhost", "127.0.0.1", "absolute.test")
    with SmtpPeer(tls=tls, implicit_tls=security == "ssl", user="u", password="p") as peer:
        for host in ("localhost", "127.0.0.1", "absolute.test."):
            channel.send(HELLO, account(peer.port, host=host, security=security, user="u", password="p"))
        assert len(peer.taken) == 3
        before_starttls = [command.split(" ")[0] for command in peer.commands][:2]
        assert before_starttls == (["EHLO", "STARTTLS"] if security == "starttls" else ["EHLO", "AUTH"])


def _tls_failure(channel: EmailChannel, peer: SmtpPeer, security: str, **options: Any) -> str:
    with pytest.raises(MisconfiguredError) as raised:
        channel.send(HELLO, account(peer.port, security=security, user="u", password="canary", **options))
    assert raised.value.code == "tls_failed"
    secret = b64encode(b"\0u\0canary").decode()
    assert not any(secret in command or command.startswith(("AUTH", "MAIL")) for command in peer.commands)
    return raised.value.detail


@BOTH_WAYS
def test_a_certificate_of_an_unknown_authority_is_refused(
    channel: EmailChannel, authority: trustme.CA, security: str
) -> None:
    tls = tls_for(authority, "127.0.0.1")
    with SmtpPeer(tls=tls, implicit_tls=security == "ssl", user="u", password="canary") as peer:
        assert "certificate" in _tls_failure(channel, peer, security)


@BOTH_WAYS
@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_name_is_refused(channel: EmailChannel, authority: trustme.CA, security: str) -> None:
    tls = tls_for(authority, "other.test")
    with SmtpPeer(tls=tls, implicit_tls=security == "ssl", user="u", password="canary") as peer:
        assert "certificate" in _tls_failure(channel, peer, security)


@BOTH_WAYS
@pytest.mark.usefixtures("trusted")
def test_old_tls_is_refused(channel: EmailChannel, authority: trustme.CA, security: str) -> None:
    tls = tls_for(authority, "127.0.0.1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = ssl.TLSVersion.TLSv1
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    tls.set_ciphers("DEFAULT:@SECLEVEL=0")
    with SmtpPeer(tls=tls, implicit_tls=security == "ssl", user="u", password="canary") as peer:
        _tls_failure(channel, peer, security)


def test_without_starttls_nothing_goes_on_in_clear(channel: EmailChannel) -> None:
    with SmtpPeer(user="u", password="canary") as peer:
        assert _tls_failure(channel, peer, "starttls") == "The server offers no STARTTLS."


def test_a_server_that_needs_helo_has_no_starttls_either(channel: EmailChannel) -> None:
    with SmtpPeer({"EHLO": "502 what?"}) as peer:
        _tls_failure(channel, peer, "starttls")


def test_a_refused_starttls_is_a_tls_failure(channel: EmailChannel, authority: trustme.CA) -> None:
    with SmtpPeer({"STARTTLS": "501 5.5.4 no"}, tls=tls_for(authority, "127.0.0.1")) as peer:
        assert _tls_failure(channel, peer, "starttls") == "The server refused to encrypt (501 5.5.4)."
    with SmtpPeer({"STARTTLS": "454 4.7.0 not now"}, tls=tls_for(authority, "127.0.0.1")) as peer:
        with pytest.raises(TemporaryError) as raised:
            channel.send(HELLO, account(peer.port, security="starttls"))
        assert raised.value.code == "tls_failed"


@pytest.mark.usefixtures("trusted")
def test_replies_slipped_in_before_the_encryption_are_refused(channel: EmailChannel, authority: trustme.CA) -> None:
    injected = b"220 go ahead\r\n250-peer.test\r\n250 AUTH PLAIN\r\n"
    with SmtpPeer({"STARTTLS": injected}, tls=tls_for(authority, "127.0.0.1")) as peer:
        _tls_failure(channel, peer, "starttls")


@pytest.mark.usefixtures("trusted")
def test_what_was_offered_in_clear_counts_no_more_after_starttls(channel: EmailChannel, authority: trustme.CA) -> None:
    greetings = ["250-peer.test\r\n250-STARTTLS\r\n250 AUTH PLAIN", "250 peer.test"]
    with SmtpPeer({"EHLO": greetings}, tls=tls_for(authority, "127.0.0.1")) as peer:
        with pytest.raises(MisconfiguredError, match="no login") as raised:
            channel.send(HELLO, account(peer.port, security="starttls", user="u", password="p"))
        assert raised.value.code == "misconfigured"


def test_a_server_that_speaks_no_tls_is_a_tls_failure(channel: EmailChannel) -> None:
    with SmtpPeer() as peer:
        _tls_failure(channel, peer, "ssl")


@BOTH_WAYS
def test_a_handshake_that_hangs_or_breaks_is_temporary(channel: EmailChannel, security: str) -> None:
    for action, code in ((Hang, "timeout"), (Drop, "unreachable")):
        step = "connect" if security == "ssl" else "STARTTLS"
        greeting = {"EHLO": "250-peer.test\r\n250 STARTTLS"} if security == "starttls" else {}
        timeout = SHORT if action is Hang else LONG
        with SmtpPeer({step: action, **greeting}) as peer:
            with pytest.raises(TemporaryError) as raised:
                channel.send(HELLO, account(peer.port, security=security, timeout=timeout))
            assert raised.value.code == code


# Logins


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("password", ["secret", "pässwörd 密碼 with spaces", "x" * 1000])
def test_every_login_takes_every_password(channel: EmailChannel, mechanism: str, password: str) -> None:
    with SmtpPeer(user="üser@example.org", password=password, mechanisms=f"{mechanism} X-OTHER") as peer:
        mine = account(peer.port, user="üser@example.org", password=password, auth_in_clear=True)
        channel.send(HELLO, mine)
        assert len(peer.taken) == 1
        with pytest.raises(MisconfiguredError) as raised:
            channel.send(HELLO, replace(mine, password=f"{password}!"))
        assert raised.value.code == "authentication_failed"


def test_in_clear_the_login_that_hides_the_password_comes_first(channel: EmailChannel) -> None:
    with SmtpPeer(user="u", password="p", mechanisms="PLAIN LOGIN CRAM-MD5") as peer:
        channel.send(HELLO, account(peer.port, user="u", password="p", auth_in_clear=True))
        assert "AUTH CRAM-MD5" in peer.commands


def test_a_wrong_password_is_offered_once_and_a_refused_mechanism_is_replaced(channel: EmailChannel) -> None:
    mine: dict[str, Any] = {"user": "u", "password": "p", "auth_in_clear": True}
    with SmtpPeer({"AUTH": "504 5.5.4 not this one"}, user="u", password="p") as peer:
        channel.send(HELLO, account(peer.port, **mine))
        assert "AUTH LOGIN" in peer.commands
    with SmtpPeer({"AUTH": "535 5.7.8 no"}, user="u", password="p") as peer:
        with pytest.raises(MisconfiguredError):
            channel.send(HELLO, account(peer.port, **mine))
        assert sum(command.startswith("AUTH") for command in peer.commands) == 1


def test_a_challenge_without_end_is_cancelled(channel: EmailChannel) -> None:
    with SmtpPeer({"AUTH": b"334 \r\n" * 10}, user="u", password="p") as peer, pytest.raises(TemporaryError):
        channel.send(HELLO, account(peer.port, user="u", password="p", auth_in_clear=True))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"user": "u", "password": "p"}, "misconfigured"),  # without encryption nobody logs in
        ({"user": "u", "auth_in_clear": True}, "misconfigured"),  # half a login is not sent as none
        ({"password": "p", "auth_in_clear": True}, "misconfigured"),
        ({"user": "u\0root", "password": "p", "auth_in_clear": True}, "authentication_failed"),
        ({"host": ""}, "misconfigured"),
        ({"from_email": ""}, "misconfigured"),
        ({"from_email": "", "user": "no-address", "password": "p", "auth_in_clear": True}, "misconfigured"),
        ({"public_only": True}, "misconfigured"),
        ({"public_only": True, "host": "localhost"}, "misconfigured"),
    ],
)
def test_an_account_that_must_not_be_tried_makes_no_connection(
    channel: EmailChannel, options: dict[str, Any], code: str
) -> None:
    with SmtpPeer(user="u", password="p") as peer:
        with pytest.raises(MisconfiguredError) as raised:
            channel.send(HELLO, account(peer.port, **options))
        assert raised.value.code == code
        assert peer.connections == 0


def test_a_server_without_login_is_not_used_without_one(channel: EmailChannel) -> None:
    with SmtpPeer() as peer:
        with pytest.raises(MisconfiguredError) as raised:
            channel.send(HELLO, account(peer.port, user="u", password="p", auth_in_clear=True))
        assert raised.value.code == "misconfigured"
        assert not peer.taken


def test_an_account_never_shows_its_password() -> None:
    assert "canary" not in repr(account(25, user="u", password="canary"))
