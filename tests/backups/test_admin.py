"""The admin's page of backups: for superusers alone."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from kombu.exceptions import OperationalError
from pytest_django.fixtures import Settings

from backup import files, making, tasks
from backup.errors import BusyError
from backup.models import Backup, Status, Trigger
from notifier.models import Membership, Organization
from tests.backups.conftest import last, with_database

pytestmark = with_database
PAGE = "/admin/backups/backup/"


@pytest.fixture
def root(client: Client, admin_user: User) -> Client:
    """A superuser's browser."""
    client.force_login(admin_user)
    return client


def test_the_list_says_how_each_went(root: Client, made: Backup) -> None:
    Backup.objects.create(
        started_at=timezone.now(), finished_at=timezone.now(), trigger=Trigger.COMMAND, status=Status.FAILED,
        error_code="disk_full", error="There is <b>no</b> room.",
    )  # fmt: skip
    told = root.get(PAGE).content.decode()
    assert "Create a backup now" in told
    assert "(disk_full)" in told
    assert making.shown(made.duration) in told
    failed = root.get(f"{PAGE}{last().pk}/change/").content.decode()
    assert "There is &lt;b&gt;no&lt;/b&gt; room." in failed


def test_a_button_has_one_made(root: Client, latest: Path, settings: Settings) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = True
    tasks.make.app.conf.task_always_eager = True
    try:
        answer = root.post(f"{PAGE}make/")
    finally:
        tasks.make.app.conf.task_always_eager = False
    assert answer.headers["Location"] == PAGE
    assert (last().trigger, last().status) == (Trigger.ADMIN, Status.OK)
    assert latest.exists()
    assert LogEntry.objects.get().change_message == "Asked for."
    assert root.get(f"{PAGE}make/").status_code == 405


def test_without_a_broker_the_button_says_so(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OperationalError

    monkeypatch.setattr(tasks.make, "delay", fail)
    assert "the broker does not answer" in root.post(f"{PAGE}make/", follow=True).content.decode()
    assert not LogEntry.objects.exists()


def test_how_far_it_is(root: Client, made: Backup) -> None:
    assert root.get(f"{PAGE}progress/").json()["status"] == "ok"
    running = Backup.objects.create(started_at=timezone.now(), trigger=Trigger.ADMIN, sql_size=1_500_000)
    assert root.get(f"{PAGE}progress/").json() == {
        "id": running.pk, "status": "running", "written": 1_500_000, "expected": made.sql_size,
        "text": "1.5 MB of SQL so far",
    }  # fmt: skip
    page = root.get(PAGE).content.decode()
    assert f'data-id="{running.pk}" data-status="running"' in page
    with files.hold(), pytest.raises(BusyError):  # who wants another one sees the one that runs
        making.make(Trigger.ADMIN)
    assert root.get(f"{PAGE}progress/").json()["id"] == running.pk
    Backup.objects.filter(pk=running.pk).update(started_at=timezone.now() - timedelta(days=1))  # killed
    assert root.get(f"{PAGE}progress/").json()["status"] == "failed"


def test_the_file_comes_down_and_that_is_on_record(root: Client, made: Backup, latest: Path) -> None:
    answer = root.get(f"{PAGE}{made.pk}/download/")
    assert b"".join(answer) == latest.read_bytes()
    assert "attachment" in answer.headers["Content-Disposition"]
    assert [(entry.object_id, entry.change_message) for entry in LogEntry.objects.all()] == [
        (str(made.pk), "Downloaded.")
    ]


def test_a_file_that_is_gone_or_another_does_not_come_down(root: Client, made: Backup, latest: Path) -> None:
    making.make(Trigger.COMMAND)
    assert root.get(f"{PAGE}{made.pk}/download/").status_code == 404
    latest.unlink()
    assert root.get(f"{PAGE}{last().pk}/download/").status_code == 404
    assert root.get(f"{PAGE}{last().pk}/change/").status_code == 200
    assert not LogEntry.objects.exists()


def test_nobody_else_learns_of_it(client: Client, made: Backup, organization: Organization) -> None:
    operator = User.objects.create_user("operator", is_staff=True)
    Membership.objects.create(organization=organization, user=operator, role=Membership.Role.ADMINISTRATOR)
    client.force_login(operator)
    for address in ("", f"{made.pk}/change/", f"{made.pk}/download/", "progress/", f"{made.pk}/history/"):
        assert client.get(f"{PAGE}{address}").status_code in {403, 404}, address
    assert client.post(f"{PAGE}make/").status_code == 404
    assert "/admin/backups/" not in client.get("/admin/").content.decode()
    assert Backup.objects.count() == 1
