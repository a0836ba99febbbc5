"""Who asks: an API key's organization, or with `API_OPEN` the default one."""

import time
from dataclasses import dataclass
from typing import Any, cast

from django.conf import settings
from django.db.models.signals import post_delete, post_migrate, post_save
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


class _DefaultOrganization:
    """The default organization, the same for all: kept for some seconds, else each request asks Redis or the database.

    Nothing that changes is read from it: its secrets are looked up where they are needed.
    """

    KEPT_SECONDS = 5.0

    def __init__(self) -> None:
        self._kept: tuple[float, Organization] | None = None

    def organization(self) -> Organization:
        """As it was at most some seconds ago."""
        kept = self._kept
        if kept is None or time.monotonic() > kept[0]:
            kept = (time.monotonic() + self.KEPT_SECONDS, Organization.objects.get(slug=DEFAULT_SLUG))
            self._kept = kept
        return kept[1]

    def forget(self, **_: Any) -> None:
        """It changed."""
        self._kept = None


_default = _DefaultOrganization()
post_save.connect(_default.forget, sender=Organization)
post_delete.connect(_default.forget, sender=Organization)
post_migrate.connect(_default.forget)  # and after a flush


class OpenAccess(BaseAuthentication):
    """With `API_OPEN`, a request without a key acts for the default organization. Any key is wrong: none is issued."""

    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        if request.META.get("HTTP_AUTHORIZATION") or request.META.get("HTTP_X_API_KEY"):
            raise AuthenticationFailed(_("The API key is not valid."))
        if not settings.API_OPEN:
            return None
        return Caller(_default.organization()), None

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class OpenAccessScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The scheme as OpenAPI names it."""

    target_class = OpenAccess
    name = "ApiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key, or none where `API_OPEN` is on."}
