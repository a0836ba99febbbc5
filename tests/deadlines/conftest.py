"""What the tests of deadlines share."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from django.utils import translation

from deadlines.models import Deadline, DigestSettings, Kind
from notifier.models import EmailSettings, Membership, Organization

TODAY = date(2026, 11, 21)


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Whatever a test before left."""
    with translation.override("en"):
        yield


@pytest.fixture
def other(db: None) -> Organization:
    """Another organization."""
    return Organization.objects.create(slug="other", name="Other")


def deadline(organization: Organization, person: str, due: date | int | None = None, **fields: Any) -> Deadline:
    """One of that person; a number means so many days from `TODAY`."""
    when = TODAY + timedelta(days=due) if isinstance(due, int) else due
    return Deadline.objects.create(organization=organization, person=person, due_date=when, **fields)


def people(organization: Organization, count: int, due: int | None = None, name: str = "Person") -> None:
    """So many of them, with the same day."""
    when = None if due is None else TODAY + timedelta(days=due)
    rows = [
        Deadline(organization=organization, person=f"{name} {due} {number:05}", due_date=when, kind=Kind.MEDICAL_EXAM)
        for number in range(count)
    ]
    Deadline.objects.bulk_create(rows, batch_size=1000)


def recipients(organization: Organization, *addresses: str, **fields: Any) -> EmailSettings:
    """Its e-mail settings, with these recipients."""
    values = {"host": "smtp.example.com", "recipients": "\n".join(addresses), **fields}
    return EmailSettings.objects.create(organization=organization, **values)


def administrator(django_user_model: Any, organization: Organization, name: str, **fields: Any) -> Any:
    """An operator who administers it."""
    user = django_user_model.objects.create_user(name, f"{name}@example.com", "pass", is_staff=True, **fields)
    Membership.objects.create(user=user, organization=organization, role=Membership.Role.ADMINISTRATOR)
    return user


def calendar(organization: Organization, **fields: Any) -> DigestSettings:
    """Its digest settings."""
    return DigestSettings.objects.create(organization=organization, **fields)
