"""The one way in: REST, Python and the command line all end here."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from rest_framework.exceptions import ValidationError

from notifier import bell, ledger
from notifier.inputs import NotificationInput
from notifier.models import DEFAULT_SLUG, Notification, Organization, Recipient

MOST = 10_000
"""Notifications in one bulk."""


class InvalidNotificationError(ValueError):
    """The notification is refused; nothing was stored. `errors`: what is wrong, by field."""

    def __init__(self, errors: Any) -> None:
        super().__init__(str(errors))
        self.errors = errors


def accept(organization: Organization, body: Any, *, ring: bool = True) -> Notification:
    """Store what the body of `POST /api/notifications/` asks for, and ring once it is committed.

    ValidationError for a body that is refused; nothing is stored then. `ring=False`: the caller delivers it by himself.
    """
    wanted = NotificationInput(data=body, context={"organization": organization})
    wanted.is_valid(raise_exception=True)
    return _store([wanted], ring=ring)[0]


def accept_many(organization: Organization, bodies: Sequence[Any]) -> list[Notification]:
    """Store all of these or none. ValidationError names the index: `notifications.3.user_id`."""
    context = {"organization": organization, "recipients": _recipients(organization, bodies)}
    wanted, errors = [], {}
    for index, body in enumerate(bodies):
        one = NotificationInput(data=body, context=context)
        if one.is_valid():
            wanted.append(one)
        else:
            errors[str(index)] = one.errors
    if errors:
        raise ValidationError({"notifications": errors})
    return _store(wanted, ring=True)


def _recipients(organization: Organization, bodies: Sequence[Any]) -> dict[int, Recipient]:
    """The users that a bulk names, by one query."""
    ids = {body.get("user_id") for body in bodies if isinstance(body, Mapping)}
    return Recipient.objects.filter(organization=organization).in_bulk(
        [pk for pk in ids if type(pk) is int and 0 < pk < 2**63]
    )


def _store(wanted: Sequence[NotificationInput], *, ring: bool) -> list[Notification]:
    rows, attachments = [], []
    for one in wanted:
        row, files = one.to_row()
        rows.append(row)
        for file in files:
            file.notification = row
        attachments += files
    with transaction.atomic():
        ledger.accept(rows, attachments)
        if ring:
            bell.ring_after_commit([row.pk for row in rows])
    return rows


def send(
    *, organization: str | Organization = DEFAULT_SLUG, to: str | Mapping[str, Any] | None = None, **body: Any
) -> Notification:
    """Send from Python: `send(to="user@example.com", message="Hello")`.

    `to`: an e-mail address, or what the API's `to` takes; or `user_id=…`. Everything else is a field of
    `POST /api/notifications/`. Returns the stored notification; InvalidNotificationError where it is refused.
    """
    if isinstance(organization, str):
        organization = Organization.objects.get(slug=organization)
    if to is not None:
        body["to"] = {"email": to} if isinstance(to, str) else dict(to)
    try:
        return accept(organization, {name: value for name, value in body.items() if value is not None})
    except ValidationError as error:
        raise InvalidNotificationError(error.detail) from None
