"""Requests that are as plain as most are: these may be answered without REST framework's machinery around the view.

It asks every request for its parser, renderer, negotiator, throttles; wraps request and answer; and of the processor
time of a POST it took a third, more than all that is checked and stored. Nothing is refused here: what is not plain, or
not right, goes the long way, which says what is wrong with it.
"""

from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.views import APIView

from api.parsers import strict_json
from notifier.callers import Caller

_ANYTHING = {"*/*", "application/json"}
_PECULIAR = {"HTTP_IDEMPOTENCY_KEY", "HTTP_CONTENT_ENCODING"}


def is_plain(request: HttpRequest) -> bool:
    """Whether it is JSON for JSON, and there is nothing else to heed."""
    meta = request.META
    length = meta.get("CONTENT_LENGTH") or ""
    return (
        meta.get("CONTENT_TYPE") == "application/json"
        and meta.get("HTTP_ACCEPT", "*/*") in _ANYTHING
        and not meta.get("QUERY_STRING")
        and _PECULIAR.isdisjoint(meta)
        and length.isdecimal()
        and int(length) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    )


def caller_of(view: APIView, request: Any) -> Caller | None:
    """Who asks, if he may. None: the long way says why not."""
    for authenticator in view.get_authenticators():
        found = authenticator.authenticate(request)
        if found is not None:
            request.user, request.auth = found
            view.check_permissions(request)
            view.check_throttles(request)
            return cast("Caller", request.user)
    return None


def body_of(request: HttpRequest) -> Any:
    """The body's JSON; an APIException where it is refused."""
    return strict_json(request.body)


def answer(view: APIView, data: Any, status: int, location: str) -> HttpResponse:
    """As REST framework answers."""
    headers = {"Location": location, **view.default_response_headers, **getattr(view, "headers", {})}
    return HttpResponse(view.renderer_classes[0]().render(data), "application/json", status, headers=headers)
