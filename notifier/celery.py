"""The Celery application: `celery -A notifier worker`, `celery -A notifier beat`."""

import os

from celery import Celery
from celery.signals import setup_logging

from notifier.work import LedgerLoop

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifier.settings")
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")  # they load every view; the web process makes them. 8 MiB a worker

app = Celery("notifier")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["notifier", "accounts", "deadlines", "backup"])
app.steps["worker"].add(LedgerLoop)


@setup_logging.connect
def _log_as_django_does(**_: object) -> None:
    """Django's LOGGING stands; without this receiver Celery would put its own in its place."""
