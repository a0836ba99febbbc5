"""A running sandbox, and clients that speak to it over real sockets."""

import smtplib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage

import pytest

from sandbox.servers import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def smtp(sandbox: Sandbox) -> Iterator[Callable[[], smtplib.SMTP]]:
    """Makes connections to the sandbox's SMTP server; all are closed at the end."""
    made: list[smtplib.SMTP] = []

    def connect(timeout: float = 30.0) -> smtplib.SMTP:
        made.append(smtplib.SMTP("127.0.0.1", sandbox.smtp_port, local_hostname="client.test", timeout=timeout))
        return made[-1]

    yield connect
    for client in made:
        client.close()


def mail_to(*recipients: str, subject: str = "Hello") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Notifier <notifier@sandbox.test>"
    message["To"] = ", ".join(recipients)
    message["Subject"] = subject
    message["Message-ID"] = "<reference-1@sandbox.test>"
    message.set_content("Привет, мир")
    return message


@contextmanager
def short_wait(client: smtplib.SMTP, seconds: float = 0.3) -> Iterator[None]:
    """What a client does that loses patience soon."""
    assert client.sock is not None
    client.sock.settimeout(seconds)
    yield
