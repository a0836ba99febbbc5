"""Programs that want to know of backups: one URL, signed as Standard Webhooks describe, tried for a day.

The secret is that of the default organization's callbacks. What is due stands in the backup's row.
"""

import json
import logging
import time
from datetime import timedelta
from functools import cache

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from backup.models import Backup
from backup.programs import Stop
from channels.errors import ChannelError, MisconfiguredError
from channels.web import Body, WebClient
from notifier import callbacks, webhook_secrets
from notifier.models import DEFAULT_SLUG, Organization

log = logging.getLogger(__name__)


@cache
def _client() -> WebClient:
    return WebClient()


def announce(row: Backup, event: str) -> None:
    """Tell of `event` at once; where that fails beat tells again later."""
    if settings.BACKUP_WEBHOOK_URL:
        row.webhook_event, row.webhook_due_at, row.webhook_tries = event, timezone.now(), 0
        row.save(update_fields=["webhook_event", "webhook_due_at", "webhook_tries"])
        _tell(row)


def tell_due(stop: Stop = lambda: False) -> None:
    """Tell what was not taken before, the oldest first."""
    if not settings.BACKUP_WEBHOOK_URL:
        return
    for row in Backup.objects.filter(webhook_due_at__lte=timezone.now()).order_by("pk"):
        if stop():
            return
        _tell(row)


def _tell(row: Backup) -> None:
    """Once. Of two who want to, one has the row."""
    pause = timedelta(seconds=callbacks.DELAYS[min(row.webhook_tries, len(callbacks.DELAYS) - 1)])
    mine = Backup.objects.filter(pk=row.pk, webhook_due_at=row.webhook_due_at, webhook_tries=row.webhook_tries)
    if not mine.update(webhook_due_at=timezone.now() + pause, webhook_tries=F("webhook_tries") + 1):
        return
    if timezone.now() - (row.verified_at or row.finished_at or row.started_at) > callbacks.GIVE_UP:
        log.warning("The webhook for backups was given up after a day.", extra={"backup_id": row.pk})
        why = ""
    else:
        why = _posted(row)
    if not why:
        Backup.objects.filter(pk=row.pk, webhook_event=row.webhook_event).update(webhook_due_at=None)
    else:
        log.warning("The webhook for backups was not taken: %s.", why, extra={"backup_id": row.pk})


def _posted(row: Backup) -> str:
    """Why it was not taken; "" where it was."""
    body = json.dumps({"type": row.webhook_event, "timestamp": timezone.now().isoformat(), "data": told(row)}).encode()
    # With the moment: a proof may fail every week, and a restored database counts its rows anew.
    moment = row.verified_at or row.finished_at or row.started_at
    key, timestamp = f"backup_{row.pk}_{row.webhook_event}_{int(moment.timestamp())}", int(time.time())
    keys = webhook_secrets.signing(Organization.objects.get(slug=DEFAULT_SLUG))
    headers = {
        "webhook-id": key,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(callbacks.signature(secret, key, timestamp, body) for secret in keys),
    }
    packed = Body(body, "application/json")
    try:
        reply = _client().post(
            settings.BACKUP_WEBHOOK_URL, packed, service="webhook", timeout=callbacks.TIMEOUT, headers=headers
        )
    except (ChannelError, MisconfiguredError) as error:
        return error.code
    return "" if reply.ok or reply.status == callbacks.GONE else f"HTTP {reply.status}"


def told(row: Backup) -> dict[str, object]:
    """What programs learn of a backup."""
    duration = row.duration
    return {
        "id": row.pk,
        "status": row.status,
        "started_at": row.started_at.isoformat(),
        "finished_at": row.finished_at.isoformat() if row.finished_at else None,
        "duration_seconds": duration.total_seconds() if duration is not None else None,
        "trigger": row.trigger,
        "host": row.host,
        "path": row.path,
        "size": row.size,
        "sha256": row.sha256,
        "tables": len(row.tables),
        "rows": row.rows,
        "error_code": row.error_code,
        "error": row.error,
        "verified": row.proof or None,
        "verified_detail": row.proof_detail,
    }
