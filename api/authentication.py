"""Who asks: the organization of an API key, or with `API_OPEN` the default one."""

import time
from functools import partial
from typing import Any

from django.conf import settings
from django.db.models.signals import post_delete, post_migrate, post_save
from django.utils.translation import gettext_lazy as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from notifier import api_keys
from notifier.callers import Caller
from notifier.limits import OPEN, Sender
from notifier.models import DEFAULT_SLUG, ApiKey, Organization

CHALLENGE = 'Bearer realm="notifier"'


class ApiKeys(BaseAuthentication):
    """`Authorization: Bearer <key>`, or `X-API-Key: <key>`."""

    def authenticate(self, request: Request) -> tuple[Caller, ApiKey] | None:
        shown = _shown(request.META)
        if shown is None:
            return None
        key = api_keys.find(shown)
        if key is None:
            raise AuthenticationFailed(_("The API key is not valid."))
        sender = Sender(counted_as=f"key:{key.pk}", is_test=key.kind == ApiKey.Kind.TEST)
        still_allowed = partial(api_keys.may_still_read, key.pk)
        return Caller(key.organization, api_keys.scopes_of(key), sender, still_allowed=still_allowed), key

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def _shown(meta: dict[str, Any]) -> str | None:
    """The key of this request. "" for what is none: another scheme alone, or two keys that differ.

    Another scheme beside `X-API-Key` is for a proxy on the way.
    """
    header, own = meta.get("HTTP_AUTHORIZATION", ""), meta.get("HTTP_X_API_KEY", "")
    scheme, _space, rest = header.partition(" ")
    if scheme.lower() != "bearer":
        return own or ("" if header else None)
    key = str(rest.strip())
    return key if not own or own == key else ""


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
    """With `API_OPEN`, a request without a key acts for the default organization."""

    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        if not settings.API_OPEN:
            return None
        return Caller(_default.organization(), sender=OPEN), None

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The two ways to show a key, as OpenAPI names them."""

    target_class = ApiKeys
    name = ["ApiKey", "ApiKeyHeader"]

    def get_security_requirement(self, auto_schema: object) -> list[dict[str, list[Any]]]:
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:
        return [{"type": "http", "scheme": "bearer"}, {"type": "apiKey", "in": "header", "name": "X-API-Key"}]


class OpenAccessScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Nothing to show."""

    target_class = OpenAccess
    name: list[str] = []

    def get_security_requirement(self, auto_schema: object) -> list[dict[str, list[Any]]]:
        return [{}] if settings.API_OPEN else []

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:
        return []
