"""Thin Celery tasks."""

from celery import shared_task
from django.db import close_old_connections, connection
from django.utils import timezone
from django.utils.module_loading import import_string

from deadlines import runs
from notifier import work


@shared_task(name="deadlines.send_digests", ignore_result=True)
def send_digests() -> None:
    """Serve the organizations whose hour has come."""
    if not connection.in_atomic_block:
        close_old_connections()
    due = runs.due(timezone.now())
    if due:  # what sends them needs REST framework, which a worker without digests does not load
        import_string("deadlines.sending.send_due")(due, stop=work.stopping.is_set)
