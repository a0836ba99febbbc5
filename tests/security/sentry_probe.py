"""A service that reports to Sentry and breaks: `python -m tests.security.sentry_probe`. Prints what would leave it.

Run in a process of its own, since Sentry's SDK changes Django and Celery for the whole of one.
"""

import io
import json
import logging
import sys
from typing import Any
from wsgiref.util import setup_testing_defaults

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from sentry_sdk.transport import Transport

sent: list[bytes] = []


class Kept(Transport):
    """Keeps what it would send."""

    def capture_envelope(self, envelope: Any) -> None:
        """As it would go over the wire."""
        sent.append(envelope.serialize())


@csrf_exempt
def breaks(request: HttpRequest) -> HttpResponse:
    """A view whose variables hold what came with the request, under harmless names."""
    found = request.body.decode()
    parts = [found, dict(request.headers), request.GET]
    raise RuntimeError(f"{len(parts)} parts, and token={request.GET['q']} besides")


urlpatterns = [path("breaks/", breaks)]


def main(secret: str) -> None:
    """Break in a view, in a task, and in a thread of the worker."""
    settings.ROOT_URLCONF = "tests.security.sentry_probe"
    settings.ALLOWED_HOSTS = ["*"]
    django.setup()
    from notifier import sentry
    from notifier.celery import app

    sentry.start("https://key@sentry.example.com/1", transport=Kept)

    @app.task(name="breaks")
    def task_that_breaks(what: str, **more: str) -> None:
        inner = {"anything": what}
        raise ValueError(f"{len(inner)} {json.dumps({'smtp_password': more['word']})}")

    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/breaks/",
        "QUERY_STRING": f"q={secret}",
        "HTTP_AUTHORIZATION": f"Bearer {secret}",
        "HTTP_X_ANYTHING": secret,
        "HTTP_COOKIE": f"anything={secret}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(secret)),
        "wsgi.input": io.BytesIO(secret.encode()),
    }
    setup_testing_defaults(environ)
    answer = WSGIHandler()(environ, lambda *_: None)  # type: ignore[arg-type]
    answer.close()
    task_that_breaks.apply(args=(secret,), kwargs={"word": secret})
    log = logging.getLogger("notifier.anything")
    log.warning("before: password=%s", secret, extra={"anything": secret})
    log.error("password=%s of %s", secret, {"token": secret}, extra={"anything": secret})
    sys.stdout.write(json.dumps([text.decode() for text in sent]))


if __name__ == "__main__":
    main(sys.argv[1])
