"""From the setting `CHANNELS` to channel objects.

`{"email": {"CLASS": "channels.email.EmailChannel", "OPTIONS": {}}}`, as Django does for CACHES.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from threading import Lock
from typing import Any

from channels.base import Account, Channel


class ChannelRegistry:
    """The channels of one process, made on first use and kept, since they hold connections."""

    def __init__(self, config: Mapping[str, Mapping[str, Any]]) -> None:
        self._config = dict(config)
        self._made: dict[str, Channel[Any]] = {}
        self._lock = Lock()

    def __contains__(self, name: object) -> bool:
        return name in self._config

    def __iter__(self) -> Iterator[str]:
        return iter(self._config)

    def __getitem__(self, name: str) -> Channel[Account]:
        """The channel of that name. KeyError for a name that is not configured, ImportError for a wrong class."""
        with self._lock:
            if name not in self._made:
                self._made[name] = _make(name, self._config[name])
            return self._made[name]

    def close(self) -> None:
        """Close every channel's connections; they are opened anew when needed."""
        with self._lock:
            for channel in self._made.values():
                channel.close()


def _make(name: str, entry: Mapping[str, Any]) -> Channel[Any]:
    path = str(entry["CLASS"])
    module, _, class_name = path.rpartition(".")
    made = getattr(import_module(module), class_name)(**entry.get("OPTIONS", {}))
    if not isinstance(made, Channel) or made.name != name:
        raise ImportError(f"CHANNELS[{name!r}]: {path} is no channel of that name.")
    return made
