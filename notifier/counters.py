"""Counters with a limit, shared by all processes through Redis, and this process's own where there is none."""

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock

import redis
from django.conf import settings

log = logging.getLogger(__name__)

ANSWER_SECONDS = 0.5
"""How long Redis may take. A limit is worth no more of a client's time."""

LEFT_ALONE = 5.0
"""Seconds for which a Redis that failed is not asked."""


@dataclass(frozen=True, slots=True)
class Count:
    """`number` more of what `name` stands for, of which a window of so many seconds has room for `most`."""

    name: str
    number: int
    most: int
    seconds: int


def take(counts: Sequence[Count]) -> float | None:
    """Count all of these, or none where one is over its limit: then the seconds until the last such window ends.

    Never fails: while Redis is away each process counts by itself, from nothing.
    """
    now = time.time()
    client = _shared()
    if client is not None and time.monotonic() >= _pause.until:
        try:
            return _take(counts, now, lambda amounts: _add(client, amounts))
        except redis.RedisError:
            _pause.begin()
    return _take(counts, now, _own.add)


Amounts = Sequence[tuple[str, int, int]]
"""Keys, what to add to each, and for how many seconds at most each is of use."""


def _take(counts: Sequence[Count], now: float, add: Callable[[Amounts], list[int]]) -> float | None:
    keys = [_key(count, now) for count in counts]
    sums = add([(key, count.number, count.seconds) for key, count in zip(keys, counts, strict=True)])
    over = [count for count, total in zip(counts, sums, strict=True) if total > count.most]
    if not over:
        return None
    add([(key, -count.number, count.seconds) for key, count in zip(keys, counts, strict=True)])
    return max(count.seconds - now % count.seconds for count in over)


def _key(count: Count, now: float) -> str:
    """Of its window. Hashed: what is counted are addresses of people."""
    window = int(now // count.seconds)
    return "notifier:count:" + hashlib.sha256(f"{count.name}:{count.seconds}:{window}".encode()).hexdigest()[:40]


class _OwnCounters:
    """This process's counters."""

    MOST = 100_000  # keys, after which those of past windows are looked for

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, float]] = {}
        self._turn = Lock()

    def add(self, amounts: Amounts) -> list[int]:
        """Add these; returns the new sums."""
        now = time.monotonic()
        with self._turn:
            if len(self._sums) > self.MOST:
                self._sums = {key: known for key, known in self._sums.items() if known[1] > now}
            sums = []
            for key, number, seconds in amounts:
                total, until = self._sums.get(key, (0, now + seconds))
                self._sums[key] = (total + number, until)
                sums.append(total + number)
        return sums

    def forget(self) -> None:
        """Begin anew."""
        with self._turn:
            self._sums.clear()


class _Pause:
    """While Redis is left alone."""

    until = float("-inf")

    def begin(self) -> None:
        """It failed just now."""
        self.until = time.monotonic() + LEFT_ALONE
        log.warning("Redis does not count; each process counts by itself for now.")


_own = _OwnCounters()
_pause = _Pause()


def forget() -> None:
    """Begin anew, in this process."""
    _own.forget()
    _pause.until = float("-inf")
    _shared.cache_clear()


@cache
def _shared() -> "redis.Redis | None":
    if not settings.REDIS_URL:
        return None
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS, retry=None
    )


def _add(client: "redis.Redis", amounts: Amounts) -> list[int]:
    with client.pipeline(transaction=True) as pipeline:
        for key, number, seconds in amounts:
            pipeline.incrby(key, number)
            pipeline.expire(key, seconds)
        return [int(total) for total in pipeline.execute()[::2]]
