"""The same channel against a real Postfix."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import pytest
import trustme

from channels.base import Attachment, Message, Receipt
from channels.email import EmailChannel, SmtpAccount
from channels.errors import InvalidRecipientError, MisconfiguredError, PermanentError
from tests.servers.postfix import PostfixServer

pytestmark = pytest.mark.real_server

HELLO = Message(
    to="user@example.com", subject="Привет", text="Hello,\n.\n..world", html="<p>Hello</p>", reference="ref-1"
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def postfix(authority: trustme.CA) -> Iterator[PostfixServer]:
    if reason := PostfixServer.missing():
        pytest.skip(f"NOT TESTED against a real Postfix: {reason}")
    with PostfixServer(authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes()) as server:
        yield server


@pytest.fixture(scope="module")
def trusted(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield


@pytest.fixture
def channel() -> Iterator[EmailChannel]:
    channel = EmailChannel()
    yield channel
    channel.close()


def account(postfix: PostfixServer, **options: Any) -> SmtpAccount:
    options = {"user": postfix.user, "password": postfix.password, "security": "starttls", **options}
    port = postfix.tls_port if options["security"] == "ssl" else postfix.port
    return SmtpAccount(host="127.0.0.1", port=port, from_email="Notifier <sender@example.com>", **options)


def test_an_untrusted_certificate_is_refused(postfix: PostfixServer, channel: EmailChannel) -> None:
    for security in ("starttls", "ssl"):
        with pytest.raises(MisconfiguredError) as raised:
            channel.send(HELLO, account(postfix, security=security))
        assert raised.value.code == "tls_failed"


@pytest.mark.usefixtures("trusted")
def test_messages_are_delivered(postfix: PostfixServer, channel: EmailChannel) -> None:
    files = (Attachment("отчёт.bin", "application/octet-stream", bytes(range(256)) * 100),)
    for number, security in enumerate(("starttls", "starttls", "ssl"), 1):
        message = replace(HELLO, reference=f"ref-{number}", attachments=files)
        receipt = channel.send(message, account(postfix, security=security))
        assert receipt.provider_id == f"ref-{number}@example.com"
    mails = postfix.received(count=3)
    assert {mail["Message-ID"] for mail in mails} == {f"<ref-{number}@example.com>" for number in (1, 2, 3)}
    for mail in mails:
        assert (mail["Subject"], mail["To"], mail["From"].addresses[0].display_name) == (
            "Привет",
            "user@example.com",
            "Notifier",
        )
        plain = mail.get_body(("plain",))
        assert plain is not None
        assert plain.get_content() == "Hello,\n.\n..world\n"
        assert next(mail.iter_attachments()).get_content() == bytes(range(256)) * 100


@pytest.mark.usefixtures("trusted")
def test_a_wrong_password_is_refused(postfix: PostfixServer, channel: EmailChannel) -> None:
    for wrong in ("wrong", "неверный"):
        with pytest.raises(MisconfiguredError) as raised:
            channel.send(HELLO, account(postfix, password=wrong))
        assert raised.value.code == "authentication_failed"
        assert raised.value.detail == "The server refused the login (535 5.7.8)."


@pytest.mark.usefixtures("trusted")
def test_an_unknown_recipient_is_refused_and_the_connection_goes_on(
    postfix: PostfixServer, channel: EmailChannel
) -> None:
    with pytest.raises(InvalidRecipientError) as raised:
        channel.send(replace(HELLO, to="nobody@example.com"), account(postfix))
    assert (raised.value.code, raised.value.detail) == (
        "invalid_address",
        "The server refused the recipient (550 5.1.1).",
    )
    before = postfix.connections()
    channel.send(replace(HELLO, reference="after"), account(postfix))
    assert postfix.connections() == before


@pytest.mark.usefixtures("trusted")
def test_a_message_over_the_servers_size_is_refused(postfix: PostfixServer, channel: EmailChannel) -> None:
    with pytest.raises(PermanentError) as raised:
        channel.send(replace(HELLO, text="too much\n" * 200_000), account(postfix))
    assert raised.value.code == "message_too_large"


@pytest.mark.usefixtures("trusted")
def test_many_messages_share_two_connections_and_a_refusal_concerns_one(postfix: PostfixServer) -> None:
    before, already = postfix.connections(), len(postfix.received(count=0))
    landing: SimpleQueue[tuple[int, Receipt | Exception]] = SimpleQueue()
    with closing(EmailChannel(connections=2)) as channel:
        for number in range(60):
            to = "nobody@example.com" if number % 10 == 3 else "user@example.com"
            message = replace(HELLO, to=to, reference=f"many-{number}")
            channel.start(message, account(postfix), lambda came, number=number: landing.put((number, came)))  # type: ignore[misc]
        landed = dict(landing.get(timeout=30) for _ in range(60))
    refused = {number for number, came in landed.items() if isinstance(came, InvalidRecipientError)}
    assert refused == set(range(3, 60, 10))
    assert all(isinstance(came, Receipt) for number, came in landed.items() if number not in refused)
    arrived = [str(mail["Message-ID"]) for mail in postfix.received(count=already + 54)]
    wanted = {f"<many-{number}@example.com>" for number in range(60) if number not in refused}
    assert sorted(found for found in arrived if "many" in found) == sorted(wanted)
    assert postfix.connections() - before == 2
