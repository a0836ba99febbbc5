"""Who asks, where a person asks: by an access token, or by a socket token in a stream's address."""

from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, ValidationError
from rest_framework.request import Request

from accounts import tokens
from accounts.tokens import AccessToken, OurToken, SocketToken, WrongTokenError
from notifier.api_keys import Scope
from notifier.callers import Caller
from notifier.limits import Sender
from notifier.models import Membership

CHALLENGE = 'Bearer realm="notifier"'
HEADER = "X-Organization"
SCOPES = {
    Membership.Role.ADMINISTRATOR.value: frozenset(Scope),
    Membership.Role.MEMBER.value: frozenset({Scope.READ}),
}


class Members(BaseAuthentication):
    """An access token where a key may stand, and `X-Organization: <slug>` of who has places in several."""

    def authenticate(self, request: Request) -> tuple[Caller, OurToken] | None:
        """None: what is shown is no token, but perhaps a key. Who shows both is left to the keys, which refuse it."""
        text = _shown(request.META)
        if text is None:
            return None
        try:
            token, user = tokens.read(text, AccessToken)
        except WrongTokenError:
            raise AuthenticationFailed(_("The access token is not valid, or over.")) from None
        return _caller(_chosen(_places(user), request.META.get("HTTP_X_ORGANIZATION")), token), token

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class SocketTokens(BaseAuthentication):
    """`?token=<socket token>`: spent by being shown."""

    def authenticate(self, request: Request) -> tuple[Caller, OurToken] | None:
        """None: there is none in the address."""
        text = request.GET.get("token")
        if text is None:
            return None
        try:
            token, user = tokens.spend(text, SocketToken)
            places = _places(user)
            own = token.get("organization")
            place = _only(places) if own is None else places.get(organization_id=own)
        except (WrongTokenError, Membership.DoesNotExist):
            raise AuthenticationFailed(_("The socket token is not valid, over, or spent. Ask for a new one.")) from None
        return _caller(place, token), token

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def _shown(meta: dict[str, Any]) -> str | None:
    """What looks like a token of ours. Asked of every request, so it looks at as little as it can."""
    header, own = meta.get("HTTP_AUTHORIZATION", ""), meta.get("HTTP_X_API_KEY")
    scheme, _space, rest = header.partition(" ")
    is_bearer = scheme.lower() == "bearer"
    if is_bearer and own is not None:
        return None
    text: str = rest.strip() if is_bearer else own or ""
    return text if text.count(".") == 2 and not text.startswith("ntf_") else None


def _places(user: User) -> QuerySet[Membership]:
    return Membership.objects.filter(user=user).select_related("organization")


def _chosen(places: QuerySet[Membership], slug: str | None) -> Membership:
    """The place that was named, or the only one. An organization that has none for him is as one that is not there."""
    if slug is None:
        return _only(places)
    named = places.filter(organization__slug=slug).first() if slug.isascii() and slug.isprintable() else None
    if named is None:
        raise PermissionDenied(_("You have no place in an organization of that name."), code="no_membership")
    return named


def _only(places: QuerySet[Membership]) -> Membership:
    found = list(places[:2])
    if not found:
        detail = _("You have no place in any organization yet. An administrator has to give you one.")
        raise PermissionDenied(detail, code="no_membership")
    if len(found) > 1:
        detail = _("You have places in several organizations: name one in the header X-Organization.")
        raise ValidationError(detail, code="organization_required")
    return found[0]


def _caller(place: Membership, token: OurToken) -> Caller:
    return Caller(
        place.organization,
        SCOPES[place.role],
        Sender(counted_as=f"member:{place.user_id}"),
        still_allowed=partial(_has_place, place.pk, token),
    )


def _has_place(pk: int, token: OurToken) -> bool:
    """Whether the place is still his, and he the one who logged in: active, with the same password."""
    place = Membership.objects.filter(pk=pk).select_related("user").first()
    return place is not None and tokens.is_current(token, place.user)


class AccessTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """An access token, as OpenAPI names it."""

    target_class = Members
    name = "AccessToken"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": f"From `/api/auth/token/`. The header `{HEADER}` names one of several organizations.",
        }


class SocketTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A socket token, as OpenAPI names it."""

    target_class = SocketTokens
    name = "SocketToken"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "query",
            "name": "token",
            "description": "From `/api/auth/socket-token/`. It opens one stream, within a minute.",
        }
