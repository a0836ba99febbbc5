"""Wakes whoever listens to events: somewhere a status changed, look again.

In this process by a call, in others through Redis, where there is one. A wake may be lost: who listens looks by himself
every second. It is given by a thread of its own, so that a Redis that hangs holds up nothing else.
"""

import logging
import time
from collections.abc import Callable

import redis
from django.conf import settings
from django.db import connection, transaction
from redis.backoff import NoBackoff
from redis.retry import Retry

from notifier.coalescing import Coalesced

log = logging.getLogger(__name__)

CHANNEL = "notifier:events"

GAP = 0.05
"""Seconds between two wakes of a process."""

IDLE_GAP = 1.0
"""The same while nobody listens: then those who begin to look by themselves as soon."""

ANSWER_SECONDS = 1.0
SILENCE = 5.0
"""Seconds for which a Redis that failed is left alone."""


def wake_after_commit() -> None:
    """Have those who listen look again once the transaction is committed. Returns at once."""
    if not (settings.REDIS_URL or _waker.listeners):
        return
    if connection.in_atomic_block:
        transaction.on_commit(_waker.ask, robust=True)
    else:
        _waker.ask()


def listen(look: Callable[[], None]) -> None:
    """Have this called, in a thread of our own, after each change that this process made."""
    _waker.listeners.add(look)


def unlisten(look: Callable[[], None]) -> None:
    """No more."""
    _waker.listeners.discard(look)


class _Waker:
    """Wakes in this process, and through Redis in all others."""

    def __init__(self) -> None:
        self.listeners: set[Callable[[], None]] = set()
        self.ask = Coalesced(self._wake, "wakes").ask
        self._client: redis.Redis | None = None
        self._silent_until = 0.0
        self._is_well = True

    def _wake(self) -> float:
        for look in list(self.listeners):
            look()
        heard = self._publish() if settings.REDIS_URL else 0
        return GAP if heard or self.listeners else IDLE_GAP

    def _publish(self) -> int:
        """How many processes heard it."""
        if time.monotonic() < self._silent_until:
            return 0
        try:
            if self._client is None:
                self._client = redis.Redis.from_url(
                    settings.REDIS_URL,
                    socket_timeout=ANSWER_SECONDS,
                    socket_connect_timeout=ANSWER_SECONDS,
                    retry=Retry(NoBackoff(), 0),
                )
            heard = int(self._client.publish(CHANNEL, ""))
        except Exception as error:  # noqa: BLE001 - whatever it is, who listens looks by himself
            self._silent_until = time.monotonic() + SILENCE
            if self._is_well:
                self._is_well = False
                log.warning("Redis wakes nobody; who listens to events looks by himself. %s", type(error).__name__)
            return 0
        self._is_well = True
        return heard


_waker = _Waker()
