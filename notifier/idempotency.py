"""`Idempotency-Key`: the same key and the same body is the same request, through whichever door it comes again.

A key is a row that is unique in its organization and is written in the transaction of what it stands for: of twenty
parallel requests one stores, and the others find its notifications.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from notifier import retention
from notifier.models import IdempotencyKey, Notification, Organization

KEPT = timedelta(hours=24)

FORM = re.compile(r"[\x20-\x7e]{1,255}")
"""What a key looks like: printable ASCII."""


class KeyReusedError(Exception):
    """The key came with another body before."""


def fingerprint(body: Any) -> str:
    """The same for the same JSON, whatever its spacing and order of keys. Keyed, since bodies hold passwords."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    digest = hmac.new(settings.SECRET_KEY.encode(), canonical.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return digest.hexdigest()


def first_answer(organization: Organization, key: str, body: Any) -> list[Notification] | None:
    """The notifications that this key stands for. None: it is new. KeyReusedError where it came with another body."""
    known = IdempotencyKey.objects.filter(organization=organization, key=key, created_at__gt=Now() - KEPT).first()
    if known is None:
        return None
    if not hmac.compare_digest(known.fingerprint, fingerprint(body)):
        raise KeyReusedError
    # Without what nobody is told again: of a bulk by a template it would be 100 MB.
    rows = Notification.objects.select_related("recipient").defer("html", "forms").in_bulk(known.notification_ids)
    return [rows[pk] for pk in known.notification_ids if pk in rows]


def once(
    organization: Organization, key: str, body: Any, store: Callable[[], Sequence[Any]]
) -> tuple[Sequence[Any], bool]:
    """Store under this key. The second value says that somebody else did so first, and these are his rows."""
    for is_last in (False, False, True):
        try:
            return _stored(organization, key, body, store), False
        except IntegrityError:
            if is_last:
                raise
        answered = first_answer(organization, key, body)
        if answered is not None:
            return answered, True
        # The key has had its time; or a person was erased after they were looked up, and the second look says so.
        IdempotencyKey.objects.filter(organization=organization, key=key, created_at__lte=Now() - KEPT).delete()
    raise AssertionError  # never reached


def _stored(organization: Organization, key: str, body: Any, store: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    with transaction.atomic():
        row = IdempotencyKey.objects.create(organization=organization, key=key, fingerprint=fingerprint(body))
        rows = store()
        IdempotencyKey.objects.filter(pk=row.pk).update(notification_ids=[stored.pk for stored in rows])
    return rows


def forget() -> None:
    """Delete the keys that count no more."""
    retention.delete_in_batches(IdempotencyKey.objects.filter(created_at__lte=Now() - KEPT).order_by("created_at"))
