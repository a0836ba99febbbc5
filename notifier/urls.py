"""Where each address leads. Rooms above this floor are named by strings."""

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.utils.module_loading import import_string
from django.views.i18n import set_language

admin.autodiscover()

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/auth/", include("accounts.urls")),
    path("api/", include("deadlines.urls")),  # before the API's own, which answer everything
    path("api/", include("api.urls")),
    re_path(r"^health/live/?$", import_string("api.health.live"), name="live"),
    re_path(r"^health/ready/?$", import_string("api.health.ready"), name="ready"),
    # Programs get JSON also where DEBUG would show its page, or a redirect would lose a body.
    re_path(r"^(api$|health/)", import_string("api.problems.not_found")),
    path("accounts/", include("accounts.page_urls")),
    path("admin/", admin.site.urls),
    path("i18n/setlang/", set_language, name="set_language"),
]
if settings.DEMO_PAGE:
    urlpatterns += [
        path("", import_string("sandbox.page.demo_page"), name="demo"),
        path("sandbox/", include("sandbox.urls")),
    ]

handler400 = "api.problems.bad_request"
handler404 = "api.problems.not_found"
handler500 = "api.problems.server_error"
