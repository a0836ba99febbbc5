"""`/api/events/` and `/api/notifications/{id}/events/`: what happens, while it happens.

The views open a stream; the web server's front follows it (`notifier/live.py`), without a thread that waits. Under any
other server (`runserver`, WSGI) the answer ends with what there is to tell now, and a browser asks again every three
seconds, as it does after any break: it hears the same, a little later.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import PermissionDenied, Throttled
from rest_framework.request import Request

from api.problems import RETRY_SECONDS, Unavailable
from api.renderers import EventStreamRenderer, JSONRenderer
from api.views.notifications import NotificationViews
from notifier import streams
from notifier.callers import caller_of
from notifier.rest import problems
from notifier.streams import Stream

F = TypeVar("F", bound=Callable[..., Any])

HEADERS = {
    "Cache-Control": "no-cache, no-transform",  # nobody on the way keeps it back to pack it
    "X-Accel-Buffering": "no",  # nor does nginx to gather it
}
KIND = "text/event-stream"
CONTENT_TYPE = f"{KIND}; charset=utf-8"
"""Browsers know that it is UTF-8. Others take text of which nothing is said for Latin-1."""


class EventId(serializers.IntegerField):
    """The number of an event, in plain digits."""

    def to_internal_value(self, data: Any) -> int:
        if not re.fullmatch(r"[0-9]{1,19}", str(data), re.ASCII):
            self.fail("invalid")
        return int(data)


class EventsQuery(serializers.Serializer[Any]):
    """Where the stream goes on."""

    last_event_id = EventId(required=False)


class StreamResponse(StreamingHttpResponse):
    """A stream for whoever can follow it; else what there is to tell now."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(streams.snapshot(stream), content_type=CONTENT_TYPE, headers=HEADERS)
        self._stream: Stream | None = stream

    def take_stream(self) -> Stream:
        """The stream, which the caller leaves."""
        if self._stream is None:
            raise ValueError("The stream was taken already.")
        stream, self._stream = self._stream, None
        return stream

    def close(self) -> None:
        """Leave what nobody took."""
        super().close()
        if self._stream is not None:
            self._stream.leave()


_DESCRIPTION = (
    "Server-Sent Events: `id`, `event` (`notification.sent`) and `data` (JSON with `type`, `timestamp` and `data`, the "
    "notification as it is when it is told). Nothing is missed by who comes back with the last `id` within a day. A "
    "comment comes every 15 seconds. `/ws/notifications/` is the same as a WebSocket, with `?notification=` for one."
)
_PARAMETERS = [
    OpenApiParameter("Last-Event-ID", int, OpenApiParameter.HEADER, description="Go on behind this event."),
    OpenApiParameter("last_event_id", int, description="The same, where no header can be set."),
    OpenApiParameter("token", str, description="A socket token, where no header can be set. It is spent by this."),
]


_ONE_EVENT = {
    "type": "object",
    "description": "One event of the stream.",
    "properties": {
        "id": {"type": "string", "description": "Where to go on: `Last-Event-ID`."},
        "event": {"type": "string", "example": "notification.sent"},
        "data": {"type": "string", "description": "JSON: `type`, `timestamp`, and the notification as `data`."},
    },
}


def _described(summary: str, *more: int) -> Callable[[F], F]:
    answer = {(200, KIND): _ONE_EVENT}
    described: Callable[[F], F] = extend_schema(
        summary=summary,
        description=_DESCRIPTION,
        parameters=_PARAMETERS,
        responses={**answer, **problems(400, *more, 429)},
    )
    return described


class EventViews(NotificationViews):
    """What both streams share."""

    renderer_classes = [EventStreamRenderer, JSONRenderer]

    def get_authenticators(self) -> list[BaseAuthentication]:
        """A token in the address counts alone; a key is never read from there."""
        if "token" in getattr(self.request, "GET", {}):
            return [import_string(settings.STREAM_AUTHENTICATION)()]
        return super().get_authenticators()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Before anybody's token is spent."""
        _check_origin(request._request)
        super().initial(request, *args, **kwargs)

    def answer(self, request: Request, notification_id: int | None = None) -> HttpResponse | StreamResponse:
        """The stream behind the last event that the caller has heard of."""
        last = _last_event_id(request)
        query = EventsQuery(data={"last_event_id": last} if last else {})
        query.is_valid(raise_exception=True)
        if request.method == "HEAD":
            return HttpResponse(content_type=CONTENT_TYPE, headers=HEADERS)
        caller = caller_of(request)
        try:
            stream = streams.open_stream(
                caller.organization.pk,
                notification_id,
                last=query.validated_data.get("last_event_id"),
                still_allowed=caller.still_allowed,
            )
        except streams.TooManyError as error:
            detail = _("Too many streams are open.")
            raise (Unavailable(detail) if error.of_all else Throttled(RETRY_SECONDS, detail)) from None
        return StreamResponse(stream)


class EventsView(EventViews):
    """Of the organization."""

    @_described("Follow all notifications")
    def get(self, request: Request) -> HttpResponse | StreamResponse:
        """Every change of status from now on, or from the last event on."""
        return self.answer(request)


class NotificationEventsView(EventViews):
    """Of one notification."""

    @_described("Follow a notification", 404)
    def get(self, request: Request, pk: str) -> HttpResponse | StreamResponse:
        """Its present state, then every change."""
        return self.answer(request, self.notification(pk).pk)


def _last_event_id(request: Request) -> str:
    """A browser repeats the address that it began with, and says by the header how far it came since."""
    return str(request.headers.get("Last-Event-ID") or request.query_params.get("last_event_id", ""))


def _check_origin(request: HttpRequest) -> None:
    """A page of somebody else opens no stream: not a WebSocket, which browsers open anywhere with whatever they have,
    and none with a token that it came by."""
    origin = request.headers.get("Origin")
    if origin is None or not ("notifier.websocket" in request.META or "token" in request.GET):
        return
    own = f"{request.scheme}://{request.get_host()}"
    if origin.lower() not in {own.lower(), _origin_of(settings.PUBLIC_URL)}:
        raise PermissionDenied(_("A page of another site may not listen here."), code="origin")


def _origin_of(url: str) -> str:
    """As a browser names it: without a path, and without the port that goes without saying."""
    parts = urlsplit(url.lower())
    return f"{parts.scheme}://{parts.netloc}".removesuffix(":443" if parts.scheme == "https" else ":80")
