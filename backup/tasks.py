"""Thin Celery tasks."""

from celery import shared_task
from django.utils.module_loading import import_string

from backup import duty
from backup.errors import BackupError
from backup.models import Trigger
from notifier import work
from notifier.connections import look_at_the_connection


@shared_task(name="backups.look", ignore_result=True)
def look() -> None:
    """Make and verify what is due."""
    look_at_the_connection()
    duty.look(stop=work.stopping.is_set)


@shared_task(name="backups.make", ignore_result=True)
def make() -> None:
    """Make one because an operator wants it."""
    look_at_the_connection()
    try:
        import_string("backup.reporting.make_and_report")(Trigger.ADMIN, stop=work.stopping.is_set)
    except BackupError:
        return  # recorded, logged and reported already
