"""Backups arrive by mail, through the ledger: readable only for whom they are meant, and kept nowhere afterwards."""

import gzip
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django.fixtures import Settings

from backup import duty, making, reporting
from backup.models import Backup, Trigger, this_host
from channels.errors import PermanentError
from notifier import delivery, intake
from notifier.models import Notification, Organization, TransientAttachment
from notifier.states import Status
from notifier.tasks import purge
from tests.backups.conftest import facts_of, last, with_database
from tests.conftest import FakeRegistry

pytestmark = with_database


@pytest.fixture(autouse=True)
def mailed(settings: Settings, organization: Organization) -> None:
    """Backups are mailed."""
    settings.EMAIL_BACKUP_ENABLED = True
    settings.EMAIL_BACKUP_RECIPIENT = ("ops@example.com",)
    settings.EMAIL_BACKUP_SUBJECT_PREFIX = "[Shop] Backup"
    settings.TIME_ZONE = "Europe/Moscow"
    settings.BACKUP_SCHEDULE = None


def backed_up() -> Backup:
    """A backup that was made and reported."""
    call_command("backup_database", stdout=io.StringIO())
    return last()


def test_the_file_arrives(latest: Path, fakes: FakeRegistry) -> None:
    row = backed_up()
    assert row.notification is not None
    assert (row.attached, row.encrypted, row.mail_status) == (True, False, Status.QUEUED)
    delivery.deliver_due()
    [(mail, _account)] = fakes["email"].sent
    moment = moment_of(row)
    assert (mail.to, mail.subject) == ("ops@example.com", f"[Shop] Backup - {moment}")
    [file] = mail.attachments
    assert (file.filename, file.content) == ("latest_backup.sql.gz", latest.read_bytes())
    for told in (row.sha256, str(latest), moment):
        assert told in mail.text
    assert last().mail_status == Status.SENT
    duty.look()
    assert not TransientAttachment.objects.exists()


def moment_of(row: Backup) -> str:
    """As the subject has it."""
    return f"{timezone.localtime(row.started_at):%Y-%m-%d %H:%M}"


@pytest.mark.django_db(transaction=True)  # the dump sees only what is committed
def test_it_is_in_no_later_backup(latest: Path, fakes: FakeRegistry) -> None:
    backed_up()
    assert TransientAttachment.objects.count() == 1
    backed_up()
    facts = facts_of(latest)
    assert facts.tables["notifier_transientattachment"] == 0
    assert b"notifier_transientattachment" in gzip.decompress(latest.read_bytes())
    call_command("verify_backup", stdout=io.StringIO())


@pytest.mark.parametrize("status", [Status.FAILED, Status.EXPIRED, Status.CANCELLED, Status.SENT])
def test_the_copy_is_gone_when_its_mail_is_final(
    status: Status, latest: Path, fakes: FakeRegistry, settings: Settings
) -> None:
    settings.EMAIL_BACKUP_RECIPIENT = ("ops@example.com", "boss@example.com")
    backed_up()
    ended, queued = Notification.objects.order_by("pk")
    Notification.objects.filter(pk=ended.pk).update(
        status=status, due_at=None, finished_at=timezone.now(), failure_code="x" if status == "failed" else ""
    )
    duty.look()
    assert [file.notification_id for file in TransientAttachment.objects.all()] == [queued.pk]


def test_only_the_private_key_opens_it(latest: Path, fakes: FakeRegistry, settings: Settings) -> None:
    identity = pyrage.x25519.Identity.generate()
    settings.BACKUP_PUBLIC_KEY = str(identity.to_public())
    row = backed_up()
    delivery.deliver_due()
    [file] = fakes["email"].sent[0][0].attachments
    assert file.filename == "latest_backup.sql.gz.age"
    assert latest.read_bytes()[100:200] not in file.content
    assert pyrage.decrypt(file.content, [identity]) == latest.read_bytes()
    assert (row.attached, row.encrypted) == (True, True)


def test_one_that_is_too_large_is_not_attached(latest: Path, fakes: FakeRegistry, settings: Settings) -> None:
    settings.BACKUP_MAIL_LIMIT_MB = 0
    row = backed_up()
    delivery.deliver_due()
    [(mail, _account)] = fakes["email"].sent
    assert mail.attachments == ()
    assert not row.attached
    assert "larger than the 0 MB" in mail.text
    assert f"{this_host()}: {latest}" in mail.text


def test_a_failure_is_mailed(place: Path, fakes: FakeRegistry) -> None:
    place.write_text("a file where the directory should be")
    with pytest.raises(CommandError):
        call_command("backup_database", stdout=io.StringIO())
    delivery.deliver_due()
    [(mail, _account)] = fakes["email"].sent
    assert mail.attachments == ()
    assert last().error in mail.text
    assert "FAILED" in mail.text


def test_a_proof_that_failed_is_mailed(latest: Path, fakes: FakeRegistry) -> None:
    row = making.make(Trigger.COMMAND)
    assert row is not None
    row.proof_detail = "The file ends too early."
    reporting.report_proof(row)
    delivery.deliver_due()
    [(mail, _account)] = fakes["email"].sent
    assert "does not restore: The file ends too early." in mail.text


@pytest.mark.parametrize("off", [{"EMAIL_BACKUP_ENABLED": False}, {}])
def test_nobody_is_told(latest: Path, settings: Settings, off: dict[str, Any]) -> None:
    for name, value in off.items():
        setattr(settings, name, value)
    call_command("backup_database", *([] if off else ["--no-mail"]), stdout=io.StringIO())
    assert not Notification.objects.exists()


def test_a_mail_that_cannot_be_stored_costs_no_backup(latest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermanentError("rejected")

    monkeypatch.setattr(intake, "accept", refuse)
    assert backed_up().status == "ok"


def test_old_notifications_go_with_their_files(latest: Path, fakes: FakeRegistry) -> None:
    backed_up()
    Notification.objects.update(status=Status.SENT, due_at=None, finished_at=timezone.now() - timedelta(days=91))
    purge()
    assert not Notification.objects.exists()
    assert last().notification is None
