"""The short way of requests that are as plain as most are: JSON for one notification, answered beside Django's handler.

Signals, middleware, the look-up of the view and REST framework's machinery around it are two thirds of the processor
time of a POST, more than all that is checked and stored. Here a request takes what decides: the Host, the caller, his
scope and limits, the form, the ledger. Nothing is refused here: what is not plain, or not right, goes the long way,
which says what is wrong with it. The headers of the answer are those that the middleware gives it there.
"""

import io
from collections.abc import Callable, Iterable
from functools import reduce
from http import HTTPStatus
from typing import Any, NamedTuple, cast

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.wsgi import WSGIRequest
from django.db import reset_queries
from django.http import HttpResponse
from django.utils.module_loading import import_string
from rest_framework.exceptions import APIException
from rest_framework.views import APIView

from api.middleware import language_of
from api.views.notifications import FAILURE, NotificationsView, shown_as_accepted
from notifier import intake
from notifier.callers import Caller
from notifier.connections import look_at_the_connection
from notifier.limits import TooManyError
from notifier.strict_json import strict_json

PATHS = {"/api/notifications/", "/api/notifications"}

_ANYTHING = {"*/*", "application/json"}
_PECULIAR = {"HTTP_IDEMPOTENCY_KEY", "HTTP_CONTENT_ENCODING"}

Environ = dict[str, Any]


class Accepted(NamedTuple):
    """Content and headers of a 202."""

    content: bytes
    headers: list[tuple[str, str]]


class Whole(list[bytes]):
    """An answer of which everything is there."""

    streaming = False


def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes] | None:
    """The answer. None: ask Django."""
    if not _is_plain(environ):
        return None
    reset_queries()  # with DEBUG each connection remembers thousands, bodies and all
    look_at_the_connection()
    try:
        made = accepted(environ)
    finally:
        look_at_the_connection()
    if made is None:
        return None
    start_response("202 Accepted", made.headers)
    return Whole([made.content])


def accepted(environ: Environ) -> Accepted | None:
    """What the caller is told of his notification, if it is a plain one and all is well."""
    if not _is_plain(environ):
        return None
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    environ["wsgi.input"] = io.BytesIO(body)
    try:
        return _accepted(WSGIRequest(environ), body)
    except (APIException, DisallowedHost, TooManyError):
        return None  # refused, so nothing was stored: the long way says why
    except Exception as error:  # noqa: BLE001 - something may be stored: not to be tried once more
        environ[FAILURE] = error
        return None


def _is_plain(environ: Environ) -> bool:
    """Whether it is JSON for JSON, and there is nothing else to heed."""
    length = environ.get("CONTENT_LENGTH") or ""
    return (
        environ["REQUEST_METHOD"] == "POST"
        and environ["PATH_INFO"] in PATHS
        and environ.get("CONTENT_TYPE") == "application/json"
        and environ.get("HTTP_ACCEPT", "*/*") in _ANYTHING
        and not environ.get("QUERY_STRING")
        and not environ.get("SCRIPT_NAME")
        and _PECULIAR.isdisjoint(environ)
        and length.isdecimal()
        and int(length) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        and not (settings.SECURE_SSL_REDIRECT and environ["wsgi.url_scheme"] != "https")
    )


def _accepted(request: WSGIRequest, body: bytes) -> Accepted | None:
    request.get_host()
    view = NotificationsView()
    view.setup(request)
    caller = _caller(view, request)
    if caller is None:
        return None
    dress = _dress(request)
    row = intake.accept(caller.organization, strict_json(body), sender=caller.sender)
    shown, location = shown_as_accepted(row)
    content = cast("bytes", view.renderer_classes[0]().render(shown))
    own = {"Content-Length": str(len(content)), "Location": location, **getattr(view, "headers", {})}
    return Accepted(content, [*dress, *own.items()])


def _caller(view: APIView, request: Any) -> Caller | None:
    """Who asks, if he may."""
    for authenticator in view.get_authenticators():
        found = authenticator.authenticate(request)
        if found is not None:
            request.user, request.auth = found
            view.check_permissions(request)
            view.check_throttles(request)
            return cast("Caller", request.user)
    return None


def _dress(request: WSGIRequest) -> list[tuple[str, str]]:
    """The headers that every accepted one has: asked of the middleware once, with an answer that is bare."""
    kind = language_of(request), request.is_secure()
    if kind not in _dresses:
        layers = map(import_string, reversed(settings.MIDDLEWARE))
        response = reduce(lambda inner, layer: layer(inner), layers, _bare)(request)
        _dresses[kind] = [(name, value) for name, value in response.items() if name != "Content-Length"]
    return _dresses[kind]


_dresses: dict[tuple[str, bool], list[tuple[str, str]]] = {}


def _bare(request: WSGIRequest) -> HttpResponse:
    view = NotificationsView()
    view.setup(request)
    return HttpResponse(b"", "application/json", HTTPStatus.ACCEPTED, headers=view.default_response_headers)
