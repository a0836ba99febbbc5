"""A circuit: whether a provider account is worth trying, shared by all workers."""

from django.db import models
from django.db.models.functions import Now


class Circuit(models.Model):
    """One (channel, account). No row: nothing failed lately. The key holds no secret."""

    key = models.CharField(max_length=80, primary_key=True)
    failures = models.PositiveIntegerField(default=0)
    open_until = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.key
