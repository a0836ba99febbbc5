"""Putting jobs into a queue: confirmed, under an id, and with a clear error where it fails."""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from django.utils.translation import gettext_lazy
from pytest_django.fixtures import Settings

from notifier import send_email_service
from notifier.amqp import broker
from notifier.amqp.broker import BrokerError
from notifier.amqp.publisher import Publisher, publish
from notifier.intake import InvalidNotificationError
from notifier.models import Notification, Organization
from tests.amqp.conftest import Jobs, Take
from tests.servers.base import free_port

MAIL = {"to_email": "ann@example.com", "message": "Привет"}


def taken(jobs: Jobs) -> Any:
    return jobs.channel.basic_get(jobs.name, no_ack=True)


def test_a_job_is_kept_as_json_under_an_id(jobs: Jobs) -> None:
    first = publish(MAIL, jobs.name, jobs.url)
    assert publish(MAIL, jobs.name, jobs.url, message_id="7") == "7"
    message = taken(jobs)
    assert json.loads(message.body) == MAIL
    assert (message.properties["message_id"], message.properties["delivery_mode"]) == (first, 2)
    assert message.properties["content_type"] == "application/json"
    assert taken(jobs).properties["message_id"] == "7"


def test_many_go_over_one_connection(jobs: Jobs) -> None:
    with Publisher(jobs.url, jobs.name) as publisher:
        assert len({publisher.publish(MAIL) for _ in range(20)}) == 20
    assert jobs.waiting() == 20


@pytest.mark.parametrize("job", [{"message": float("nan")}, {"message": object()}])
def test_what_is_no_json_is_refused_here(job: dict[str, Any], jobs: Jobs) -> None:
    with pytest.raises((ValueError, TypeError)):
        publish(job, jobs.name, jobs.url)
    with pytest.raises(ValueError, match="message_id"):
        publish(MAIL, jobs.name, jobs.url, message_id="письмо")
    assert jobs.waiting() == 0


# --- send_email_service ----------------------------------------------------------------------------------------------
def test_without_a_queue_the_mail_is_stored_at_once(organization: Organization) -> None:
    row = send_email_service("ann@example.com", "Hello", "Text")
    assert Notification.objects.get() == row
    assert (row.subject, row.message, row.steps) == ("Hello", "Text", [{"channel": "email"}])
    with pytest.raises(InvalidNotificationError, match="email"):
        send_email_service(to_email="ann", title="Hello", message="Text")


def parameters(jobs: Jobs, **others: Any) -> SimpleNamespace:
    """As pika has them."""
    port = broker.connection(jobs.url).port
    credentials = SimpleNamespace(username="guest", password="guest")
    return SimpleNamespace(
        **{"host": "127.0.0.1", "port": port, "virtual_host": "/", "credentials": credentials, **others}
    )


@pytest.mark.parametrize("kind", ["url", "host", "parameters", "settings"])
def test_with_a_queue_it_is_put_there(kind: str, jobs: Jobs, take: Take, settings: Settings) -> None:
    settings.AMQP_URL = jobs.url
    port = broker.connection(jobs.url).port
    where = {"url": jobs.url, "host": f"127.0.0.1:{port}", "parameters": parameters(jobs), "settings": None}[kind]
    name = send_email_service("ann@example.com", "Hello", "Text", jobs.name, where)
    assert isinstance(name, str)
    assert take(1).accepted == 1
    row = Notification.objects.get()
    assert (row.subject, row.message, row.steps) == ("Hello", "Text", [{"channel": "email"}])


def test_texts_that_are_translated_late_are_sent(jobs: Jobs, organization: Organization) -> None:
    title: Any = gettext_lazy("Hello")
    text: Any = gettext_lazy("Text")
    send_email_service("ann@example.com", title, text)
    row = Notification.objects.get()
    assert (row.subject, row.message) == ("Hello", "Text")
    send_email_service("ann@example.com", title, text, jobs.name, jobs.url)
    assert json.loads(taken(jobs).body) == {"to_email": "ann@example.com", "title": "Hello", "message": "Text"}


@pytest.mark.parametrize(("host", "user"), [("rabbit", "bob"), ("rabbit:5673", "bob"), ("other", None)])
def test_a_host_of_the_settings_is_entered_as_they_say(host: str, user: str | None, settings: Settings) -> None:
    settings.AMQP_URL = "amqp://bob:s3cret@rabbit:5673/jobs"
    made = broker.connection(host)
    assert (made.hostname, made.userid) == (host.partition(":")[0], user)


# --- What fails ------------------------------------------------------------------------------------------------------
CANARY = "s3cr3t-canary"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (lambda jobs: jobs.url.replace("guest:guest@", f"guest:{CANARY}@"), "refuses the user or the password"),
        (lambda jobs: jobs.url.removesuffix("//") + "/nowhere", "no such virtual host"),
        (lambda jobs: parameters(jobs, virtual_host="nowhere"), "no such virtual host"),
        (lambda _jobs: f"amqp://guest:{CANARY}@127.0.0.1:{free_port()}//", "cannot be reached"),
        (lambda _jobs: f"redis://:{CANARY}@127.0.0.1", "begins with amqp://"),
        (lambda _jobs: f"amqp://guest:{CANARY}@127.0.0.1:port//", "begins with amqp://"),
        (lambda _jobs: f"amqp://guest:{CANARY}@127.0.0.1//?odd=1", "begins with amqp://"),
        (lambda _jobs: SimpleNamespace(host=""), "an object with a host"),
        (lambda _jobs: 5, "an object with a host"),
        (lambda _jobs: None, "set AMQP_URL"),
    ],
)
def test_a_broker_that_takes_nothing_is_told_in_words_without_its_password(
    address: Any, words: str, jobs: Jobs
) -> None:
    began = time.monotonic()
    with pytest.raises(BrokerError, match=words) as failed:
        publish(MAIL, jobs.name, address(jobs))
    assert CANARY not in str(failed.value)
    assert time.monotonic() - began < 30


def test_what_the_broker_does_not_keep_is_an_error(jobs: Jobs) -> None:
    name = f"{jobs.name}-gone"
    with Publisher(jobs.url, name) as publisher:
        for one in (name, broker.dead(name)):
            jobs.channel.queue_delete(one)
        with pytest.raises(BrokerError, match="not confirmed"):
            publisher.publish(MAIL)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def hear(listening: socket.socket, context: ssl.SSLContext, heard: list[bytes]) -> Thread:
    """Let one caller in and note what he says first, if he trusts us."""

    def answer() -> None:
        plain, _ = listening.accept()
        with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as secured:
            heard.append(secured.recv(100))

    thread = Thread(target=answer)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("name", "is_trusted", "before", "words", "said"),
    [
        ("127.0.0.1", False, "", "SSLCertVerificationError", []),
        ("other.example.com", True, "", "SSLCertVerificationError", []),
        ("127.0.0.1", True, "amqps://127.0.0.2:1//;", "cannot be reached|says", [b"AMQP\0\0\x09\x01"]),
    ],
)
def test_a_broker_that_does_not_prove_its_own_name_gets_no_password(
    name: str,
    before: str,
    words: str,
    said: list[bytes],
    listening: socket.socket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_trusted: bool,
) -> None:
    context, authority = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), trustme.CA()
    authority.issue_cert(name).configure_cert(context)
    if is_trusted:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    heard: list[bytes] = []
    thread = hear(listening, context, heard)
    with pytest.raises(BrokerError, match=words):
        publish(MAIL, "q", f"{before}amqps://guest:{CANARY}@127.0.0.1:{listening.getsockname()[1]}//")
    thread.join(30)
    assert heard == said
