"""A password that came with a request stands nowhere in plain: a canary is looked for wherever text is kept."""

import base64
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from pytest_django.fixtures import Settings

from notifier import bell, delivery, errands, ledger, send, vault
from notifier.celery import app
from notifier.chain import Wait
from notifier.ledger import Settlement
from notifier.models import Notification
from notifier.provider_accounts import account_for
from notifier.states import Status
from sandbox.servers import Sandbox
from tests.notifier.rows import make_due, organization, story

CANARY = "kanarienvogel-7d1f"
SIGHTS = (CANARY, base64.b64encode(CANARY.encode()).decode(), CANARY.encode().hex(), CANARY[::-1])


def sees(text: str) -> bool:
    """Whether the canary can be seen in it, plainly or in a dress that hides nothing."""
    return any(sight in text for sight in SIGHTS)


def in_the_database() -> str:
    """Every row of every table, as text."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608 - our own tables
            found += [_plain(value) for row in cursor.fetchall() for value in row]
    return "\n".join(found)


def _plain(value: object) -> str:
    return bytes(value).decode("latin-1") if isinstance(value, bytes | memoryview) else str(value)


@pytest.fixture
def mail(settings: Settings) -> Iterator[Sandbox]:
    """A real mail server, spoken to by the real channel."""
    with Sandbox() as running:
        settings.SMTP_HOST, settings.SMTP_PORT = "127.0.0.1", running.smtp_port
        settings.SMTP_USE_TLS = settings.SMTP_USE_SSL = False
        errands.channels.cache_clear()
        yield running
        errands.channels().close()
        errands.channels.cache_clear()


def send_with_password(**more: Any) -> Notification:
    body = {"to": "ann@example.com", "message": "Hello", "channels": ["email"], **more}
    return send(smtp_user="ann@example.com", smtp_password=CANARY, **body)


@pytest.fixture(autouse=True)
def logs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that anybody logs, at the lowest level."""
    for name in ("", "notifier", "channels", "celery", "kombu", "django", "django.db.backends"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


@pytest.mark.django_db
@pytest.mark.parametrize(("switch", "status"), [("ok", Status.SENT), ("auth", Status.FAILED)])
def test_from_its_acceptance_to_its_end_the_password_is_nowhere_in_plain(
    switch: str, status: Status, mail: Sandbox, logs: pytest.LogCaptureFixture
) -> None:
    row = send_with_password()
    assert not sees(in_the_database())
    sealed = Notification.objects.get(pk=row.pk).credentials
    assert sealed
    assert vault.unseal(sealed)["password"] == CANARY

    claim = ledger.claim(limit=1)
    ledger.mark(claim, {0: [row.pk]})
    assert not sees(in_the_database())
    ledger.settle(claim, [Settlement(row.pk, [], Wait(claim.now(), 0))])

    mail.switches.set("email", "busy")
    delivery.deliver([row.pk])
    assert story(row)[0][0] == "email"
    assert not sees(in_the_database())

    mail.switches.set("email", switch)
    make_due(row)
    delivery.deliver([row.pk])
    row.refresh_from_db()
    assert (row.status, row.credentials) == (status, None)
    assert not sees(in_the_database())
    details = [f"{attempt!r} {attempt} {vars(attempt)}" for attempt in row.attempts.all()]
    assert not sees(f"{row!r} {row} {vars(row)} {details}")
    assert not sees(logs.text + "".join(str(vars(record)) for record in logs.records))


@pytest.mark.django_db
def test_no_form_of_an_account_shows_its_password(mail: Sandbox) -> None:
    account = account_for("email", send_with_password())
    assert getattr(account, "password", None) == CANARY
    assert not sees(f"{account!r} {account} {[account]} {{'account': {account!r}}}")


@pytest.mark.django_db(transaction=True)
def test_the_broker_carries_a_bell_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.bell._silent_until", 0.0)
    organization()
    with app.connection_for_write() as broker:
        channel: Any = broker.default_channel
        app.amqp.queues["notifier"](channel).declare()
        channel.queue_purge("notifier")
        send_with_password(message="a text for Ann")
        assert bell.rest(10)
        rung = channel.basic_get("notifier", no_ack=True)
        assert rung is not None
        assert channel.basic_get("notifier", no_ack=True) is None
    payload = json.loads(rung.body)
    assert payload[:2] == [[], {}]
    everything = f"{payload} {rung.headers} {rung.properties}"
    assert not sees(everything)
    assert "Ann" not in everything
    assert "example.com" not in everything


# --- The vault -------------------------------------------------------------------------------------------------------
def test_the_first_key_seals_and_all_unseal(settings: Settings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = (old,)
    sealed = vault.seal({"password": CANARY})
    assert not sees(sealed.decode())
    settings.ENCRYPTION_KEYS = (new, old)
    assert vault.unseal(memoryview(sealed)) == {"password": CANARY}
    again = vault.seal({"password": CANARY})
    settings.ENCRYPTION_KEYS = (new,)
    assert vault.unseal(again) == {"password": CANARY}
    for unreadable in (sealed, b"", b"altered", again[:-1]):
        with pytest.raises(vault.VaultError, match="ENCRYPTION_KEYS") as error:
            vault.unseal(unreadable)
        assert not sees(repr(error.value))
