"""Thin Celery tasks."""

from celery import shared_task
from django.utils import timezone
from django.utils.module_loading import import_string

from deadlines import runs
from notifier import work
from notifier.connections import look_at_the_connection


@shared_task(name="deadlines.send_digests", ignore_result=True)
def send_digests() -> None:
    """Serve the organizations whose hour has come."""
    look_at_the_connection()
    due = runs.due(timezone.now())
    if due:  # what sends them needs REST framework, which a worker without digests does not load
        import_string("deadlines.sending.send_due")(due, stop=work.stopping.is_set)
