"""The one way in: REST, Python and the command line all end here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError

from notifier import bell, errands, idempotency, ledger, webhook_secrets
from notifier.breaker import Breaker, key_of
from notifier.inputs import NotificationInput
from notifier.models import DEFAULT_SLUG, Attachment, Notification, Organization, Recipient
from notifier.outputs import masked_address, shown_step

Made = tuple[Notification, list[Attachment]]

MOST = 10_000
"""Notifications in one bulk."""

MOST_BYTES = 100 * 1024 * 1024
"""Files of all notifications of one bulk together."""


class InvalidNotificationError(ValueError):
    """The notification is refused; nothing was stored. `errors`: what is wrong, by field."""

    def __init__(self, errors: Any) -> None:
        super().__init__(str(errors))
        self.errors = errors


def accept(organization: Organization, body: Any, *, ring: bool = True) -> Notification:
    """Store what the body of `POST /api/notifications/` asks for, and ring once it is committed.

    ValidationError for a body that is refused; nothing is stored then. `ring=False`: the caller delivers it by himself.
    """
    form = NotificationInput(context={"organization": organization})
    return _surely_stored(lambda: [form.row(body)], ring=ring)[0]


def once(
    organization: Organization, key: str, body: Any, store: Callable[[], list[Notification]]
) -> tuple[list[Notification], bool]:
    """Store under an idempotency key, "" for none. The second value says that the key's first request did so before.

    `idempotency.KeyReusedError` where it came with another body then.
    """
    if not key:
        return store(), False
    known = idempotency.first_answer(organization, key, body)
    return (known, True) if known is not None else idempotency.once(organization, key, body, store)


def accept_many(organization: Organization, bodies: Sequence[Any]) -> list[Notification]:
    """Store all of these or none. ValidationError names the index: `notifications.3.user_id`."""
    return _surely_stored(lambda: _rows(organization, bodies), ring=True)


def _rows(organization: Organization, bodies: Sequence[Any]) -> list[Made]:
    # One form for all: making one takes longer than reading a body with it.
    form = NotificationInput(context={"organization": organization, "recipients": _recipients(organization, bodies)})
    wanted, errors, size = [], {}, 0
    for index, body in enumerate(bodies):
        try:
            wanted.append(form.row(body))
        except ValidationError as error:
            errors[str(index)] = error.detail
            continue
        size += sum(len(file.content) for file in wanted[-1][1])
        if size > MOST_BYTES:  # one content with a file and 10,000 users would fill memory and disk
            raise ValidationError(
                {"attachments": [_("The copies of the files are too large together.")]}, code="too_large"
            )
    if errors:
        raise ValidationError({"notifications": errors})
    return wanted


def _recipients(organization: Organization, bodies: Sequence[Any]) -> dict[int, Recipient]:
    """The users that a bulk names, by one query."""
    named = (body.get("user_id") for body in bodies if isinstance(body, Mapping))
    ids = {pk for pk in named if type(pk) is int and 0 < pk < 2**63}
    return Recipient.objects.filter(organization=organization).in_bulk(ids)


def _surely_stored(make: Callable[[], Sequence[Made]], *, ring: bool) -> list[Notification]:
    try:
        return _store(make(), ring=ring)
    except IntegrityError:  # a person was erased after they were looked up: the second look says so
        return _store(make(), ring=ring)


def _store(wanted: Sequence[Made], *, ring: bool) -> list[Notification]:
    rows, attachments = [], []
    for row, files in wanted:
        rows.append(row)
        for file in files:
            file.notification = row
        attachments += files
    for organization in {row.organization for row in rows if row.callback_url}:
        webhook_secrets.current(organization)  # made now, so that the client can ask for it before the first callback
    with transaction.atomic():
        ledger.accept(rows, attachments)
        if ring:
            bell.ring_after_commit([row.pk for row in rows])
    return rows


def send(
    *,
    organization: str | Organization = DEFAULT_SLUG,
    to: str | Mapping[str, Any] | None = None,
    idempotency_key: str = "",
    **body: Any,
) -> Notification:
    """Send from Python: `send(to="user@example.com", message="Hello")`.

    `to`: an e-mail address, or what the API's `to` takes; or `user_id=…`. Everything else is a field of
    `POST /api/notifications/`. Returns the stored notification (the first one, where `idempotency_key` was used
    before); InvalidNotificationError where it is refused.
    """
    owner = organization if isinstance(organization, Organization) else _named(organization)
    if to is not None:
        body["to"] = {"email": to} if isinstance(to, str) else dict(to)
    wanted = {name: value for name, value in body.items() if value is not None}
    if idempotency_key and not idempotency.FORM.fullmatch(idempotency_key):
        raise InvalidNotificationError({"idempotency_key": "It needs 1 to 255 printable ASCII characters."})
    try:
        rows, _replayed = once(owner, idempotency_key, wanted, lambda: [accept(owner, wanted)])
    except ValidationError as error:
        raise InvalidNotificationError(error.detail) from None
    except idempotency.KeyReusedError:
        raise InvalidNotificationError({"idempotency_key": "It came with another body before."}) from None
    if not rows:
        raise InvalidNotificationError({"idempotency_key": "The notification of this key was deleted."})
    return rows[0]


def _named(slug: str) -> Organization:
    try:
        return Organization.objects.get(slug=slug)
    except Organization.DoesNotExist:
        raise InvalidNotificationError({"organization": f"There is no organization {slug!r}."}) from None


def plan(organization: Organization, body: Any) -> list[dict[str, Any]]:
    """What would become of this body now, step by step; stores nothing. ValidationError for a body that is refused."""
    row, _files = NotificationInput(context={"organization": organization}).row(body)
    breaker = Breaker()
    return [{**shown_step(step), **_foretold(row, step["channel"], breaker)} for step in row.steps]


def _foretold(row: Notification, channel: str, breaker: Breaker) -> dict[str, Any]:
    """Whether this step would run, through which account and where to; else the code and detail of its skip."""
    way = errands.way_of(row, channel)
    if isinstance(way, errands.NoWay):
        return {"runs": False, "to": None, "account": None, "code": way.code, "detail": way.detail}
    is_open = breaker.is_open(key_of(channel, way.account))
    told = {"to": masked_address(channel, way.address), "account": way.account.origin}
    if is_open:
        return {"runs": False, **told, "code": "circuit_open", "detail": errands.CIRCUIT_OPEN}
    return {"runs": True, **told, "code": None, "detail": None}
