"""The keys with which clients repeat themselves safely."""

from django.db import models
from django.db.models.functions import Now

from notifier.models.organization import Organization


class IdempotencyKey(models.Model):
    """One `Idempotency-Key`, whichever door it came through, and the notifications that it stands for.

    The body is kept as a keyed digest only. The answer is not kept at all: it is told again from the notifications.
    """

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="idempotency_keys", db_index=False)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    notification_ids = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "key"], name="idempotency_key_once")]
        indexes = [models.Index(fields=["created_at"], name="idempotency_key_age")]

    def __str__(self) -> str:
        return f"#{self.pk}"
