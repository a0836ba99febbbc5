"""Notifications of whose end a client wants to hear."""

from typing import Any

from django.db.models.functions import Now

from notifier import delivery
from notifier.models import Callback, Notification
from tests.channels.http_peer import HttpPeer
from tests.notifier.rows import stored


def ended(peer: HttpPeer, **fields: Any) -> Notification:
    """A notification that has gone its way."""
    row = stored(callback_url=f"{peer.url}/hook?a=1", **fields)
    delivery.deliver([row.pk])
    row.refresh_from_db()
    return row


def make_all_due() -> None:
    """As if the pauses between the tries had passed."""
    Callback.objects.update(due_at=Now())
