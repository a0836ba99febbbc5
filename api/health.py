"""`/health/live` and `/health/ready`: for load balancers and containers."""

import logging
from datetime import timedelta

from django.conf import settings
from django.db import Error
from django.http import HttpRequest, JsonResponse
from django.utils.module_loading import import_string
from kombu import Connection

from api.problems import only_reads
from notifier import ledger

log = logging.getLogger(__name__)

TOO_OLD = timedelta(minutes=2)
"""A row that is due for so long means that nobody works."""


@only_reads
def live(_request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@only_reads
def ready(_request: HttpRequest) -> JsonResponse:
    """The database answers, and what is due is worked on. A broker that is out is shown, and costs only seconds."""
    checks = {"database": "ok", "broker": _broker(), "oldest_due": "ok"}
    try:
        overdue = ledger.overdue_by()
        if overdue > TOO_OLD:
            checks["oldest_due"] = f"due for {overdue.total_seconds():.0f} s: no worker takes it"
        checks |= {name: import_string(note)() for name, note in settings.HEALTH_NOTES.items()}
    except Error:
        log.exception("The database does not answer.")
        checks["database"] = "does not answer"
    healthy = checks["database"] == checks["oldest_due"] == "ok"
    return JsonResponse({"status": "ok" if healthy else "failing", "checks": checks}, status=200 if healthy else 503)


def _broker() -> str:
    if settings.EMBEDDED:
        return "embedded"
    options = {**settings.CELERY_BROKER_TRANSPORT_OPTIONS, "max_retries": 0}
    try:
        with Connection(
            settings.CELERY_BROKER_URL,
            connect_timeout=1,
            transport_options=options,
            ssl=settings.CELERY_BROKER_USE_SSL,
        ) as connection:
            connection.ensure_connection(max_retries=1, timeout=1)
            return "ok"
    except Exception as error:  # noqa: BLE001 - each transport has errors of its own
        return f"does not answer ({type(error).__name__})"
