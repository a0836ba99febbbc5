"""A new encryption key: what is stored is read with it alone afterwards, and nothing comes back or gets lost."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db.models import BinaryField
from pytest_django.fixtures import Settings

from notifier import rotation, vault, webhook_secrets
from notifier.models import Notification, Organization
from notifier.states import Status
from tests.channels.smtp_peer import SmtpPeer
from tests.notifier.rows import change, in_state, organization, stored
from tests.security.canary import PASSWORD, sightings
from tests.security.client import Client
from tests.servers.base import free_port, wait_until
from tests.servers.migrated import migrate
from tests.servers.postgres import PostgresServer
from tests.servers.processes import ProjectProcess, manage, web

PLAIN = {
    "notifier.Attachment.content",
    "notifier.TransientAttachment.content",
    "notifier.ApiKey.digest",
    "deadlines.ImportDraft.content",
}
"""Bytes that are no secrets, or no sealed ones."""

OLD, NEW, FOREIGN = (Fernet.generate_key().decode() for _ in range(3))


def rotated() -> str:
    """What the command says."""
    said = StringIO()
    call_command("rotate_encryption_keys", stdout=said)
    return said.getvalue()


def sealed_row(key: str, settings: Settings, **fields: Any) -> Notification:
    """A notification with credentials under this key."""
    settings.ENCRYPTION_KEYS = (key,)
    secret = vault.seal({"user": "ann@example.com", "password": PASSWORD})
    return stored("email", own_account=True, credentials=secret, **fields)


def password_of(row: Notification) -> Any:
    """What the row's credentials say today."""
    row.refresh_from_db()
    assert row.credentials
    return vault.unseal(row.credentials)["password"]


def test_every_column_of_bytes_is_known_as_sealed_or_plain() -> None:
    found = {
        f"{model._meta.label}.{field.name}"
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if isinstance(field, BinaryField) and field.model is model
    }
    assert found - PLAIN == set(rotation.SEALED)


@pytest.mark.django_db
def test_afterwards_the_old_key_is_needed_no_more(settings: Settings) -> None:
    rows = [sealed_row(OLD, settings) for _ in range(5)]
    signing = webhook_secrets.current(organization())
    settings.ENCRYPTION_KEYS = (NEW, OLD)
    said = rotated()
    assert "notifier.Notification.credentials: 5 encrypted anew, 0 unreadable" in said
    assert "notifier.Organization.webhook_secrets: 1 encrypted anew, 0 unreadable" in said
    settings.ENCRYPTION_KEYS = (NEW,)
    assert [password_of(row) for row in rows] == [PASSWORD] * 5
    assert webhook_secrets.current(organization()) == signing
    assert "1 encrypted" not in rotated()


@pytest.mark.django_db
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 6])
def test_no_row_is_forgotten_whatever_the_batches(batch: int, settings: Settings) -> None:
    for nth in range(5):
        sealed_row(OLD, settings)
        if nth % 2:
            stored("email")  # without a secret
    settings.ENCRYPTION_KEYS = (NEW, OLD)
    *_, tally = rotation.rotate("notifier.Notification.credentials", batch=batch)
    assert (tally.looked_at, tally.resealed, tally.unreadable) == (7, 5, [])


@pytest.mark.django_db
def test_what_no_key_opens_is_named_and_left_as_it_is(settings: Settings) -> None:
    lost, good = sealed_row(FOREIGN, settings), sealed_row(OLD, settings)
    altered = sealed_row(OLD, settings)
    assert altered.credentials
    change(altered, credentials=bytes(altered.credentials)[:-1])
    settings.ENCRYPTION_KEYS = (NEW, OLD)
    before = bytes(lost.credentials or b"")
    with pytest.raises(CommandError) as failed:
        rotated()
    assert str(failed.value) == (
        "None of ENCRYPTION_KEYS opens 2 secrets: "
        f"notifier.Notification.credentials of #{lost.pk}, notifier.Notification.credentials of #{altered.pk}"
    )
    assert failed.value.returncode == 1
    assert not sightings({"error": str(failed.value)}, {"password": PASSWORD, "sealed": before.decode()})
    lost.refresh_from_db()
    assert lost.credentials is not None
    assert bytes(lost.credentials) == before
    assert password_of(good) == PASSWORD


def ended(row: Notification) -> None:
    """A worker finishes it."""
    change(row, credentials=None, **in_state(Status.SENT))


def gone(row: Notification) -> None:
    """It is purged."""
    row.delete()


def given_again(row: Notification) -> None:
    """A retry brings new credentials, sealed by a process that has the old key alone."""
    change(row, credentials=Fernet(OLD).encrypt(b'{"password": "newer"}'))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("happens", "left"),
    [(ended, [None]), (gone, []), (given_again, [{"password": "newer"}])],
    ids=["ended", "purged", "given again"],
)
def test_what_changes_meanwhile_wins(
    happens: Callable[[Notification], None], left: list[Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = sealed_row(OLD, settings)
    settings.ENCRYPTION_KEYS = (NEW, OLD)
    reseal, meanwhile = vault.reseal, [happens]

    def slowly(sealed: Any) -> bytes | None:
        anew = reseal(sealed)
        while meanwhile:
            meanwhile.pop()(Notification.objects.get(pk=row.pk))
        return anew

    monkeypatch.setattr(vault, "reseal", slowly)
    rotated()
    settings.ENCRYPTION_KEYS = (NEW,)
    values = Notification.objects.values_list("credentials", flat=True)
    assert [vault.unseal(value) if value else value for value in values] == left


@pytest.mark.django_db
def test_a_rotated_webhook_secret_of_the_meantime_stays(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ENCRYPTION_KEYS = (OLD,)
    webhook_secrets.current(organization())
    settings.ENCRYPTION_KEYS = (NEW, OLD)
    reseal = vault.reseal
    made: list[str] = []

    def slowly(sealed: Any) -> bytes | None:
        anew = reseal(sealed)
        if not made:
            made.append(webhook_secrets.rotate(Organization.objects.get(slug="default")))
        return anew

    monkeypatch.setattr(vault, "reseal", slowly)
    rotated()
    settings.ENCRYPTION_KEYS = (NEW,)
    assert webhook_secrets.current(organization()) == made[0]


# --- Real processes --------------------------------------------------------------------------------------------------
class Service:
    """A web process that works the ledger too, on a database of its own; to be restarted with other keys."""

    def __init__(self, postgres: PostgresServer, directory: Path, peer: SmtpPeer) -> None:
        self.postgres, self.name = postgres, f"rotation_{free_port()}"
        self.environment = {
            "DJANGO_DEBUG": "0",
            "DJANGO_SECRET_KEY": "only-for-the-tests-" + "x" * 32,
            "ENCRYPTION_KEYS": OLD,
            "DATABASE_URL": postgres.create_database(self.name),
            "SMTP_OVERRIDE_HOSTS": f"127.0.0.1:{peer.port}",
            "PORT": str(free_port()),
        }
        self.directory, self.peer = directory, peer
        self.process: ProjectProcess | None = None
        migrate(self.environment)
        key = manage("create_api_key", "default", environment=self.environment).splitlines()[-1]
        self.client = Client(f"http://127.0.0.1:{self.environment['PORT']}", key)

    def restart(self, *keys: str) -> None:
        """Run with these keys from now on."""
        self.stop()
        self.environment["ENCRYPTION_KEYS"] = ",".join(keys)
        self.process = web(self.environment, self.directory)
        so_far = len(self.process.output)
        self.process.start().wait_for_line("listens on", 60, after=so_far)

    def stop(self) -> None:
        """End it as an operator does."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def accept(self, number: int, **more: Any) -> None:
        """A message through an account of its own."""
        account = {"smtp_host": "127.0.0.1", "smtp_port": self.peer.port, "smtp_use_tls": False}
        body = {"to": {"email": f"p{number}@example.com"}, "message": "Hello", "channels": ["email"], **account, **more}
        answer = self.client.post(
            "/api/notifications/", {**body, "smtp_user": "ann@example.com", "smtp_password": PASSWORD}
        )
        assert answer.status_code == 202, answer.text

    def ask(self, sql: str) -> str:
        """One value of the database."""
        return self.postgres.query(sql, database=self.name)


@pytest.fixture
def service(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Service]:
    """Not started yet."""
    with SmtpPeer(user="ann@example.com", password=PASSWORD) as peer:
        made = Service(postgres_server, tmp_path, peer)
        yield made
        if made.process is not None:
            made.process.kill()


def test_keys_are_rotated_while_messages_leave_and_the_old_one_can_go(service: Service) -> None:
    service.restart(OLD)
    for number in range(10):
        service.accept(number, send_at="2027-02-01T00:00:00Z", expires_at="2027-02-02T00:00:00Z")
    service.restart(NEW, OLD)
    going_on = threading.Thread(target=lambda: deque(map(service.accept, range(10, 60)), maxlen=0))
    going_on.start()
    try:
        first = manage("rotate_encryption_keys", environment=service.environment)
    finally:
        going_on.join()
    assert "notifier.Notification.credentials: 10 encrypted anew, 0 unreadable" in first
    assert not sightings({"dump": service.postgres.dump(service.name)}, {"password": PASSWORD})
    service.restart(NEW)
    assert service.ask("SELECT count(*) FROM notifier_notification WHERE credentials IS NOT NULL") >= "10"
    service.ask("UPDATE notifier_notification SET due_at = now() WHERE status = 'queued'")
    still_open = "SELECT count(*) FROM notifier_notification WHERE status <> 'sent'"
    wait_until(lambda: service.ask(still_open) == "0", 60, "everything is sent")
    assert sorted(taken.recipient for taken in service.peer.taken) == sorted(f"p{n}@example.com" for n in range(60))
    assert service.ask("SELECT count(*) FROM notifier_notification WHERE credentials IS NOT NULL") == "0"
