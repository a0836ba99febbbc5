"""Status callbacks: rows of their own, so that they are as safe as the messages that they tell of."""

from uuid import uuid4

from django.db import models
from django.db.models.functions import Now

from notifier.models.notification import Notification


class Callback(models.Model):
    """An event that a client wants to hear of. The row is there until he has heard it or can hear no more."""

    key = models.UUIDField(default=uuid4, editable=False, help_text="The webhook-id: the same on every try.")
    notification = models.ForeignKey(Notification, models.CASCADE, related_name="callbacks")
    event = models.CharField(max_length=32)
    payload = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())
    tries = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["due_at"], name="callback_due")]

    def __str__(self) -> str:
        return self.event
