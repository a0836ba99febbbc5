"""Orders and calls for a manager: notifications of two templates, as the people see them who look after them."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from uuid import uuid4

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from notifier import bell, idempotency, ledger
from notifier.insertion import Stored
from notifier.models import Attachment, Attempt, Notification
from notifier.rendering import SECRETS
from notifier.states import Outcome, Status


class State(StrEnum):
    """What became of it, in three words."""

    SENT = "SENT"
    FAILED = "FAILED"
    QUEUED = "QUEUED"


STATUSES: dict[State, Sequence[Status]] = {
    State.SENT: (Status.SENT, Status.WAITING, Status.DELIVERED, Status.ACKNOWLEDGED),
    State.FAILED: (Status.FAILED, Status.EXPIRED, Status.CANCELLED),
    State.QUEUED: (Status.QUEUED, Status.SENDING),
}
_STATES = {status: state for state, statuses in STATUSES.items() for status in statuses}

_COPIED = ("organization_id", "recipient_id", "to", "subject", "message", "html", "template", "forms", "steps")
_COPIED_TOO = ("priority", "on_unknown", "reference", "metadata", "test")


class NotAgainError(Exception):
    """It cannot be sent again; the text says why."""


def state_of(row: Notification) -> State:
    """What became of it."""
    return _STATES[Status(row.status)]


def error_of(row: Notification, attempts: Iterable[Attempt]) -> str:
    """What went wrong, "" where nothing did: of what was tried at last, else of what was left out at last."""
    if state_of(row) is State.SENT:
        return ""
    wrong = [attempt for attempt in attempts if attempt.outcome != Outcome.ACCEPTED]
    tried = [attempt for attempt in wrong if attempt.outcome != Outcome.SKIPPED]
    last = (tried or wrong)[-1:]
    told = " ".join(filter(None, (last[0].code, last[0].detail))) if last else ""
    return told or (str(row.status) if state_of(row) is State.FAILED else "")


def is_sent_anew(row: Notification) -> bool:
    """Whether sending it again makes another notification. A failed one goes on as itself."""
    return row.status != Status.FAILED


def check(row: Notification) -> None:
    """NotAgainError where it cannot be sent again."""
    if state_of(row) is State.QUEUED:
        raise NotAgainError(_("It is on its way already."))
    if row.own_account:
        raise NotAgainError(_("It came with an SMTP account of its own, whose password is not kept."))
    if row.forms and SECRETS in row.forms:
        raise NotAgainError(_("Its secret values are not kept."))
    if row.recipient_id is None and not row.to:
        raise NotAgainError(_("The person was erased."))


def send_again(row: Notification, asked: str) -> int:
    """A failed one is tried once more; of any other a copy is sent. Returns the id of what is on its way.

    `asked`: names this wish. One that comes twice, by a double click, is done once.
    """
    made, _is_known = idempotency.once(row.organization, f"again-{row.pk}-{asked}", None, lambda: [_send_again(row)])
    if not made:
        raise NotAgainError(_("It was sent again, and deleted since."))
    return int(made[0].pk)


def _send_again(row: Notification) -> Stored:
    check(row)
    if is_sent_anew(row):
        stored = _copy(row)
    elif ledger.retry(row, None):
        stored = Stored(row.pk)
    else:
        raise NotAgainError(_("It is on its way already."))
    bell.ring_after_commit([stored.pk])
    return stored


def _copy(row: Notification) -> Stored:
    columns = {name: getattr(row, name) for name in (*_COPIED, *_COPIED_TOO)}
    columns |= {"key": uuid4(), "expires_at": timezone.now() + settings.NOTIFICATION_TTL}
    files = [
        Attachment(filename=file.filename, content_type=file.content_type, content=bytes(file.content))
        for file in Attachment.objects.filter(notification_id=row.pk).order_by("pk")
    ]
    return ledger.accept([columns], [files])[0]
