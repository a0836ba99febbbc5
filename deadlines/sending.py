"""From a digest to notifications: stored, so that the ledger carries them; or delivered at once and waited for."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date

from django.db import IntegrityError, transaction
from rest_framework.exceptions import APIException

from deadlines import digest
from deadlines.digest import Digest
from deadlines.models import DigestRun
from deadlines.recipients import NoRecipientsError, recipients_of
from deadlines.runs import Due
from notifier import delivery, intake
from notifier.models import Notification, Organization
from notifier.states import Status

log = logging.getLogger(__name__)

ACCEPTED = {Status.SENT, Status.WAITING, Status.DELIVERED, Status.ACKNOWLEDGED}


@dataclass
class Accepted:
    """What was stored for each recipient, and who was refused and why."""

    rows: dict[str, Notification] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def accept(told: Digest, recipients: Iterable[str], *, ring: bool) -> Accepted:
    """One notification for each recipient. One that is refused costs the others nothing."""
    context, accepted = digest.context_of(told), Accepted()
    for recipient in recipients:
        body = {
            "to": {"email": recipient},
            "template": digest.TEMPLATE,
            "context": context,
            "channels": ["email"],
            "reference": f"deadline-digest-{told.day.isoformat()}",
        }
        try:
            accepted.rows[recipient] = intake.accept(told.organization, body, ring=ring)
        except APIException as error:
            accepted.refused[recipient] = words_of(error)
    return accepted


def words_of(error: Exception) -> str:
    """An error in one line."""
    return _flat(error.detail) if isinstance(error, APIException) else str(error)


def _flat(detail: object) -> str:
    if isinstance(detail, dict):
        return "; ".join(f"{name}: {_flat(inner)}" for name, inner in detail.items())
    return " ".join(_flat(inner) for inner in detail) if isinstance(detail, list) else str(detail)


def deliver(accepted: Accepted) -> dict[str, str]:
    """Deliver the first round and return what failed: by recipient, the reason."""
    failed = dict(accepted.refused)
    delivered = delivery.first_round([row.pk for row in accepted.rows.values()])
    for recipient, row in accepted.rows.items():
        settled = delivered[row.pk]
        if settled.status not in ACCEPTED:
            last = settled.attempts.last()
            failed[recipient] = " ".join([last.code, last.detail]).strip() if last else settled.status
    return failed


def send_due(wanted: Iterable[Due], stop: Callable[[], bool] = lambda: False) -> None:
    """Serve each of these. One that fails is logged, and costs the others nothing."""
    for one in wanted:
        if stop():
            return
        try:
            _serve(one.organization_id, one.day)
        except Exception:
            log.exception("An organization's digest failed.", extra={"organization_id": one.organization_id})


def _serve(organization_id: int, day: date) -> None:
    """Accepted means served. The row says so within the same transaction, and of two beats one can write it."""
    organization = Organization.objects.filter(pk=organization_id).first()
    if organization is None:
        return  # deleted meanwhile
    extra = {"organization_id": organization_id}
    with transaction.atomic():
        try:
            with transaction.atomic():
                run = DigestRun.objects.create(organization=organization, date=day)
        except IntegrityError:
            return
        told = digest.collect(organization, day)
        if not told.has_news:
            return
        try:
            recipients = recipients_of(organization)
        except NoRecipientsError:
            log.warning("A digest has no recipients.", extra=extra)
            return
        accepted = accept(told, recipients, ring=True)
        if accepted.refused:
            log.warning("Recipients of a digest were refused.", extra={**extra, "count": len(accepted.refused)})
        run.mails = len(accepted.rows)
        run.save(update_fields=["mails"])
