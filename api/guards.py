"""What holds for every request and answer, whichever view it belongs to."""

import ipaddress
from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from api import policies
from api.middleware import is_for_the_api
from api.problems import CONTENT_TYPE, is_a_program, server_error
from api.refusals import refusal

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Guards:
    """Known methods only, the API over https only where that is the public address, a policy for every answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._refused(request) or self._get_response(request)
        kind = response.headers.get("Content-Type", "")
        if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR and is_a_program(request) and kind != CONTENT_TYPE:
            response = server_error(request)  # with DEBUG Django has made a page of it
        if policies.HEADER not in response.headers:
            page = response.headers.get("Content-Type", "").startswith("text/html")
            if not page:
                response.headers[policies.HEADER] = policies.DATA
            elif not _is_of_django_debug(response):
                response.headers[policies.HEADER] = policies.PAGES
        return response

    def _refused(self, request: HttpRequest) -> HttpResponse | None:
        """The answer where no view is asked at all."""
        if request.method not in METHODS:
            detail = _("This method is not known here.")
            response = refusal(
                request, HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", _("Method not allowed"), detail
            )
            response.headers["Allow"] = ", ".join(sorted(METHODS))
            return response
        if (
            settings.SECURE_SSL_REDIRECT
            and is_for_the_api(request)
            and not request.is_secure()
            and not _is_near(request)
        ):
            detail = _("Use https: over http your key and your message can be read on their way.")
            return refusal(request, HTTPStatus.FORBIDDEN, "https_required", "", detail)
        return None


def _is_of_django_debug(response: HttpResponse) -> bool:
    """Django's own pages for developers live on inline styles and scripts."""
    return settings.DEBUG and response.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR}


def _is_near(request: HttpRequest) -> bool:
    """Whether it comes from this machine: nobody can listen on the way."""
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
