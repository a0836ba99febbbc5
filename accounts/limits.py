"""How often an address may be mailed, and a caller may ask: nobody is flooded, and hashing keeps no processor busy."""

from typing import Any

from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from notifier import counters
from notifier.counters import Count
from notifier.limits import HOUR, Quota, TooManyError
from notifier.lockout import client_address

MAILS_TO_ONE = 3
"""Mails of one kind to one address in an hour."""


class ClientThrottle(BaseThrottle):
    """Requests from one client address: the view's `most` in its `seconds`. Over a socket file nobody has one."""

    def allow_request(self, request: Request, view: Any) -> bool:
        address = client_address(request)
        if address is None:
            return True
        name = f"accounts:{type(view).__name__}:{address}"
        answer = counters.take([Count(name, 1, view.most, view.seconds)])
        self._wait = answer.wait
        return answer.refused is None

    def wait(self) -> float | None:
        return self._wait


def admit_mail(address: str, kind: str) -> None:
    """Count a mail of this kind to this address, sent or not; TooManyError over `MAILS_TO_ONE`.

    Each kind by itself: whoever registers with others' addresses must not keep them from a new password.
    """
    answer = counters.take([Count(f"accounts:{kind}:to:{address}", 1, MAILS_TO_ONE, HOUR)])
    if answer.refused is not None:
        text = _("Too many mails to this address were asked for.")
        raise TooManyError(text, Quota(MAILS_TO_ONE, HOUR, 0), answer.wait)
