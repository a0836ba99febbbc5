"""Who watches the service sees how it stands with the backups."""

from pathlib import Path

from django.test import Client
from django.utils import timezone

from backup import health, making, verifying
from backup.models import Backup, Proof, Status, Trigger
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
