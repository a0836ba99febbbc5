"""Who asks: an API key's organization, or with `API_OPEN` the default one."""

from dataclasses import dataclass
from typing import cast

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from notifier.models import DEFAULT_SLUG, Organization

CHALLENGE = 'Bearer realm="notifier"'


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and for which organization."""

    organization: Organization
    is_authenticated: bool = True


def organization_of(request: Request) -> Organization:
    """The caller's organization: where every query begins."""
    return cast("Caller", request.user).organization


class OpenAccess(BaseAuthentication):
    """With `API_OPEN`, a request without a key acts for the default organization. Any key is wrong: none is issued."""

    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        if request.headers.get("Authorization") or request.headers.get("X-API-Key"):
            raise AuthenticationFailed(_("The API key is not valid."))
        if not settings.API_OPEN:
            return None
        return Caller(Organization.objects.get(slug=DEFAULT_SLUG)), None

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class OpenAccessScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The scheme as OpenAPI names it."""

    target_class = OpenAccess
    name = "ApiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key, or none where `API_OPEN` is on."}
