"""Who watches the service sees how it stands with the backups."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from backup import files, health, making, reporting, verifying
from backup.errors import BusyError
from backup.models import Backup, Proof, Status, Trigger
from notifier.models import Notification, Organization
from tests.backups.conftest import with_database

pytestmark = with_database


def test_it_says_what_is_wrong_and_takes_no_machine_out(client: Client, latest: Path) -> None:
    def shown() -> str:
        answer = client.get("/health/ready")
        assert answer.status_code == 200
        return str(answer.json()["checks"]["backup"])

    assert shown() == "none yet"
    row = making.make(Trigger.COMMAND)
    assert row is not None
    verifying.verify()
    assert shown() == "ok"
    Backup.objects.update(proof=Proof.FAILED, proof_detail="of no concern to strangers")
    assert shown() == "the last one that was tried does not restore"
    now = timezone.now()
    Backup.objects.create(
        started_at=now, finished_at=now, status=Status.FAILED, error_code="timeout", trigger=Trigger.SCHEDULE
    )
    assert shown() == "the last one failed (timeout)"
    Backup.objects.create(started_at=now - timedelta(hours=1), trigger=Trigger.SCHEDULE)
    assert shown() == "the last one does not end"


def test_one_that_found_another_at_it_is_no_failure(latest: Path) -> None:
    making.make(Trigger.COMMAND)
    with files.hold(), pytest.raises(BusyError):
        making.make(Trigger.COMMAND)
    assert health.note() == "ok"
    assert health.figures()["notifier_backup_last_ok"] == 1


def test_a_mail_that_failed_is_seen(latest: Path, organization: Organization, settings: Settings) -> None:
    settings.EMAIL_BACKUP_ENABLED, settings.EMAIL_BACKUP_RECIPIENT = True, ("ops@example.com",)
    making.make(Trigger.COMMAND, report=reporting.report)
    assert health.note() == "ok"
    Notification.objects.update(
        status="failed", failure_code="message_too_large", due_at=None, finished_at=timezone.now()
    )
    assert health.note() == "the mail of the last one: message_too_large"


def test_the_figures(latest: Path) -> None:
    assert health.figures() == {}
    row = making.make(Trigger.COMMAND)
    assert row is not None
    assert row.finished_at is not None
    verifying.verify()
    found = health.figures()
    assert found["notifier_backup_last_success_timestamp_seconds"] == row.finished_at.timestamp()
    assert found["notifier_backup_size_bytes"] == row.size
    assert 0 < found["notifier_backup_duration_seconds"] < 60
    assert (found["notifier_backup_last_ok"], found["notifier_backup_verified_ok"]) == (1, 1)
    assert found["notifier_backup_verified_timestamp_seconds"] > row.finished_at.timestamp()
