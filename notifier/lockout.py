"""Who fails to sign in again and again has to wait: what django-axes counts, and how much of it is too much.

It guards `django.contrib.auth.authenticate()`, so every door behind it: the admin's form, and whatever takes a password
in exchange for a token.
"""

import ipaddress
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt, AccessLog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import QuerySet, Sum
from django.http import HttpRequest
from django.utils.crypto import salted_hmac


class LoginHandler(AxesDatabaseHandler):  # type: ignore[misc]
    """Counts failures by user and address, by address, and by user; each has a limit of its own.

    The last two spare a user at an address from which he has signed in before: neither strangers all over the world nor
    those behind the same address can keep an operator out of his own office.
    """

    def get_failures(self, request: Any, credentials: dict[str, Any] | None = None) -> int:
        """The failures so far, as a share of `AXES_FAILURE_LIMIT`, which stands for each of the three limits."""
        both, address, user = (_number(found) for found in self.get_user_attempts(request, credentials))
        limits: tuple[int, int, int] = settings.LOGIN_LIMITS
        if (address >= limits[1] or user >= limits[2]) and _has_signed_in_from(
            request.axes_ip_address, name_of(request, credentials)
        ):
            address = user = 0
        counts = (both, address, user)
        return max(count * settings.AXES_FAILURE_LIMIT // limit for count, limit in zip(counts, limits, strict=True))

    def user_login_failed(self, sender: Any, credentials: dict[str, Any], request: Any = None, **kwargs: Any) -> None:
        """Count it. The middleware, which answers, sees Django's request and not REST framework's around it."""
        super().user_login_failed(sender, credentials, request, **kwargs)
        inner = getattr(request, "_request", None)
        if inner is not None:
            inner.axes_locked_out, inner.axes_credentials = request.axes_locked_out, request.axes_credentials

    def user_logged_in(self, sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
        """Note it, and forget what is too old to be kept."""
        super().user_logged_in(sender, request, user, **kwargs)
        self.reset_logs(age_days=settings.RETENTION.days)

    def reset_user_attempts(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """After a success: this user's failures from this address. The address has its own account: with one password
        of his own, nobody may begin anew with those of others.
        """
        both, *_others = self.filter_user_attempts(request, credentials)
        return int(both.delete()[0])

    def post_save_access_attempt(self, instance: AccessAttempt, **_: Any) -> None:
        """Keep nothing of what was typed or asked for, before it is committed."""
        AccessAttempt.objects.filter(pk=instance.pk).update(get_data="", post_data="")


def client_address(request: Any) -> str | None:
    """The caller's address as it is counted: of IPv6 the network, since a /64 is what one customer has.

    None where there is none, as over a socket file.
    """
    try:
        address = ipaddress.ip_address(str(request.META.get("REMOTE_ADDR", "")).partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False).network_address)


def name_of(_request: Any, credentials: dict[str, Any] | None) -> str:
    """The user's name as it is counted: of one that nobody has only a digest, since people type passwords there."""
    model = get_user_model()
    given = credentials or {}
    name = str(given.get("username") or given.get(model.USERNAME_FIELD) or given.get("email") or "")
    usable = "\0" not in name and len(name) <= 255
    if usable and model._default_manager.filter(**{model.USERNAME_FIELD: name}).exists():
        return name
    return f"unknown {salted_hmac('notifier.lockout', name.casefold(), algorithm='sha256').hexdigest()[:16]}"


def _number(attempts: QuerySet[AccessAttempt]) -> int:
    return int(attempts.aggregate(sum=Sum("failures_since_start"))["sum"] or 0)


def _has_signed_in_from(address: str | None, name: str) -> bool:
    return address is not None and AccessLog.objects.filter(username=name, ip_address=address).exists()
