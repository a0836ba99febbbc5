"""What a provider said of a message before anybody could use it."""

from django.db import models
from django.db.models.functions import Now


class Receipt(models.Model):
    """A receipt that waits: its attempt is not written yet, or a worker has its notification in its hands."""

    channel = models.CharField(max_length=63)
    provider_id = models.CharField(max_length=255)
    kind = models.CharField(max_length=16)
    detail = models.TextField(blank=True)
    received_at = models.DateTimeField(db_default=Now())
    not_before = models.DateTimeField(db_default=Now(), help_text="A simulated provider takes its time.")

    class Meta:
        indexes = [models.Index(fields=["provider_id"], name="receipt_provider_id")]

    def __str__(self) -> str:
        return f"{self.channel}: {self.kind}"
