"""Who asks, whichever way he proved it: what every view of the API begins with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from rest_framework.request import Request

from notifier.api_keys import Scope
from notifier.limits import OURSELVES, Sender
from notifier.models import Organization


def always() -> bool:
    """Nothing can take it away."""
    return True


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, for which organization, and what he may do there."""

    organization: Organization
    scopes: frozenset[Scope] = frozenset(Scope)
    sender: Sender = OURSELVES
    is_authenticated: bool = True
    still_allowed: Callable[[], bool] = always
    """Asked again and again, in a thread, while he reads a stream: whether he may still read."""


def caller_of(request: Request) -> Caller:
    """Who asks."""
    return cast("Caller", request.user)


def organization_of(request: Request) -> Organization:
    """The caller's organization: where every query begins."""
    return caller_of(request).organization
