"""Django as a WSGI application."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.signals import request_started
from django.core.wsgi import get_wsgi_application
from django.utils.module_loading import import_string

from notifier.connections import trust_silent_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifier.settings")


request_started.connect(trust_silent_connections)  # after Django's own, which asks for the check

_django = get_wsgi_application()
_short_way = import_string("api.plain.answer")


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The short way where it leads, else Django's handler."""
    answer: Iterable[bytes] | None = _short_way(environ, start_response)
    return _django(environ, start_response) if answer is None else answer
