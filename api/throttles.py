"""How often a key may send: `API_THROTTLE_SEND`."""

from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from api.authentication import caller_of
from notifier.limits import TooManyError, admit_request


class SendThrottle(BaseThrottle):
    """Counts each request that sends once, however often it is asked about it."""

    def allow_request(self, request: Request, view: Any) -> bool:
        if request.method != "POST":
            return True
        if not hasattr(view, "throttled_for"):
            try:
                admit_request(caller_of(request).sender)
                view.throttled_for = None
            except TooManyError as error:
                view.throttled_for = error.retry_after
        self._wait: float | None = view.throttled_for
        return self._wait is None

    def wait(self) -> float | None:
        return self._wait
