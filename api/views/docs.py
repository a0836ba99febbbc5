"""The pages that show the schema, without inline scripts and without anything from other hosts."""

from typing import Any

from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

from api import policies


class SwaggerView(SpectacularSwaggerSplitView):
    """Swagger UI: one page, and with `?script=` the script that starts it."""

    url_name = "api:schema"
    template_name = "api/swagger.html"


class RedocView(SpectacularRedocView):
    """ReDoc, with what its bundle needs on top of every page's policy."""

    url_name = "api:schema"
    template_name = "api/redoc.html"

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        response.headers[policies.HEADER] = policies.REDOC
        return response
