"""What beat sees to: the backup of the schedule, once however many beats run, and its proof once a week.

What makes and proves them is named, not imported: a worker looks each minute, and needs it once a day.
"""

import logging
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Min, Q
from django.utils import timezone
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from backup import webhook
from backup.errors import BackupError
from backup.models import Backup, Proof, Status, Trigger, this_host
from backup.programs import STOPPED, Stop, stopped
from notifier import erasure

log = logging.getLogger(__name__)

WEEK = timedelta(days=7)
HOPELESS = timedelta(hours=12)
"""After so long nobody verifies any more who said that he would."""


def look(stop: Stop = lambda: False) -> None:
    """Do what is due now. What fails is logged and reported, and comes again with the next slot."""
    erasure.forget_transient()
    webhook.tell_due(stop)
    slot = due(timezone.now())
    if slot is not None:
        try:
            import_string("backup.reporting.make_and_report")(Trigger.SCHEDULE, slot=slot, stop=stop)
        except BackupError:
            return  # told already
    if (row := _to_verify(timezone.now())) is not None:
        _verify(row, stop)


def due(now: datetime) -> datetime | None:
    """The slot that is to be served: the last one, also late, after the service was away. None: it is served, or older
    than the service."""
    if settings.BACKUP_SCHEDULE is None:
        return None
    slot: datetime = settings.BACKUP_SCHEDULE.last(now, ZoneInfo(settings.TIME_ZONE))
    if Backup.objects.filter(slot__range=(slot, now)).exists():  # a later one is that of a clock that was wrong
        return None
    installed = installed_at()
    return None if installed and slot < installed <= timezone.now() else slot


def installed_at() -> datetime | None:
    """When the table of the backups was made; None: nobody knows."""
    found: datetime | None = MigrationRecorder.Migration.objects.filter(app="backups").aggregate(Min("applied"))[
        "applied__min"
    ]
    return found


def _to_verify(now: datetime) -> Backup | None:
    """The latest backup, claimed for its weekly proof. None: it is proven, or another one is at it, or has its file."""
    proven = Q(proof__in=[Proof.OK, Proof.FAILED], verified_at__gte=now - WEEK)
    begun = Q(proof=Proof.RUNNING, verified_at__gte=now - HOPELESS)
    if settings.BACKUP_SCHEDULE is None or Backup.objects.filter(proven | begun).exists():
        return None
    row = Backup.objects.filter(status=Status.OK).order_by("-pk").first()
    if row is None or (row.host != this_host() and not Path(row.path).exists()):
        return None
    mine = Backup.objects.filter(pk=row.pk, proof=row.proof, verified_at=row.verified_at)
    return row if mine.update(proof=Proof.RUNNING, verified_at=now) else None


def _verify(row: Backup, stop: Stop) -> None:
    try:
        verdict = import_string("backup.verifying.verify")(Path(row.path), stop=stop)
    except BackupError as failure:
        error = failure
    else:
        if verdict.row is None:
            error = BackupError(
                "replaced", _("{path} is another file than the one that was made.").format(path=row.path)
            )
        elif verdict.row.pk == row.pk:
            return
        else:  # a newer one has taken its place meanwhile, and is proven now
            error = stopped()
    if error.code == STOPPED:
        Backup.objects.filter(pk=row.pk, proof=Proof.RUNNING).update(proof=Proof.NONE, verified_at=None)
        return
    row.proof, row.proof_detail, row.verified_at = Proof.FAILED, str(error), timezone.now()
    row.save(update_fields=["proof", "proof_detail", "verified_at"])
    log.error("The backup does not restore: %s", error, extra={"backup_id": row.pk, "code": error.code})
    import_string("backup.reporting.report_proof")(row)
