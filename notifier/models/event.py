"""Changes of status, for those who listen: what `/api/events/` tells is read from here."""

from datetime import timedelta

from django.db import models
from django.db.models.functions import Now


class Event(models.Model):
    """A notification's status changed. Written in the transaction that changed it, and kept for a day.

    Ids ascend in the order in which they can be read: nothing is ever committed below one that somebody has seen
    (`events.py` says how). No foreign keys: it is written with each message, and nobody asks for a row by itself.
    """

    KEPT = timedelta(days=1)

    organization_id = models.BigIntegerField()
    notification_id = models.BigIntegerField()
    status = models.CharField(max_length=16)
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"#{self.notification_id}: {self.status}"
