"""Status callbacks, by Standard Webhooks: signed, retried for a day, as safe as the messages that they tell of.

A row is written in the transaction that changed the status, and deleted when the client has heard it, said 410, or a
day is over. Delivered by a loop of the worker, beside the messages and never in their way.
"""

import base64
import hashlib
import hmac
import json
import logging
import random
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache
from urllib.parse import urlsplit

from django.conf import settings
from django.db import Error, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from channels.errors import ChannelError, MisconfiguredError
from channels.net import is_inside
from channels.web import Body, WebClient
from notifier import webhook_secrets
from notifier.models import Callback, Notification

log = logging.getLogger(__name__)

TIMEOUT = timedelta(seconds=15)
GIVE_UP = timedelta(days=1)
DELAYS = (5, 60, 300, 1800, 7200)
"""Seconds until the next try, the last one again and again, ± 20 %."""
LEASE = timedelta(seconds=60)
SPARED = timedelta(seconds=60)
GONE = 410


def signature(secret: bytes, key: str, timestamp: int, body: bytes) -> str:
    """`v1,…` of Standard Webhooks: HMAC-SHA256 over id, timestamp and body."""
    signed = f"{key}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


@cache
def _client(public_only: bool) -> WebClient:
    return WebClient(public_only=public_only)


def announce(ids: Iterable[int]) -> None:
    """Write the events of these notifications, as they stand now; in the transaction that made them so."""
    wanted = list(ids)
    if wanted:
        rows = Notification.objects.filter(pk__in=wanted).select_related("recipient").prefetch_related("attempts")
        # By its name: a worker that nobody asks to call back never loads REST framework, 3.5 MiB.
        shown = import_string("notifier.outputs.NotificationDetail")
        Callback.objects.bulk_create(
            Callback(notification=row, event=f"notification.{row.status}", payload=shown(row).data) for row in rows
        )


def may_be_called(url: str) -> bool:
    """Whether a client may name this URL: https with a host that is not inside, or one that `CALLBACK_HOSTS` lists.

    A name that resolves to something inside is found out when it is called, and not called.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not _is_plain(url) or not host or port == 0 or parts.username is not None:
        return False
    if parts.scheme not in {"http", "https"}:
        return False
    if is_listed(url):
        return True
    name = host.rstrip(".")
    local = "." not in name or name.endswith((".localhost", ".local", ".internal"))
    return parts.scheme == "https" and "%" not in host and not is_inside(name) and (":" in host or not local)


def _is_plain(url: str) -> bool:
    """Whether every reader finds the same host in it: after a backslash some see a path, and others an address."""
    return url.isascii() and url.isprintable() and not set(url) & set(' \\"<>{}')


def is_listed(url: str) -> bool:
    """Whether `CALLBACK_HOSTS` names this URL's host: then its address may be private and its scheme http."""
    parts = urlsplit(url)
    if not _is_plain(url) or parts.username is not None:
        return False
    host = (parts.hostname or "").lower()
    name = f"[{host}]" if ":" in host else host
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return any(entry.lower() in {host, name, f"{name}:{port}"} for entry in settings.CALLBACK_HOSTS)


def deliver_due(stop: Callable[[], bool] = lambda: False) -> None:
    """Tell what is due, one after the other, until nothing is or `stop()` says so."""
    while not stop() and (callback := _claimed()) is not None:
        try:
            _tell(callback)
        except Error:
            raise
        except Exception:
            log.exception("A status callback cannot be made.", extra={"notification_id": callback.notification_id})
            _put_off(callback, "internal_error")


def _claimed() -> Callback | None:
    """One due row, put off by a lease: whoever dies over it leaves it to be found again."""
    with transaction.atomic():
        due = Callback.objects.filter(due_at__lte=Now()).order_by("due_at")
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True)
        pk = due.values_list("pk", flat=True).first()
        if pk is None:
            return None
        Callback.objects.filter(pk=pk).update(due_at=Now() + LEASE, tries=F("tries") + 1)
    return (
        Callback.objects.select_related("notification__organization").annotate(database_now=Now()).filter(pk=pk).first()
    )


def _tell(callback: Callback) -> None:
    row = callback.notification
    body = json.dumps(
        {"type": callback.event, "timestamp": callback.created_at.isoformat(), "data": callback.payload},
        ensure_ascii=False,
    ).encode()
    timestamp = int(time.time())
    signatures = [
        signature(secret, str(callback.key), timestamp, body) for secret in webhook_secrets.signing(row.organization)
    ]
    headers = {
        "webhook-id": str(callback.key),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
    try:
        client = _client(not is_listed(row.callback_url))
        reply = client.post(
            row.callback_url, Body(body, "application/json"), service="callback", timeout=TIMEOUT, headers=headers
        )
    except (ChannelError, MisconfiguredError) as error:
        _spare(row.callback_url)
        _put_off(callback, error.code)
        return
    if reply.ok or reply.status == GONE:
        Callback.objects.filter(pk=callback.pk).delete()
    else:
        _put_off(callback, f"HTTP {reply.status}", reply.retry_after)


def _spare(url: str) -> None:
    """Nobody answers there: what else is due for that host waits too, so that its silence costs nobody else."""
    parts = urlsplit(url)
    same_host = Callback.objects.filter(notification__callback_url__startswith=f"{parts.scheme}://{parts.netloc}/")
    same_host.filter(due_at__lte=Now()).update(due_at=Now() + SPARED)


def _put_off(callback: Callback, why: str, named: timedelta | None = None) -> None:
    extra = {"notification_id": callback.notification_id, "count": callback.tries}
    if callback.database_now - callback.created_at > GIVE_UP:  # type: ignore[attr-defined]
        log.warning("A status callback was given up after a day: %s.", why, extra=extra)
        Callback.objects.filter(pk=callback.pk).delete()
        return
    log.info("A status callback was not taken: %s.", why, extra=extra)
    seconds = DELAYS[min(callback.tries, len(DELAYS)) - 1] * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load
    Callback.objects.filter(pk=callback.pk).update(
        due_at=Now() + max(timedelta(seconds=seconds), named or timedelta(0))
    )
