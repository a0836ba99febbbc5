"""What pages need and the API does not: sessions, CSRF, a signed-in operator, messages.

The API knows its callers by their keys and never by a cookie, so nobody can be made to call it by a page of somebody
else, and there is nothing to protect with a token. What stays for it: security headers, the check of the Host, the
language of its errors. Each class is Django's own, and passes the API's requests on.
"""

from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponseForbidden
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.deprecation import MiddlewareMixin


def is_for_the_api(request: HttpRequest) -> bool:
    """Whether a program asks."""
    return request.path_info.startswith("/api/")


class _PagesOnly(MiddlewareMixin):
    """Before one of Django's: it never sees the API's requests."""

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request) if is_for_the_api(request) else super().__call__(request)


class PagesOnlySessions(_PagesOnly, SessionMiddleware):
    """The operator's session."""


class PagesOnlyCsrf(_PagesOnly, CsrfViewMiddleware):
    """The token of every form."""

    def process_view(self, request: HttpRequest, callback: Any, *arguments: Any) -> HttpResponseForbidden | None:
        """Django calls this one by itself, right before the view."""
        return None if is_for_the_api(request) else super().process_view(request, callback, *arguments)


class PagesOnlyAuthentication(_PagesOnly, AuthenticationMiddleware):
    """Who the operator is."""


class PagesOnlyMessages(_PagesOnly, MessageMiddleware):
    """What the last page had to say."""
