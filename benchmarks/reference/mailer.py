"""A minimal Django project with Celery, and its task: read a row, send it by Django's mail backend, write that down.

`celery -A benchmarks.reference.mailer worker`; `python -m benchmarks.reference.mailer NUMBER` queues so many.
"""

import os
import sys
from typing import Any

import environ
from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.reference.mailer")

SECRET_KEY = "reference"  # noqa: S105 - guards nothing
INSTALLED_APPS = [  # as `startproject` makes it
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
DATABASES: dict[str, Any] = {"default": environ.Env.db_url_config(os.environ["DATABASE_URL"])}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
EMAIL_HOST, EMAIL_PORT = "127.0.0.1", int(os.environ["SINK_PORT"])
DEFAULT_FROM_EMAIL = "notifier@sink.test"
CELERY_BROKER_URL = os.environ["REDIS_URL"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = 16
CELERY_DB_REUSE_MAX = 1_000_000
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False

app = Celery("mailer")
app.config_from_object("django.conf:settings", namespace="CELERY")


@setup_logging.connect
def _log_as_django_does(**_: object) -> None:
    """No line a message."""


@app.task(name="mailer.send")
def send(number: int) -> None:
    """One message."""
    # Here, since this module is the settings, too: they are read before Django can be imported in full.
    from django.core.mail import send_mail  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.email, m.subject, m.text FROM message m JOIN person p ON p.id = m.person_id WHERE m.id = %s",
            [number],
        )
        address, subject, text = cursor.fetchone() or ("", "", "")
        send_mail(subject, text, None, [address])
        cursor.execute("UPDATE message SET status = 'sent' WHERE id = %s", [number])


if __name__ == "__main__":
    with app.connection_for_write() as connection:
        for count in range(int(sys.argv[1])):
            app.send_task("mailer.send", [count + 1], connection=connection)
