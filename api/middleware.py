"""What pages need and the API does not: sessions, CSRF, a signed-in operator, messages.

The API knows its callers by their keys and never by a cookie, so nobody can be made to call it by a page of somebody
else, and there is nothing to protect with a token. What stays for it: security headers, the check of the Host, the
language of its errors.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.cache import patch_vary_headers

Handler = Callable[[HttpRequest], HttpResponseBase]


def is_for_the_api(request: HttpRequest) -> bool:
    """Whether a program asks."""
    return request.path_info.startswith("/api/")


@lru_cache(256)
def _language(accepted: str) -> str:
    """The best of our languages for an Accept-Language header."""
    request = HttpRequest()
    request.META["HTTP_ACCEPT_LANGUAGE"] = accepted
    return translation.get_language_from_request(request)


def language_of(request: HttpRequest) -> str:
    """What a program is answered in."""
    return _language(request.META.get("HTTP_ACCEPT_LANGUAGE", ""))


class Language(LocaleMiddleware):
    """The visitor's language: of a program the one that it asks for by its header, of a person a cookie's before.

    For a program Django's own way, with cookies and languages in paths, costs a fortieth of a POST.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Choose it."""
        if not is_for_the_api(request):
            super().process_request(request)
            return
        language = language_of(request)
        translation.activate(language)
        request.LANGUAGE_CODE = language

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Say it."""
        if not is_for_the_api(request):
            return super().process_response(request, response)
        patch_vary_headers(response, ("Accept-Language",))
        response.headers.setdefault("Content-Language", request.LANGUAGE_CODE)
        return response


# Outermost first, as in MIDDLEWARE.
_OF_PAGES = (SessionMiddleware, CommonMiddleware, CsrfViewMiddleware, AuthenticationMiddleware, MessageMiddleware)


class Pages:
    """All that pages need and the API does not, as one layer: the API's requests pass it by.

    As a layer each of MIDDLEWARE, even with nothing to do, it cost a POST a twentieth of its time.
    """

    sync_capable, async_capable = True, False

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response
        self._pages: Any = get_response
        for middleware in reversed(_OF_PAGES):
            self._pages = convert_exception_to_response(middleware(self._pages))
        self._csrf = CsrfViewMiddleware(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._get_response(request) if is_for_the_api(request) else self._pages(request)

    def process_view(self, request: HttpRequest, callback: Any, *arguments: Any) -> HttpResponseBase | None:
        """Django calls this one by itself, right before the view."""
        return None if is_for_the_api(request) else self._csrf.process_view(request, callback, *arguments)
