"""What those are told who have failed to sign in too often."""

from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from api.refusals import refusal


def locked_out(
    request: HttpRequest, _original: HttpResponse | None, _credentials: dict[str, Any] | None
) -> HttpResponse:
    """429 with the longest time that it can take: a problem for programs, a page for people."""
    seconds = int(settings.AXES_COOLOFF_TIME.total_seconds())
    detail = _("Too many attempts to sign in have failed. Try again in %(minutes)d minutes.") % {
        "minutes": -(-seconds // 60)
    }
    response = refusal(request, HTTPStatus.TOO_MANY_REQUESTS, "throttled", _("Please wait"), detail)
    response.headers["Retry-After"] = str(seconds)
    return response
