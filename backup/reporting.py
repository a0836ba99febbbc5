"""Who is told of a backup, made or failed: a webhook; and people by mail, through the ledger like any notification.

What takes notifications in and what encrypts are loaded when there is a mail: a worker needs them once a day.
"""

import importlib
import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import override
from rich.filesize import decimal

from backup import making, webhook
from backup.errors import of_a_file
from backup.making import shown
from backup.models import Backup, Status, Trigger
from backup.programs import Stop
from notifier.models import DEFAULT_SLUG, Organization, TransientAttachment

log = logging.getLogger(__name__)

MEGABYTE = 1_000_000


class Enclosed(NamedTuple):
    """The file as it is mailed."""

    name: str
    content_type: str
    content: bytes


def make_and_report(trigger: Trigger, *, slot: datetime | None = None, stop: Stop = lambda: False) -> Backup | None:
    """`making.make`, and whoever wants to know is told."""
    return making.make(trigger, slot=slot, stop=stop, report=report)


def report(row: Backup) -> None:
    """Tell of a backup that was made or failed, as far as somebody wants to know."""
    _tell_programs(row, "backup.made" if row.status == Status.OK else "backup.failed")
    if settings.EMAIL_BACKUP_ENABLED:
        with override(settings.LANGUAGE_CODE):
            enclosed, note = _enclosed(row) if row.status == Status.OK else (None, "")
            context = _context(row, error=row.error, note=note)
            context["attached"] = enclosed is not None
            if enclosed:
                context["encrypted"] = bool(settings.BACKUP_PUBLIC_KEY)
            _send(row, context, enclosed)


def report_proof(row: Backup) -> None:
    """Tell that a backup does not restore."""
    _tell_programs(row, "backup.unproven")
    if settings.EMAIL_BACKUP_ENABLED:
        with override(settings.LANGUAGE_CODE):
            error = _("The backup was tried, and does not restore: {reason}").format(reason=row.proof_detail)
            _send(row, {**_context(row, error=error, note=""), "status": "failed", "attached": False}, None)


def _tell_programs(row: Backup, event: str) -> None:
    """What is wrong there keeps no mail from leaving."""
    try:
        webhook.announce(row, event)
    except Exception:
        log.exception("The webhook for backups could not be told.", extra={"backup_id": row.pk})


def _send(row: Backup, context: Mapping[str, Any], enclosed: Enclosed | None) -> None:
    """One notification for each address, each with its file; the first one is the row's."""
    intake = importlib.import_module("notifier.intake")
    moment = timezone.localtime(row.started_at)
    for address in settings.EMAIL_BACKUP_RECIPIENT:
        body = {
            "to": {"email": address},
            "channels": ["email"],
            "template": "backup_report",
            "context": context,
            "subject": f"{settings.EMAIL_BACKUP_SUBJECT_PREFIX} - {moment:%Y-%m-%d %H:%M}",
            "reference": f"backup-{row.pk}",
        }
        with transaction.atomic():  # no worker sees the one without the other
            mail = intake.accept(Organization.objects.get(slug=DEFAULT_SLUG), body)
            if enclosed:
                TransientAttachment.objects.create(
                    notification_id=mail.pk,
                    filename=enclosed.name,
                    content_type=enclosed.content_type,
                    content=enclosed.content,
                )
            if row.notification_id is None:
                row.notification_id, row.attached = mail.pk, enclosed is not None
                row.encrypted = bool(enclosed and settings.BACKUP_PUBLIC_KEY)
                row.save(update_fields=["notification", "attached", "encrypted"])


def _context(row: Backup, *, error: str, note: str) -> dict[str, Any]:
    """What the template shows."""
    told: dict[str, Any] = {
        "status": "ok" if row.status == Status.OK else "failed",
        "database": Path(str(connection.settings_dict["NAME"])).name[:200] or connection.vendor,
        "started_at": f"{timezone.localtime(row.started_at):%Y-%m-%d %H:%M %Z}",
        "duration": shown(row.duration),
        "path": f"{row.host}: {row.path}"[:1000],
    }
    if row.status == Status.OK:
        told |= {"size": decimal(row.size or 0), "sha256": row.sha256, "tables": len(row.tables), "rows": row.rows}
    return {**told, **{name: text[:1000] for name, text in (("error", error), ("note", note)) if text}}


def _enclosed(row: Backup) -> tuple[Enclosed | None, str]:
    """The file, encrypted where a key is set. None: it is not to be mailed, and the text says why."""
    limit, path = settings.BACKUP_MAIL_LIMIT_MB, Path(row.path)
    told = _("It is larger than the {limit} MB that are sent by mail.").format(limit=limit)
    if (row.size or 0) > limit * MEGABYTE:  # what is encrypted is never smaller
        return None, told
    try:
        content = path.read_bytes()
    except OSError as error:
        return None, str(of_a_file(error, path))
    name, content_type = path.name, "application/gzip"
    if settings.BACKUP_PUBLIC_KEY:
        age = importlib.import_module("pyrage")
        content = age.encrypt(content, [age.x25519.Recipient.from_str(settings.BACKUP_PUBLIC_KEY)])
        name, content_type = f"{name}.age", "application/octet-stream"
    return (None, told) if len(content) > limit * MEGABYTE else (Enclosed(name, content_type, content), "")
