"""Tokens: five kinds of signed text (JWT), none of which passes for another.

All are signed by one fixed algorithm with a key of their own (`JWT_SECRET_KEY`), have to say when they were made and
when they end, and carry a number, their kind and a keyed digest of the password they were made under: a new password
ends them all. A token that works once has a row from its making on; whoever inserts the row beside it that says "spent"
has used it, and the database lets only one do so.
"""

import hmac
from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar, TypeAlias

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils.crypto import salted_hmac
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import Token
from rest_framework_simplejwt.utils import datetime_from_epoch

from accounts.models import Registration

LONGEST = 4096
"""Characters that a token may have; ours have some 400."""


class WrongTokenError(ValueError):
    """It is none of ours, not of this kind, over, spent, or its user's time is over. Which of these, nobody is told."""


class OurToken(Token):
    """What all kinds share. Made by `for_user`; its text is `str(token)`."""

    works_once: ClassVar[bool] = True

    @classmethod
    def for_user(cls, user: Any) -> "OurToken":
        """A new one. Of the library's own it has neither the unkeyed digest nor the text, which it stores in plain."""
        token = cls()
        token["user_id"] = str(user.pk)
        token["password"] = _digest(user)
        if cls.works_once:
            OutstandingToken.objects.create(
                user=user, jti=token["jti"], token="", created_at=token.current_time, expires_at=token.expires_at
            )
        return token

    @property
    def expires_at(self) -> datetime:
        """When it ends."""
        return datetime_from_epoch(self["exp"])

    def verify(self) -> None:
        """Beside the end, the number and the kind, which the library asks for: the rest."""
        super().verify()
        for claim, kind in {"jti": str, "iat": int, "exp": int, "user_id": str, "password": str}.items():
            if type(self.get(claim)) is not kind:
                raise TokenError("A claim is missing.")

    @classmethod
    def fits(cls, user: User) -> bool:
        """Whether this user may use one."""
        return user.is_active


class AccessToken(OurToken):
    """Opens the API, again and again."""

    token_type = "access"  # noqa: S105 - a word for the kind
    lifetime = api_settings.ACCESS_TOKEN_LIFETIME
    works_once = False


class RefreshToken(OurToken):
    """Is exchanged for a new access token and its own successor."""

    token_type = "refresh"  # noqa: S105 - a word for the kind
    lifetime = api_settings.REFRESH_TOKEN_LIFETIME


class ActivateToken(OurToken):
    """Proves an address, in the mail after a registration."""

    token_type = "activate"  # noqa: S105 - a word for the kind
    lifetime = timedelta(hours=48)

    @classmethod
    def fits(cls, user: User) -> bool:
        """Whether he registered and is not active yet."""
        return not user.is_active and Registration.objects.filter(user=user).exists()


class ChangePasswordToken(OurToken):
    """Sets a new password, from the mail that was asked for."""

    token_type = "change_password"  # noqa: S105 - a word for the kind
    lifetime = timedelta(minutes=60)


class SocketToken(OurToken):
    """Opens one stream. It stands in an address, so it is short-lived.

    The claim `organization`, an id, says whose stream; without it the user's only one.
    """

    token_type = "socket"  # noqa: S105 - a word for the kind
    lifetime = timedelta(seconds=60)

    def verify(self) -> None:
        """The organization's id, if there is one, can be one."""
        super().verify()
        own = self.get("organization", 1)
        if type(own) is not int or not 0 < own < 2**63:
            raise TokenError("A claim is wrong.")


Kind: TypeAlias = type[OurToken]
KINDS: tuple[Kind, ...] = (AccessToken, RefreshToken, ActivateToken, ChangePasswordToken, SocketToken)


def create_token(user: User, kind: Kind, **claims: Any) -> str:
    """A new token of this kind, with these claims beside its own."""
    token = kind.for_user(user)
    token.payload.update(claims)
    return str(token)


def verify_token(text: str, kind: Kind) -> User:
    """The user of a token of exactly this kind; a kind that works once is spent by it. WrongTokenError.

    Do what it is for in the same transaction: whatever undoes that gives the token back.
    """
    return spend(text, kind)[1]


def validate_any_token(text: str) -> User:
    """Whose token it is, whatever its kind; nothing is spent. WrongTokenError.

    It says who holds it, and not what he may do with it: that depends on the kind.
    """
    for kind in KINDS:
        try:
            return read(text, kind)[1]
        except WrongTokenError:
            continue
    raise WrongTokenError


def spend(text: str, kind: Kind) -> tuple[OurToken, User]:
    """As `verify_token`; the token too, for its claims."""
    token, user = read(text, kind)
    if kind.works_once:
        try:
            with transaction.atomic():
                BlacklistedToken.objects.create(token=_row(token, user))
        except (IntegrityError, OutstandingToken.DoesNotExist):
            raise WrongTokenError from None
    return token, user


def read(text: str, kind: Kind) -> tuple[OurToken, User]:
    """A token that would be taken, and its user; nothing is spent. WrongTokenError."""
    if not settings.JWT_SECRET_KEY or not isinstance(text, str) or len(text) > LONGEST:
        raise WrongTokenError
    try:
        token = kind(text)  # type: ignore[arg-type] # the library says Token, and means its text
        user = User.objects.get(pk=int(token["user_id"]))
    except (TokenError, User.DoesNotExist, ValueError, TypeError, OverflowError, RecursionError):
        raise WrongTokenError from None
    is_theirs = hmac.compare_digest(token["password"].encode(), _digest(user).encode())
    if not is_theirs or not kind.fits(user) or (kind.works_once and _is_spent(token, user)):
        raise WrongTokenError
    return token, user


def is_current(token: OurToken, user: User) -> bool:
    """Whether the user is active, and his password the one that the token was made under."""
    return user.is_active and hmac.compare_digest(token["password"], _digest(user))


def _row(token: OurToken, user: User) -> OutstandingToken:
    return OutstandingToken.objects.get(jti=token["jti"], user=user)


def _is_spent(token: OurToken, user: User) -> bool:
    """Also one that has no row: it was never made here."""
    return not OutstandingToken.objects.filter(jti=token["jti"], user=user, blacklistedtoken=None).exists()


def _digest(user: User) -> str:
    """Of the stored password. Keyed: the token goes to a browser, and must say nothing of what is stored."""
    return salted_hmac("accounts.password", user.password, secret=_key(), algorithm="sha256").hexdigest()[:32]


@cache
def _key() -> str:
    return str(api_settings.SIGNING_KEY)
