"""The switches: how each of the sandbox's servers behaves at the moment."""

import threading
from collections.abc import Callable, Mapping
from typing import Final, Literal, get_args

Channel = Literal["email", "sms", "telegram"]
CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)

CHOICES: Final[dict[Channel, dict[str, str]]] = {
    "email": {
        "ok": "Works",
        "refused": "Is down: the connection is refused",
        "silent": "Accepts the connection and never answers",
        "busy": "Refuses for now: 451",
        "rejected": "Knows no such mailbox: 550 5.1.1",
        "auth": "Refuses the login: 535 5.7.8; who does not log in: 530 5.7.0",
        "lost_answer": "Takes the message, then drops the connection before answering",
    },
    "sms": {
        "ok": "Works",
        "refused": "Is down: the connection is refused",
        "silent": "Accepts the connection and never answers",
        "error": "Fails: HTTP 500",
        "rate_limited": "Asks to slow down: HTTP 429, Retry-After 1",
        "rejected": "Knows no such number",
        "lost_answer": "Takes the message, then drops the connection before answering",
    },
    "telegram": {
        "ok": "Works",
        "refused": "Is down: the connection is refused",
        "silent": "Accepts the connection and never answers",
        "error": "Fails: HTTP 500",
        "rate_limited": "Asks to slow down: HTTP 429, retry_after 1",
        "blocked": "The person has blocked the bot: HTTP 403",
        "lost_answer": "Takes the message, then drops the connection before answering",
    },
}
"""What each switch can be set to, with a sentence for people."""

Listener = Callable[[Channel, str], None]


class Switches:
    """One switch a channel, "ok" at first; safe to use from several threads.

    A change has taken effect when the call that made it returns.
    """

    def __init__(self, on_change: Listener | None = None) -> None:
        self._names: dict[Channel, str] = dict.fromkeys(CHANNELS, "ok")
        self._on_change = on_change
        self._changing = threading.RLock()

    def get(self, channel: Channel) -> str:
        """How the channel's server behaves now."""
        return self._names[channel]

    def state(self) -> dict[Channel, str]:
        """All switches."""
        with self._changing:
            return dict(self._names)

    def set(self, channel: str, name: str) -> None:
        """Set one switch. Raises ValueError where there is no such channel or choice."""
        self.update({channel: name})

    def update(self, names: Mapping[str, str]) -> None:
        """Set several switches: all of them, or none and a ValueError where a channel or choice is unknown."""
        wanted = [(_channel(channel), name) for channel, name in names.items()]
        for channel, name in wanted:
            if name not in CHOICES[channel]:
                raise ValueError(f"{channel} has no switch {name!r}, only {', '.join(CHOICES[channel])}")
        with self._changing:
            for channel, name in wanted:
                if self._names[channel] == name:
                    continue
                before, self._names[channel] = self._names[channel], name
                try:
                    if self._on_change is not None:
                        self._on_change(channel, name)
                except BaseException:
                    self._names[channel] = before
                    raise

    def reset(self) -> None:
        """Set every switch to "ok"."""
        self.update(dict.fromkeys(CHANNELS, "ok"))


def _channel(name: str) -> Channel:
    for channel in CHANNELS:
        if channel == name:
            return channel
    raise ValueError(f"there is no channel {name!r}, only {', '.join(CHANNELS)}")
