"""The test recipients: addresses whose outcome is known beforehand, whatever the switches say.

An outcome is named by the switch that would have it. The order is the same on every channel: delivered, bounced,
rejected, greylisted, timeout, unknown. A bounce is a receipt that comes later: the servers take that message as any.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from sandbox.switches import Channel

Outcome = str
"""The name of a switch's choice, or "greylisted"."""

_ORDER: Final = ("ok", "ok", "rejected", "greylisted", "silent", "lost_answer")
_MAILBOXES: Final = ("delivered", "bounced", "rejected", "greylisted", "timeout", "unknown")
_OUTCOMES: Final[dict[Channel, dict[str, Outcome]]] = {
    "email": dict(zip((f"{name}@simulator.test" for name in _MAILBOXES), _ORDER, strict=True)),
    "sms": {f"+120155501{number:02}": outcome for number, outcome in enumerate(_ORDER)},
    "telegram": {str(100 + number): outcome for number, outcome in enumerate(_ORDER)},
}


def outcome_of(channel: Channel, to: str) -> Outcome | None:
    """What must come of a message to `to`. None: an ordinary recipient, the channel's switch decides.

    A phone is known with and without its "+", a mailbox in capitals too.
    """
    address = to.strip().lower()
    if channel == "sms":
        address = f"+{address.lstrip('+')}"
    return _OUTCOMES[channel].get(address)


class Greylist:
    """Refuses the first try of each message and lets the next one pass; then the same key is refused again.

    It remembers the last 1,000 first tries.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._turn = threading.Lock()

    def refuses(self, key: Hashable) -> bool:
        """Whether this try must be refused. `key` names the message as well as the server can tell."""
        with self._turn:
            if key in self._seen:
                del self._seen[key]
                return False
            self._seen[key] = None
            if len(self._seen) > 1000:
                self._seen.popitem(last=False)
            return True

    def clear(self) -> None:
        """Forget every first try."""
        with self._turn:
            self._seen.clear()
