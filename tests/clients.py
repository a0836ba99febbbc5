"""A client that asks as the web server does: what is plain goes the short way, before Django's handler is asked."""

from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.test.client import ClientHandler
from rest_framework.test import APIClient

from api import plain


class FrontHandler(ClientHandler):
    """Django's for tests, behind what `notifier.wsgi` puts before it."""

    def __call__(self, environ: dict[str, Any]) -> Any:
        """The answer."""
        made = plain.accepted(environ)
        if made is None:
            return super().__call__(environ)
        response = HttpResponse(made.content, status=202)
        del response.headers["Content-Type"]
        for name, value in made.headers:
            response.headers[name] = value
        response.wsgi_request = WSGIRequest(environ)  # type: ignore[attr-defined]
        return response


class FrontClient(APIClient):
    """REST framework's client, with that handler."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.handler = FrontHandler(enforce_csrf_checks=self.handler.enforce_csrf_checks)
