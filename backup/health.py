"""How it stands with the backups, for those who watch the service."""

from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from backup import duty
from backup.errors import BusyError
from backup.models import Backup, Proof, Status
from notifier.states import Status as MailStatus

PREFIX = "notifier_backup_"
_UNSENT = {MailStatus.FAILED, MailStatus.EXPIRED}
LATE = timedelta(minutes=15)
"""Beat asks each minute; a worker may be restarted."""


def note() -> str:
    """`ok`, `none yet`, or what is wrong: for `/health/ready`, which everybody may ask, so without a detail."""
    now = timezone.now()
    if duty.due(now - LATE) is not None:
        return "overdue: nobody makes the one of the schedule"
    begun = _tries().first()
    if begun and begun.status == Status.RUNNING and begun.started_at < now - settings.DB_BACKUP_TIMEOUT - LATE:
        return "the last one does not end"
    last = _last_ended()
    if last is None:
        return "none yet"
    if last.status == Status.FAILED:
        return f"the last one failed ({last.error_code})"
    if last.notification and last.mail_status in _UNSENT:
        return f"the mail of the last one: {last.notification.failure_code or last.mail_status}"
    proven = _last_proven()
    return "the last one that was tried does not restore" if proven and proven.proof == Proof.FAILED else "ok"


def figures() -> dict[str, float]:
    """What is measured, by the names of metrics; what is not known yet is left out."""
    found: dict[str, float] = {}
    last = _last_ended()
    if last is not None:
        found["last_ok"] = float(last.status == Status.OK)
    made = Backup.objects.filter(status=Status.OK).order_by("-pk").first()
    if made is not None and made.finished_at and made.duration is not None:
        found["last_success_timestamp_seconds"] = made.finished_at.timestamp()
        found["size_bytes"] = float(made.size or 0)
        found["duration_seconds"] = made.duration.total_seconds()
    proven = _last_proven()
    if proven is not None and proven.verified_at:
        found["verified_ok"] = float(proven.proof == Proof.OK)
        found["verified_timestamp_seconds"] = proven.verified_at.timestamp()
    return {f"{PREFIX}{name}": value for name, value in found.items()}


def _tries() -> QuerySet[Backup]:
    """The newest first. One that found another at it says nothing."""
    return Backup.objects.exclude(error_code=BusyError.CODE).select_related("notification").order_by("-pk")


def _last_ended() -> Backup | None:
    return _tries().exclude(status=Status.RUNNING).first()


def _last_proven() -> Backup | None:
    return Backup.objects.filter(proof__in=[Proof.OK, Proof.FAILED]).order_by("-verified_at").first()
