"""The daily digest: at the organization's hour, once a day however many beats run."""

import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from deadlines import digest, runs, sending
from deadlines.models import Deadline, DigestRun
from deadlines.tasks import send_digests
from notifier.models import Notification, Organization
from notifier.tasks import purge
from tests.conftest import default_organization
from tests.deadlines.conftest import TODAY, administrator, calendar, deadline, people, recipients


def at(*parts: int) -> datetime:
    """A moment in UTC."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


MORNING = at(2026, 11, 21, 9)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The time, which a test may change."""
    moments = [MORNING]
    monkeypatch.setattr(timezone, "now", lambda: moments[0])
    return moments


def mails() -> list[str]:
    """Who was written to, in order."""
    return [row.to["email"] for row in Notification.objects.order_by("id") if row.to]


def days(organization: Organization) -> list[date]:
    """The days on which it was served."""
    return list(DigestRun.objects.filter(organization=organization).order_by("date").values_list("date", flat=True))


def test_an_organization_is_served_once_a_day(organization: Organization, now: list[datetime]) -> None:
    recipients(organization, "a@example.com", "b@example.com")
    deadline(organization, "Ada", -1)
    now[0] = at(2026, 11, 21, 7, 59)
    send_digests()
    assert mails() == []
    for hour in (8, 8, 9, 23):
        now[0] = at(2026, 11, 21, hour)
        send_digests()
    assert mails() == ["a@example.com", "b@example.com"]
    assert DigestRun.objects.get().mails == 2
    now[0] = at(2026, 11, 22, 8)
    send_digests()
    assert len(mails()) == 4
    assert days(organization) == [date(2026, 11, 21), date(2026, 11, 22)]


def test_the_mail_waits_in_the_ledger_for_the_e_mail_channel_alone(
    organization: Organization, now: list[datetime]
) -> None:
    recipients(organization, "a@example.com")
    deadline(organization, "Ada", -1)
    send_digests()
    row = Notification.objects.get()
    assert (row.status, [step["channel"] for step in row.steps], row.organization) == (
        "queued",
        ["email"],
        organization,
    )
    assert row.reference == "deadline-digest-2026-11-21"
    assert "Ada" in row.message
    assert "<html" in row.html


@pytest.mark.parametrize(
    ("zone", "hour", "moment", "day"),
    [
        ("Europe/Moscow", 8, at(2026, 11, 21, 4, 59), None),
        ("Europe/Moscow", 8, at(2026, 11, 21, 5), date(2026, 11, 21)),
        ("Pacific/Auckland", 8, at(2026, 11, 20, 19), date(2026, 11, 21)),
        ("America/Los_Angeles", 8, at(2026, 11, 21, 15, 59), None),
        ("America/Los_Angeles", 20, at(2026, 11, 22, 4), date(2026, 11, 21)),
        ("Asia/Kathmandu", 0, at(2026, 11, 20, 18, 15), date(2026, 11, 21)),
        # In Berlin 2:00 to 3:00 does not exist on 29 March 2026: it is three at once.
        ("Europe/Berlin", 2, at(2026, 3, 29, 0, 59), None),
        ("Europe/Berlin", 2, at(2026, 3, 29, 1), date(2026, 3, 29)),
        ("Europe/Berlin", 8, at(2026, 3, 28, 6, 59), None),
        ("Europe/Berlin", 8, at(2026, 3, 29, 6), date(2026, 3, 29)),
        # In Cairo midnight itself does not exist on 24 April 2026.
        ("Africa/Cairo", 0, at(2026, 4, 23, 22), date(2026, 4, 24)),
    ],
)
def test_the_hour_is_the_organizations(
    organization: Organization, zone: str, hour: int, moment: datetime, day: date | None
) -> None:
    calendar(organization, timezone=zone, hour=hour)
    deadline(organization, "Ada", -1)
    assert runs.due(moment) == ([runs.Due(organization.pk, day)] if day else [])


def test_an_hour_that_comes_twice_is_served_once(organization: Organization, now: list[datetime]) -> None:
    calendar(organization, timezone="Europe/Berlin", hour=2)
    recipients(organization, "a@example.com")
    deadline(organization, "Ada", -1000)
    for minute in range(0, 240, 5):  # from 1:00 to 4:00, with 2:00 to 3:00 twice
        now[0] = at(2026, 10, 24, 23) + timedelta(minutes=minute)
        send_digests()
    assert len(mails()) == 1
    assert days(organization) == [date(2026, 10, 25)]


@pytest.mark.parametrize(("month", "day"), [(3, 1), (10, 25)], ids=["summer time begins", "summer time ends"])
def test_so_many_days_are_so_many_digests(organization: Organization, month: int, day: int) -> None:
    calendar(organization, timezone="America/New_York", hour=2)
    deadline(organization, "Ada", -1)
    moment, found = at(2026, month, day, 12), []
    for _ in range(14 * 16):  # two weeks
        for one in runs.due(moment):
            DigestRun.objects.create(organization=organization, date=one.day)
            found.append(one.day)
        moment += timedelta(minutes=90)
    assert found == [date(2026, month, day) + timedelta(days=number) for number in range(15)]


@pytest.mark.parametrize("what", ["switched off", "no deadlines", "nothing to do"])
def test_who_gets_none(organization: Organization, now: list[datetime], what: str) -> None:
    recipients(organization, "a@example.com")
    if what == "switched off":
        calendar(organization, is_active=False)
    if what != "no deadlines":
        deadline(organization, "Ada", 300 if what == "nothing to do" else -1)
    send_digests()
    assert mails() == []
    assert len(days(organization)) == (what == "nothing to do")


def test_one_that_fails_costs_the_others_nothing(
    organization: Organization, other: Organization, now: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner in (organization, other):
        recipients(owner, f"{owner.slug}@example.com")
        deadline(owner, "Ada", -1)
    collect = digest.collect

    def broken(owner: Organization, *rest: Any) -> Any:
        if owner == organization:
            raise RuntimeError
        return collect(owner, *rest)

    monkeypatch.setattr(digest, "collect", broken)
    send_digests()
    assert mails() == ["other@example.com"]
    assert days(organization) == []  # and is tried again
    monkeypatch.undo()
    monkeypatch.setattr(timezone, "now", lambda: MORNING)
    send_digests()
    assert mails() == ["other@example.com", "default@example.com"]


def test_a_refused_recipient_costs_the_others_nothing(organization: Organization, now: list[datetime]) -> None:
    recipients(organization, "nobody", "a@example.com")
    deadline(organization, "Ada", -1)
    send_digests()
    assert mails() == ["a@example.com"]
    assert DigestRun.objects.get().mails == 1


def test_without_recipients_the_day_is_over(organization: Organization, now: list[datetime]) -> None:
    deadline(organization, "Ada", -1)
    send_digests()
    assert (mails(), DigestRun.objects.get().mails) == ([], 0)


def test_administrators_get_it_where_nobody_is_named(
    organization: Organization, other: Organization, now: list[datetime], django_user_model: Any
) -> None:
    administrator(django_user_model, organization, "ann")
    administrator(django_user_model, organization, "gone", is_active=False)
    administrator(django_user_model, other, "stranger")
    recipients(organization, "ignored@example.com", is_active=False)
    deadline(organization, "Ada", -1)
    send_digests()
    assert mails() == ["ann@example.com"]


def test_a_beat_without_work_asks_two_questions(
    organization: Organization, now: list[datetime], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    others = [Organization(slug=f"o{number}", name="x") for number in range(50)]
    for one in Organization.objects.bulk_create(others):
        deadline(one, "Ada", -1)
        DigestRun.objects.create(organization=one, date=TODAY)
    people(organization, 500, -1)
    DigestRun.objects.create(organization=organization, date=TODAY)
    with django_assert_num_queries(2):
        send_digests()


@pytest.mark.django_db(transaction=True)
def test_two_beats_at_the_same_moment_send_once(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    organization = default_organization()
    recipients(organization, "a@example.com", "b@example.com")
    deadline(organization, "Ada", -1)
    due = runs.due(MORNING)
    together = threading.Barrier(4)

    def beat() -> None:
        together.wait(60)
        sending.send_due(due)
        connection.close()

    threads = [threading.Thread(target=beat) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert sorted(mails()) == ["a@example.com", "b@example.com"]
    assert days(organization) == [TODAY]


def test_the_schedule_knows_it(settings: Settings) -> None:
    entry = settings.CELERY_BEAT_SCHEDULE["digests"]
    assert entry["task"] == send_digests.name
    assert 0 < entry["schedule"] <= 600


def test_old_runs_are_deleted_with_the_rest(organization: Organization, settings: Settings) -> None:
    for age in (1, 100):
        created = timezone.now() - timedelta(days=age)
        DigestRun.objects.create(organization=organization, date=created.date(), created_at=created)
    purge()
    assert days(organization) == [(timezone.now() - timedelta(days=1)).date()]
    assert not Deadline.objects.exists()
