"""Beat makes the backup of each slot once, also late, and proves one a week."""

import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings as django_settings
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from backup import duty, health, making, verifying
from backup.models import Backup, Proof, Status, Trigger
from backup.programs import stopped
from backup.tasks import look, make
from notifier.cron import Cron
from tests.backups.conftest import ON_POSTGRES, last, with_database


def at(*parts: int) -> datetime:
    """A moment in UTC."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


NIGHT = at(2026, 11, 21, 3)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("0 3 * * *", at(2026, 11, 21, 2, 0), at(2026, 11, 21, 2, 0)),  # 03:00 in Berlin
        ("0 3 * * *", at(2026, 11, 21, 1, 59), at(2026, 11, 20, 2, 0)),
        ("*/15 8-9 * * 1", at(2026, 11, 21), at(2026, 11, 16, 8, 45)),  # Mondays
        ("0 0 * * sun", at(2026, 11, 21), at(2026, 11, 14, 23, 0)),
        ("30 2 * * *", at(2026, 3, 29, 2, 0), at(2026, 3, 29, 1, 30)),  # the clock jumps over it
        ("30 2 * * *", at(2026, 3, 29, 1, 0), at(2026, 3, 28, 1, 30)),  # and that moment is still to come
        ("*/30 * * * *", at(2026, 10, 25, 1, 10), at(2026, 10, 25, 0, 30)),  # the hour comes twice
        ("0 0 29 2 *", at(2026, 11, 21), at(2024, 2, 28, 23, 0)),
        ("0 0 1 * 1", at(2026, 11, 21), at(2026, 11, 15, 23, 0)),  # the first, and Mondays
        ("0 0 * * 5-7", at(2026, 11, 23, 12), at(2026, 11, 21, 23, 0)),
    ],
)
def test_the_last_moment_of_a_schedule(text: str, now: datetime, expected: datetime) -> None:
    assert Cron.parse(text).last(now, BERLIN) == expected


WRONG = ("", "0 3 * *", "0 3 * * * *", "60 3 * * *", "0 24 * * *", "0 3 0 * *", "0 3 31 2 *", "0 3 * 13 *", "0 3 * * 8")


@pytest.mark.parametrize("text", [*WRONG, "a b c d e", "*/0 * * * *", "@daily", "-1 * * * *"])
def test_what_is_no_schedule(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Cron.parse(text)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> list[datetime]:
    """The time, which a test may change."""
    moments = [NIGHT + timedelta(seconds=20)]
    monkeypatch.setattr(timezone, "now", lambda: moments[0])
    settings.BACKUP_SCHEDULE, settings.TIME_ZONE = Cron.parse("0 3 * * *"), "UTC"
    monkeypatch.setattr(duty, "installed_at", lambda: NIGHT - timedelta(days=1))
    return moments


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which files were verified; nothing is restored."""
    done: list[Path] = []

    def note(path: Path, **_: Any) -> Any:
        done.append(path)
        row = last()
        row.proof = Proof.OK
        row.save()
        return verifying.Verdict(None, row.sha256, row)  # type: ignore[arg-type]

    monkeypatch.setattr(verifying, "verify", note)
    return done


def slots() -> list[datetime | None]:
    """Of the backups that were tried."""
    return list(Backup.objects.order_by("pk").values_list("slot", flat=True))


@with_database
def test_each_slot_is_served_once(latest: Path, now: list[datetime], proofs: list[Path]) -> None:
    for _ in range(3):
        look()
    assert slots() == [NIGHT]
    assert (last().trigger, last().status) == (Trigger.SCHEDULE, Status.OK)
    assert proofs == [latest]
    now[0] = at(2026, 11, 22, 2, 59)
    look()
    assert slots() == [NIGHT]
    now[0] = at(2026, 11, 22, 17, 30)  # everything was off at 3
    look()
    assert slots() == [NIGHT, at(2026, 11, 22, 3)]
    assert len(proofs) == 1  # this week's
    now[0] = at(2026, 11, 28, 3, 1)
    look()
    assert len(proofs) == 2


@with_database
def test_a_new_service_waits_for_its_first_slot(
    latest: Path, now: list[datetime], proofs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    now[0] = at(2026, 11, 21, 12)
    monkeypatch.setattr(duty, "installed_at", lambda: at(2026, 11, 21, 11, 55))
    look()
    assert slots() == []
    assert health.note() == "none yet"
    now[0] = at(2026, 11, 22, 9)  # it is off at night, always
    assert "overdue" in health.note()
    look()
    assert slots() == [at(2026, 11, 22, 3)]
    assert health.note() == "ok"


@with_database
def test_a_clock_that_was_wrong_once_costs_no_backup(latest: Path, now: list[datetime], proofs: list[Path]) -> None:
    now[0] = at(2030, 1, 1, 4)
    look()
    now[0] = NIGHT + timedelta(minutes=1)
    look()
    assert slots() == [at(2030, 1, 1, 3), NIGHT]


@with_database
def test_a_stop_at_that_hour_costs_no_backup(
    latest: Path, now: list[datetime], proofs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise stopped()

    with monkeypatch.context() as patched:
        patched.setattr(making, "_written", stop)
        look()
    assert (last().slot, last().error_code) == (None, "stopped")
    look()
    assert (last().slot, last().status) == (NIGHT, Status.OK)


@with_database
def test_off_is_off(latest: Path, now: list[datetime], settings: Settings, proofs: list[Path]) -> None:
    settings.BACKUP_SCHEDULE = None
    look()
    assert (slots(), proofs) == ([], [])


@with_database
def test_a_failure_waits_for_the_next_slot(place: Path, now: list[datetime], proofs: list[Path]) -> None:
    place.write_text("a file where the directory should be")
    for _ in range(2):
        look()
    assert [row.error_code for row in Backup.objects.all()] == ["no_directory"]
    assert proofs == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not ON_POSTGRES, reason="SQLite in memory has one connection")
def test_of_two_beats_one_makes_it(latest: Path, now: list[datetime], proofs: list[Path]) -> None:
    both = threading.Barrier(2)

    def run() -> None:
        both.wait()
        look()
        connection.close()

    beats = [threading.Thread(target=run) for _ in range(2)]
    for beat in beats:
        beat.start()
    for beat in beats:
        beat.join()
    assert slots() == [NIGHT]
    assert proofs == [latest]


@with_database
def test_an_operators_wish_needs_no_slot(latest: Path) -> None:
    make()
    assert (last().trigger, last().slot) == (Trigger.ADMIN, None)
    assert latest.exists()


@with_database
def test_a_backup_that_does_not_restore_is_loud(
    latest: Path, now: list[datetime], caplog: pytest.LogCaptureFixture
) -> None:
    making.make(Trigger.COMMAND)
    latest.write_bytes(latest.read_bytes()[:-9])
    now[0] = at(2026, 11, 21, 12)
    Backup.objects.update(slot=NIGHT)
    with caplog.at_level(logging.ERROR):
        look()
    assert last().proof == Proof.FAILED
    assert "damaged" in last().proof_detail
    assert "does not restore" in caplog.text
    look()
    assert caplog.text.count("does not restore") == 1  # until next week, or until there is another file


@with_database
def test_a_file_that_lies_on_another_machine_is_left_to_that_one(latest: Path, now: list[datetime]) -> None:
    making.make(Trigger.COMMAND)
    latest.unlink()
    Backup.objects.update(slot=NIGHT, host="another")
    look()
    assert (last().proof, last().verified_at) == (Proof.NONE, None)


IMPOSSIBLE = [
    ("backup_status", {"status": "perhaps", "finished_at": NIGHT}),
    ("backup_finished_when_not_running", {"status": Status.RUNNING, "finished_at": NIGHT}),
    ("backup_finished_when_not_running", {"status": Status.FAILED, "error_code": "x"}),
    ("backup_failed_says_why", {"status": Status.FAILED, "finished_at": NIGHT}),
    ("backup_failed_says_why", {"status": Status.RUNNING, "error_code": "x"}),
    ("backup_made_has_a_file", {"status": Status.OK, "finished_at": NIGHT}),
]


@with_database
@pytest.mark.parametrize(("name", "values"), IMPOSSIBLE)
def test_an_impossible_backup_is_refused(name: str, values: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        Backup.objects.create(started_at=NIGHT, trigger=Trigger.COMMAND, **values)


def test_every_constraint_is_tried_here() -> None:
    assert {name for name, _ in IMPOSSIBLE} == {constraint.name for constraint in Backup._meta.constraints}


def test_beat_looks_every_minute() -> None:
    assert django_settings.CELERY_BEAT_SCHEDULE["backups"]["task"] == look.name
