"""What pages need and the API does not: sessions, CSRF, a signed-in operator, messages.

The API knows its callers by their keys and never by a cookie, so nobody can be made to call it by a page of somebody
else, and there is nothing to protect with a token. What stays for it: security headers, the check of the Host, the
language of its errors. Each class is Django's own, and passes the API's requests on.
"""

from functools import lru_cache
from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponseForbidden
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.deprecation import MiddlewareMixin


def is_for_the_api(request: HttpRequest) -> bool:
    """Whether a program asks."""
    return request.path_info.startswith("/api/")


class _PagesOnly(MiddlewareMixin):
    """Before one of Django's: it never sees the API's requests."""

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request) if is_for_the_api(request) else super().__call__(request)


@lru_cache(256)
def _language(accepted: str) -> str:
    """The best of our languages for an Accept-Language header."""
    request = HttpRequest()
    request.META["HTTP_ACCEPT_LANGUAGE"] = accepted
    return translation.get_language_from_request(request)


class Language(LocaleMiddleware):
    """The visitor's language: of a program the one that it asks for by its header, of a person a cookie's before.

    For a program Django's own way, with cookies and languages in paths, costs a fortieth of a POST.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Choose it."""
        if not is_for_the_api(request):
            super().process_request(request)
            return
        language = _language(request.META.get("HTTP_ACCEPT_LANGUAGE", ""))
        translation.activate(language)
        request.LANGUAGE_CODE = language

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Say it."""
        if not is_for_the_api(request):
            return super().process_response(request, response)
        patch_vary_headers(response, ("Accept-Language",))
        response.headers.setdefault("Content-Language", request.LANGUAGE_CODE)
        return response


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
