"""The SMTP server, over real sockets: every switch, every test recipient."""

import smtplib
import socket
import ssl
from collections.abc import Callable

import pytest
import trustme

from sandbox.servers import Sandbox
from tests.sandbox.conftest import mail_to, short_wait

Connect = Callable[..., smtplib.SMTP]


def test_a_mail_arrives_as_its_reader_sees_it(sandbox: Sandbox, smtp: Connect) -> None:
    message = mail_to("user@example.com", subject="Обед в 12:00")
    message.add_alternative("<p>Привет</p>", subtype="html")
    message.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename="счёт.pdf")
    smtp().send_message(message)
    (entry,) = sandbox.inbox.messages()
    assert (entry.channel, entry.to, entry.subject) == ("email", "user@example.com", "Обед в 12:00")
    assert entry.sender == "Notifier <notifier@sandbox.test>"
    assert (entry.text, entry.html) == ("Привет, мир", "<p>Привет</p>")
    assert entry.reference == "<reference-1@sandbox.test>"
    (file,) = entry.attachments
    assert (file.filename, file.content_type, file.size) == ("счёт.pdf", "application/pdf", 8)
    assert b"Message-ID: <reference-1@sandbox.test>\r\n" in entry.raw


@pytest.mark.parametrize(
    "raw", [b"", b"no header at all", b"Content-Type: text/plain; charset=none\r\n\r\n\xff\xfe\r\n"]
)
def test_a_mail_that_cannot_be_read_is_kept_all_the_same(sandbox: Sandbox, smtp: Connect, raw: bytes) -> None:
    smtp().sendmail("a@b.test", "user@example.com", raw)
    assert sandbox.inbox.messages()[0].raw.startswith(raw)


def test_the_extensions_that_a_sender_needs_are_offered(smtp: Connect) -> None:
    client = smtp()
    client.ehlo()
    assert {"pipelining", "8bitmime", "size", "auth"} <= set(client.esmtp_features)
    assert {"PLAIN", "LOGIN"} <= set(client.esmtp_features["auth"].split())
    assert "starttls" not in client.esmtp_features


def test_pipelined_commands_are_answered_in_order(sandbox: Sandbox) -> None:
    with (
        socket.create_connection(("127.0.0.1", sandbox.smtp_port), timeout=30) as connection,
        connection.makefile("rb") as replies,
    ):
        connection.sendall(
            b"HELO client.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<rejected@simulator.test>\r\nDATA\r\n"
            b"RSET\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<delivered@simulator.test>\r\nDATA\r\n"
        )
        assert [replies.readline()[:3] for _ in range(9)] == b"220 250 250 550 503 250 250 250 354".split()
        connection.sendall(b"Subject: One\r\n\r\n..dots\r\n.\r\nMAIL FROM:<a@b.test>\r\n")
        assert [replies.readline()[:3] for _ in range(2)] == [b"250", b"250"]
    assert sandbox.inbox.messages()[0].text == ".dots"


@pytest.mark.parametrize("method", ["auth_plain", "auth_login"])
def test_any_login_is_accepted_but_the_wrong_password(smtp: Connect, method: str) -> None:
    client = smtp()
    client.ehlo()
    client.user, client.password = "somebody", "anything"
    assert client.auth(method[5:].upper(), getattr(client, method))[0] == 235
    other = smtp()
    other.ehlo()
    other.user, other.password = "somebody", "wrong"
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        other.auth(method[5:].upper(), getattr(other, method))
    assert (refused.value.smtp_code, b"5.7.8" in refused.value.smtp_error) == (535, True)


def test_starttls_is_offered_with_a_certificate() -> None:
    authority, server = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    with Sandbox(tls_context=server) as sandbox, smtplib.SMTP("127.0.0.1", sandbox.smtp_port, timeout=30) as connection:
        connection.starttls(context=client)
        connection.login("somebody", "anything")
        connection.send_message(mail_to("user@example.com"))
        assert sandbox.inbox.messages()[0].to == "user@example.com"


# --- Switches -----------------------------------------------------------------------------------------------------


def refusal(client: smtplib.SMTP, recipient: str) -> tuple[int, bytes]:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        client.send_message(mail_to(recipient))
    reply: tuple[int, bytes] = refused.value.recipients[recipient]
    return reply


@pytest.mark.parametrize(
    ("name", "code", "enhanced"),
    [("busy", 451, b"4.3.2"), ("rejected", 550, b"5.1.1")],
)
def test_a_switch_refuses_every_recipient(
    sandbox: Sandbox, smtp: Connect, name: str, code: int, enhanced: bytes
) -> None:
    sandbox.switches.set("email", name)
    answered, text = refusal(smtp(), "user@example.com")
    assert (answered, text.split()[0]) == (code, enhanced)
    assert sandbox.inbox.messages() == []
    sandbox.switches.set("email", "ok")
    smtp().send_message(mail_to("user@example.com"))
    assert len(sandbox.inbox.messages()) == 1


def test_auth_refuses_the_login_and_who_does_not_log_in(sandbox: Sandbox, smtp: Connect) -> None:
    sandbox.switches.set("email", "auth")
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        smtp().login("somebody", "anything")
    assert refused.value.smtp_code == 535
    with pytest.raises(smtplib.SMTPSenderRefused) as sender:
        smtp().send_message(mail_to("user@example.com"))
    assert sender.value.smtp_code == 530


def test_silent_accepts_the_connection_and_says_nothing(sandbox: Sandbox) -> None:
    sandbox.switches.set("email", "silent")
    client = socket.create_connection(("127.0.0.1", sandbox.smtp_port), timeout=0.2)
    with client, pytest.raises(TimeoutError):
        client.recv(1)


def test_silent_reaches_a_connection_from_better_times(sandbox: Sandbox, smtp: Connect) -> None:
    client = smtp()
    client.send_message(mail_to("user@example.com"))
    sandbox.switches.set("email", "silent")
    with short_wait(client), pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()


def test_lost_answer_takes_the_message_and_drops_the_connection(sandbox: Sandbox, smtp: Connect) -> None:
    sandbox.switches.set("email", "lost_answer")
    with pytest.raises(smtplib.SMTPServerDisconnected):
        smtp().send_message(mail_to("user@example.com"))
    assert [entry.to for entry in sandbox.inbox.messages()] == ["user@example.com"]


def test_refused_cuts_kept_connections_too(sandbox: Sandbox, smtp: Connect) -> None:
    client = smtp()
    client.send_message(mail_to("user@example.com"))
    sandbox.switches.set("email", "refused")
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        client.noop()


# --- Test recipients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ok", "busy", "rejected", "lost_answer"])
@pytest.mark.parametrize("mailbox", ["delivered", "bounced", "Delivered"])
def test_a_good_mailbox_takes_whatever_the_switch_says(
    sandbox: Sandbox, smtp: Connect, name: str, mailbox: str
) -> None:
    sandbox.switches.set("email", name)
    smtp().send_message(mail_to(f"{mailbox}@simulator.test"))
    assert len(sandbox.inbox.messages()) == 1


def test_the_rejected_mailbox_does_not_exist(sandbox: Sandbox, smtp: Connect) -> None:
    code, text = refusal(smtp(), "rejected@simulator.test")
    assert (code, text.split()[0]) == (550, b"5.1.1")
    assert sandbox.inbox.messages() == []


def test_the_greylisted_mailbox_refuses_each_first_try(sandbox: Sandbox, smtp: Connect) -> None:
    client = smtp()
    for taken in (1, 2):
        code, text = refusal(client, "greylisted@simulator.test")
        assert (code, text.split()[0]) == (451, b"4.7.1")
        client.send_message(mail_to("greylisted@simulator.test"))
        assert len(sandbox.inbox.messages()) == taken


def test_the_timeout_mailbox_is_silent_and_holds_up_nobody_else(sandbox: Sandbox, smtp: Connect) -> None:
    waiting = smtp()
    waiting.ehlo()
    waiting.mail("a@b.test")
    waiting.putcmd("rcpt", "TO:<timeout@simulator.test>")
    smtp().send_message(mail_to("delivered@simulator.test"))
    with short_wait(waiting), pytest.raises(smtplib.SMTPServerDisconnected):
        waiting.getreply()
    assert [entry.to for entry in sandbox.inbox.messages()] == ["delivered@simulator.test"]


def test_the_unknown_mailbox_takes_and_does_not_answer(sandbox: Sandbox, smtp: Connect) -> None:
    for tries in (1, 2):
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp().send_message(mail_to("unknown@simulator.test"))
        assert [e.reference for e in sandbox.inbox.messages()] == ["<reference-1@sandbox.test>"] * tries
