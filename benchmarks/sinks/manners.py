"""How a sink behaves; its owner may change it at any time."""

from dataclasses import dataclass


@dataclass
class Manners:
    """`delay_ms`: before the answer to each message, as a busy server takes it. `round_trip_ms`: every answer is so
    late, as over a long line; commands that were sent together share one. `silent`: connections are taken and never
    answered.
    """

    delay_ms: float = 0.0
    round_trip_ms: float = 0.0
    silent: bool = False

    @property
    def delay(self) -> float:
        """In seconds."""
        return self.delay_ms / 1000

    @property
    def round_trip(self) -> float:
        """In seconds."""
        return self.round_trip_ms / 1000
