"""What a sink has taken, by tag: the word `bench-…` in a message's text, else the whole text's hash."""

import re
import time
from dataclasses import dataclass, field

TAG = re.compile(rb"bench-[A-Za-z0-9]+")
MESSAGE_ID = re.compile(rb"^message-id:\s*<([^>\r\n]+)>", re.IGNORECASE | re.MULTILINE)


@dataclass
class Tally:
    """`arrivals`: when each tag came first. `doubles`: how often a tag, or a Message-ID, came again."""

    accepted: int = 0
    doubles: int = 0
    connections: int = 0
    open: int = 0
    peak_open: int = 0
    arrivals: dict[str, float] = field(default_factory=dict)
    message_ids: set[bytes] = field(default_factory=set)
    last: float = 0.0

    def take(self, content: bytes) -> None:
        """Count a message that is accepted now."""
        # One clock for all processes of this machine: the latencies are differences of two of them.
        self.last = time.monotonic()
        self.accepted += 1
        found = TAG.search(content)
        tag = found[0].decode() if found else f"untagged-{hash(content)}"
        named = MESSAGE_ID.search(content)
        if tag in self.arrivals or (named and named[1] in self.message_ids):
            self.doubles += 1
        self.arrivals.setdefault(tag, self.last)
        if named:
            self.message_ids.add(named[1])

    def enter(self) -> None:
        """A connection begins."""
        self.connections += 1
        self.open += 1
        self.peak_open = max(self.peak_open, self.open)

    def leave(self) -> None:
        """A connection ends."""
        self.open -= 1

    def summary(self) -> dict[str, float]:
        """The figures without the list of arrivals."""
        return {
            "accepted": self.accepted,
            "distinct": len(self.arrivals),
            "doubles": self.doubles,
            "connections": self.connections,
            "peak_open": self.peak_open,
            "first": next(iter(self.arrivals.values()), 0.0),  # a dict keeps the order in which the tags came
            "last": self.last,
        }

    def reset(self) -> None:
        """Forget the messages; open connections stay counted."""
        self.accepted = self.doubles = self.connections = 0
        self.peak_open = self.open
        self.last = 0.0
        self.arrivals.clear()
        self.message_ids.clear()
