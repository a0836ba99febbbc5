"""The test recipients: addresses whose outcome is known beforehand, whatever the switches say.

An outcome is named by the switch that would have it. A bounce is a receipt that comes later: the servers take that
message as any.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from channels.simulated import Fate, fate_of
from sandbox.switches import Channel

Outcome = str
"""The name of a switch's choice, or "greylisted"."""

_OUTCOMES: Final[dict[Fate, Outcome]] = {
    Fate.DELIVERED: "ok",
    Fate.BOUNCED: "ok",
    Fate.REJECTED: "rejected",
    Fate.GREYLISTED: "greylisted",
    Fate.TIMEOUT: "silent",
    Fate.UNKNOWN: "lost_answer",
}


def outcome_of(channel: Channel, to: str) -> Outcome | None:
    """What must come of a message to `to`. None: an ordinary recipient, the channel's switch decides."""
    fate = fate_of(channel, to)
    return None if fate is None else _OUTCOMES[fate]


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
