"""How often a key may send: `API_THROTTLE_SEND`."""

from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from notifier.callers import caller_of
from notifier.limits import Quota, TooManyError, admit_request

_COUNTED = "notifier.counted"


class SendThrottle(BaseThrottle):
    """Counts each request that sends once, however often it is asked about it, and says how many are left: the headers
    `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers."""

    def allow_request(self, request: Request, view: Any) -> bool:
        if request.method != "POST":
            return True
        if _COUNTED not in request.META:
            request.META[_COUNTED] = _counted(request)
        quota, wait = request.META[_COUNTED]
        self._wait: int | None = wait
        if quota is not None:
            view.headers = {**getattr(view, "headers", {}), **_told(quota, wait)}
        return wait is None

    def wait(self) -> float | None:
        return self._wait


def _counted(request: Request) -> tuple[Quota | None, int | None]:
    """The quota, and the seconds to wait where it is used up."""
    try:
        return admit_request(caller_of(request).sender), None
    except TooManyError as error:
        return error.quota, error.retry_after


def _told(quota: Quota, wait: int | None) -> dict[str, str]:
    until = "" if wait is None else f";t={wait}"
    return {
        "RateLimit-Policy": f'"send";q={quota.most};w={quota.seconds}',
        "RateLimit": f'"send";r={quota.left}{until}',
    }
