"""Thin Celery tasks."""

from celery import shared_task

from accounts import retention
from notifier.connections import look_at_the_connection


@shared_task(name="accounts.purge", ignore_result=True)
def purge() -> None:
    """Delete what has had its time."""
    look_at_the_connection()
    retention.purge()
