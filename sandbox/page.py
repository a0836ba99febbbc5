"""The demo page at `/`: a tester creates a user, sends, and watches the chain work."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from sandbox import servers


@require_safe
@ensure_csrf_cookie
def demo_page(request: HttpRequest) -> HttpResponse:
    """The page. Without a running sandbox it sends through the configured accounts, and shows no switches."""
    context = {"sandbox": servers.current() is not None, "channels": list(settings.CHANNELS)}
    return render(request, "sandbox/demo.html", context)
