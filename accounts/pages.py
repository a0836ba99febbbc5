"""The pages that mails lead to. To look at one does nothing: its button does, so a scanner of mails spends no link."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

NAMES = ("activate", "forgot", "password", "register")


@never_cache
@require_safe
def page(request: HttpRequest, name: str) -> HttpResponse:
    """That page; 404 where the accounts are switched off."""
    if not settings.JWT_SECRET_KEY:
        raise Http404
    return render(request, f"accounts/{name}.html")
