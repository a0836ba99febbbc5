"""Programs hear of backups: signed, and again until they have taken it."""

import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from pytest_django.fixtures import Settings

from backup import duty, reporting, webhook
from backup.models import Backup
from notifier import webhook_secrets
from notifier.models import Organization
from tests.backups.conftest import last, with_database
from tests.channels.http_peer import HttpPeer, answer, drop_after_reading, http_peer
from tests.notifier.test_callbacks import signed_by

pytestmark = with_database


@pytest.fixture
def peer() -> Iterator[HttpPeer]:
    """Who wants to know."""
    with http_peer(otherwise=answer(204)) as made:
        yield made
        webhook._client().close()


@pytest.fixture(autouse=True)
def hooked(settings: Settings, peer: HttpPeer, organization: Organization) -> None:
    """The peer wants to know."""
    settings.BACKUP_WEBHOOK_URL = f"{peer.url}/backups"
    settings.BACKUP_SCHEDULE = None


def test_a_backup_that_was_made_is_told(peer: HttpPeer, latest: Path, organization: Organization) -> None:
    peer.plan(answer(204))
    call_command("backup_database", stdout=io.StringIO())
    [request] = peer.requests
    row = last()
    told = request.json
    assert (request.path, told["type"]) == ("/backups", "backup.made")
    assert told["data"]["sha256"] == row.sha256
    assert (told["data"]["size"], told["data"]["path"], told["data"]["rows"]) == (row.size, str(latest), row.rows)
    assert signed_by(webhook_secrets.current(organization), request) == [True]
    duty.look()
    assert len(peer.requests) == 1
    assert row.webhook_due_at is None


def test_a_failure_is_told_again_until_it_is_taken(peer: HttpPeer, place: Path) -> None:
    place.write_text("a file where the directory should be")
    peer.plan(answer(500), drop_after_reading, answer(200))
    with pytest.raises(CommandError):
        call_command("backup_database", stdout=io.StringIO())
    for _ in range(3):
        Backup.objects.update(webhook_due_at=F("webhook_due_at") - timedelta(hours=3))
        duty.look()
    assert [request.json["type"] for request in peer.requests] == ["backup.failed"] * 3
    assert len({request.headers["webhook-id"] for request in peer.requests}) == 1
    assert peer.requests[0].json["data"]["error_code"] == "no_directory"


def test_a_day_is_enough(peer: HttpPeer, place: Path) -> None:
    place.write_text("a file where the directory should be")
    peer.plan(answer(500))
    with pytest.raises(CommandError):
        call_command("backup_database", stdout=io.StringIO())
    past = timedelta(days=2)
    Backup.objects.update(webhook_due_at=F("webhook_due_at") - past, finished_at=F("finished_at") - past)
    duty.look()
    assert len(peer.requests) == 1
    assert last().webhook_due_at is None


def test_a_backup_that_does_not_restore_is_told(peer: HttpPeer, latest: Path) -> None:
    peer.plan(answer(204), answer(204))
    call_command("backup_database", stdout=io.StringIO())
    row = last()
    row.proof, row.proof_detail = "failed", "It ends too early."
    reporting.report_proof(row)
    told = peer.requests[1].json
    assert (told["type"], told["data"]["verified"], told["data"]["verified_detail"]) == (
        "backup.unproven", "failed", "It ends too early.",
    )  # fmt: skip
