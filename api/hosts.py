"""The Host header, before anything else looks at the request."""

from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse

from api.problems import bad_request


class HostMiddleware:
    """Refuses a Host that is not in `ALLOWED_HOSTS`. Django's own answer with DEBUG on is a page with the settings."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            request.get_host()
        except DisallowedHost as error:
            return bad_request(request, error)
        return self._get_response(request)
