"""How rows end whose time is over, and what a forgotten person leaves behind outside the ledger.

Beside the ledger's own rows there is little that grows: it is named here, or in the room that it belongs to.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from notifier.models import ApiKey, Recipient

BATCH = 500

AGED = (
    ("admin", "LogEntry", "action_time"),
    ("axes", "AccessAttempt", "attempt_time"),
    ("axes", "AccessFailureLog", "attempt_time"),
    ("axes", "AccessLog", "attempt_time"),
    ("backups", "Backup", "started_at"),
    ("deadlines", "DigestRun", "created_at"),
    ("deadlines", "ImportDraft", "created_at"),
)
"""Tables of other applications, as far as these are installed: model, and when its row was written."""


def delete_in_batches(rows: models.QuerySet[Any], batch: int = BATCH) -> int:
    """Delete these rows, each batch by itself: no lock is held for long, and what is done stays done."""
    deleted = 0
    while True:
        ids = list(rows.values_list("pk", flat=True)[:batch])
        deleted += rows.filter(pk__in=ids).delete()[0] if ids else 0
        if len(ids) < batch:
            return deleted


def purge(before: timedelta, *, batch: int = BATCH) -> int:
    """Delete what operators and programs left: rows older than `before`, keys that ended so long ago, sessions that
    are over. Returns how many."""
    return sum(delete_in_batches(rows, batch) for rows in _old(before))


def _old(before: timedelta) -> Iterator[models.QuerySet[Any]]:
    limit = Now() - before
    yield ApiKey.objects.filter(Q(revoked_at__lte=limit) | Q(expires_at__lte=limit)).order_by()
    yield apps.get_model("sessions", "Session")._default_manager.filter(expire_date__lte=Now())
    for label, name, field in AGED:
        if label in apps.app_configs:
            model = apps.get_model(label, name)
            own_limit = Now() - min(before, getattr(model, "KEPT", before))
            yield model._default_manager.filter(**{f"{field}__lte": own_limit}).order_by()


def forget(recipient: Recipient) -> None:
    """Take a person's name out of the operators' history; that something was done stays on record."""
    theirs = LogEntry.objects.filter(
        content_type__app_label="notifier", content_type__model="recipient", object_id=str(recipient.pk)
    )
    theirs.update(object_repr=f"#{recipient.pk}", change_message="")
