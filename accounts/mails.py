"""The mails about an account. They leave as every notification does, through the default organization's account."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import translation

from accounts.tokens import ActivateToken, ChangePasswordToken, OurToken
from notifier import intake


def send_activation(user: User) -> None:
    """A link that proves the address.

    It does not greet: the name was given by whoever typed the address, and must not reach strangers through us.
    """
    token = ActivateToken.for_user(user)
    hours = int(ActivateToken.lifetime.total_seconds() // 3600)
    _send(user, "activation", {"link": _link("activate", token), "hours": hours}, expires_at=token.expires_at)


def send_account_exists(user: User) -> None:
    """Somebody tried to register with an address that has an account: a link to where a new password is asked for."""
    _send(user, "account_exists", {**_name(user), "link": _link("forgot")})


def send_password_change(user: User) -> None:
    """A link that sets a new password."""
    token = ChangePasswordToken.for_user(user)
    minutes = int(ChangePasswordToken.lifetime.total_seconds() // 60)
    context = {**_name(user), "link": _link("password", token), "minutes": minutes}
    _send(user, "password_change", context, expires_at=token.expires_at)


def _send(user: User, template: str, context: dict[str, Any], expires_at: datetime | None = None) -> None:
    intake.send(
        to={"email": user.username, "language": translation.get_language()},
        template=template,
        context=context,
        channels=["email"],
        priority="high",
        expires_at=expires_at.isoformat() if expires_at else None,
    )


def _link(page: str, token: OurToken | None = None) -> str:
    """To a page of ours. A token stands behind the `#`, which browsers keep to themselves: no log of a server or
    proxy, and no other page, gets to see it."""
    address = f"{settings.PUBLIC_URL.rstrip('/')}{reverse(f'accounts-pages:{page}')}"
    return f"{address}#token={token}" if token else address


def _name(user: User) -> dict[str, str]:
    """For the greeting: a name that an operator or a program stored may be none that a template takes."""
    name = user.first_name
    return {"name": name} if name.strip() and name.isprintable() else {}
