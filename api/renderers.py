"""JSON out, as UTF-8."""

from collections.abc import Iterable

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.renderers import JSONRenderer as StockRenderer
from rest_framework.request import Request


class JSONRenderer(StockRenderer):
    """JSON, named as such without a charset (RFC 8259 §11)."""

    charset = None


class EventStreamRenderer(JSONRenderer):
    """For who asks for Server-Sent Events, as browsers do. A stream writes itself; what is refused is JSON."""

    media_type = "text/event-stream"


class Negotiation(DefaultContentNegotiation):
    """REST framework's, with a short way for those who take anything, as most do."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The renderer, and the media type that was asked for."""
        if request.headers.get("Accept", "*/*") == "*/*" and not format_suffix and not request.META.get("QUERY_STRING"):
            first = next(iter(renderers))
            return first, first.media_type
        return super().select_renderer(request, renderers, format_suffix)  # type: ignore[no-any-return]
