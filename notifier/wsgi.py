"""Django as a WSGI application."""

import os
import select
from typing import Any

from django.core.signals import request_started
from django.core.wsgi import get_wsgi_application
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifier.settings")

application = get_wsgi_application()


def trust_silent_connections(**_: Any) -> None:
    """Spare the question `SELECT 1` that CONN_HEALTH_CHECKS asks in every request: one of the three trips of a POST.

    A server that ended or was restarted has closed the connection, and that shows without asking: there is something
    to read where nobody has asked anything.
    """
    for connection in connections.all(initialized_only=True):
        inner = connection.connection
        if inner is not None and hasattr(inner, "fileno") and not inner.closed:
            connection.health_check_done = not _has_something_to_read(inner.fileno())  # type: ignore[attr-defined]


def _has_something_to_read(number: int) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([number], [], [], 0)[0])
    poll = select.poll()  # select() cannot take a number above 1,023
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))


request_started.connect(trust_silent_connections)  # after Django's own, which asks for the check
