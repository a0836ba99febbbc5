"""One shape for every error: RFC 9457 `application/problem+json` with `errors` of `{"code", "detail", "attr"}`."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.permissions import SAFE_METHODS
from rest_framework.response import Response

from api.renderers import JSONRenderer
from notifier import rest
from notifier.details import flat
from notifier.limits import TooManyError

log = logging.getLogger(__name__)

CONTENT_TYPE = rest.CONTENT_TYPE
RETRY_SECONDS = 5
PROGRAMS = ("/api/", "/health/", "/sandbox/")
"""Where the callers are programs."""


class Conflict(exceptions.APIException):
    """The notification is in a state in which this cannot be done."""

    status_code = HTTPStatus.CONFLICT
    default_code = "conflict"


class KeyReused(exceptions.APIException):
    """The idempotency key came with another body before."""

    status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    default_code = "idempotency_key_reused"


class TooLarge(exceptions.APIException):
    """The body is larger than the service takes."""

    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


def problem(status: int, errors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The body of an error."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "errors": list(errors)}


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """Every exception of a view as a problem. A bug is logged and answered with 500 alone, also with DEBUG on:
    its page would show the request's body.
    """
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    elif isinstance(error, SuspiciousOperation):  # more parameters than Django reads
        error = exceptions.ParseError(_("The request is malformed."), code="bad_request")
    elif isinstance(error, TooManyError):
        error = _throttled(error)
    elif isinstance(error, (OperationalError, InterfaceError)):
        log.error("The database does not answer.", exc_info=error)
        error = Unavailable()
    if not isinstance(error, exceptions.APIException):
        log.error("A view failed.", exc_info=error)
        error = exceptions.APIException(_("The service failed. Its log says why."), code="internal_error")
    headers = {}
    if getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = error.auth_header  # type: ignore[attr-defined]
    if getattr(error, "wait", None):
        headers["Retry-After"] = str(int(error.wait))  # type: ignore[attr-defined]
    if (request := context.get("request")) is not None:  # the schema and the pages have renderers of their own
        request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
    body = problem(error.status_code, list(flat(error.get_full_details())))
    return Response(body, status=error.status_code, headers=headers, content_type=CONTENT_TYPE)


def _throttled(error: TooManyError) -> exceptions.Throttled:
    throttled = exceptions.Throttled(None if error.never else error.retry_after, str(error))
    # Also where waiting is of no use, and the text does not speak of it.
    throttled.wait = error.retry_after  # type: ignore[attr-defined]
    return throttled


class Unavailable(exceptions.APIException):
    """The database is out: nothing was stored, the client tries again."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = "The service cannot store anything at the moment. Try again."
    wait = RETRY_SECONDS


def is_a_program(request: HttpRequest) -> bool:
    """Whether the answer is read by a program."""
    return f"{request.path_info}/".startswith(PROGRAMS)


def bare_problem(status: HTTPStatus, code: str, detail: str) -> JsonResponse:
    """A problem where REST framework makes no answer."""
    errors = [{"code": code, "detail": detail, "attr": None}]
    return JsonResponse(problem(status, errors), status=status, content_type=CONTENT_TYPE)


def only_reads(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """A view that changes nothing and asks for no form's token: 405 for whoever wants to write."""

    @csrf_exempt
    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if request.method in SAFE_METHODS:
            return view(request)
        error = exceptions.MethodNotAllowed(str(request.method))
        response = bare_problem(HTTPStatus.METHOD_NOT_ALLOWED, error.default_code, str(error.detail))
        response.headers["Allow"] = ", ".join(SAFE_METHODS)
        return response

    return guarded


@csrf_exempt  # what is not there is not there for a POST either
def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404 outside of any view: JSON for programs, a page for people."""
    if is_a_program(request):
        return bare_problem(HTTPStatus.NOT_FOUND, "not_found", _("Not found."))
    return defaults.page_not_found(request, exception or Http404())


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400 before any view: a wrong Host header, a malformed header."""
    if is_a_program(request):
        return bare_problem(HTTPStatus.BAD_REQUEST, "bad_request", _("The request is malformed."))
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """500: our bug. Its text stays in the log."""
    if is_a_program(request):
        detail = _("The service failed. Its log says why.")
        return bare_problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail)
    return defaults.server_error(request)
