"""What accounts leave behind, and how long."""

from datetime import timedelta

from django.contrib.auth.models import User
from django.db.models.functions import Now
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from notifier.retention import BATCH, delete_in_batches

KEPT = timedelta(days=7)
"""How long somebody who registered is waited for."""


def purge(batch: int = BATCH) -> int:
    """Delete tokens that are over, with the notes that they were spent, and users who were never active; returns how
    many rows. One whom an administrator gave a place already is waited for."""
    over = OutstandingToken.objects.filter(expires_at__lte=Now()).order_by()
    never = User.objects.filter(
        is_active=False, registration__created_at__lte=Now() - KEPT, memberships=None
    ).order_by()
    return delete_in_batches(over, batch) + delete_in_batches(never, batch)
