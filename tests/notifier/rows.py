"""Rows of the ledger as the tests need them: stored without a door, changed behind the ledger's back."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db.models.functions import Now

from notifier.models import DEFAULT_SLUG, Event, Notification, Organization, Recipient
from notifier.states import FINAL, Status

EVERYWHERE = {"email": "ann@example.com", "phone": "+12025550123", "telegram_chat_id": "4711"}
FAR = timedelta(days=1)


def organization() -> Organization:
    """The default one, made again where a test's flush took it."""
    return Organization.objects.get_or_create(slug=DEFAULT_SLUG, defaults={"name": "Default"})[0]


def stored(*channels: str, **fields: Any) -> Notification:
    """A notification that is due now, to a person with every address, along these channels (default: all three)."""
    names = channels or ("email", "sms", "telegram")
    values: dict[str, Any] = {
        "organization": fields.pop("organization", None) or organization(),
        "subject": "Hello",
        "message": "Hello, Ann",
        "steps": [{"channel": name} for name in names],
        "expires_at": Now() + FAR,
    }
    if "recipient" not in fields:
        values["to"] = EVERYWHERE
    row = Notification(**{**values, **fields})
    row.save(force_insert=True)
    row.refresh_from_db()
    return row


def person(**fields: Any) -> Recipient:
    """A stored user with every address."""
    return Recipient.objects.create(**{"organization": organization(), **EVERYWHERE, **fields})


def change(row: Notification, **values: Any) -> None:
    """Write these columns, whatever the ledger would say."""
    Notification.objects.filter(pk=row.pk).update(**values)
    row.refresh_from_db()


def in_state(status: Status) -> dict[str, Any]:
    """The columns of a row in this status, as the constraints ask for them."""
    return {
        "status": status,
        "due_at": Now() if status in {Status.QUEUED, Status.WAITING} else None,
        "claim_token": uuid4() if status is Status.SENDING else None,
        "lease_until": Now() + timedelta(seconds=30) if status is Status.SENDING else None,
        "finished_at": Now() if status in FINAL else None,
        "failure_code": "rejected" if status is Status.FAILED else "",
    }


def let_lease_lapse(row: Notification) -> None:
    """As if its worker had been silent for longer than a lease."""
    change(row, lease_until=Now() - timedelta(milliseconds=1))


def make_due(row: Notification) -> None:
    """As if the time until its next round had passed."""
    change(row, due_at=Now())


def story(row: Notification) -> list[tuple[str, str]]:
    """Its attempts in order: channel, and code or outcome."""
    return [(attempt.channel, attempt.code or attempt.outcome) for attempt in row.attempts.all()]


def event(row: Notification, status: str = "sent", organization: Organization | None = None) -> int:
    """An event as if its status had become this; its id."""
    owner = row.organization_id if organization is None else organization.pk
    return Event.objects.create(organization_id=owner, notification_id=row.pk, status=status).pk
