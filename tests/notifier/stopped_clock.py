"""Counters whose windows move on when a test says so."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from notifier import counters


class Clock:
    """The clock by which all is counted, in this process and in Redis: it moves when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
        script = counters._LUA.replace("redis.call('TIME')", "{redis.call('GET', 'clock'), 0}")
        assert script != counters._LUA
        monkeypatch.setattr(counters, "_LUA", script)
        mine = SimpleNamespace(monotonic=time.monotonic, monotonic_ns=lambda: self.now * 10**9)
        monkeypatch.setattr(counters, "time", mine)
        self._redis: Any = redis.Redis.from_url(redis_url)
        self.begin()

    def begin(self) -> None:
        """The time at which each of these tests begins, where nothing has been counted."""
        self._redis.flushdb()
        counters.forget()
        self.now = 1_800_000_000
        self.passes(0)

    def passes(self, seconds: int) -> None:
        """So much later."""
        self.now += seconds
        self._redis.set("clock", self.now)

    def close(self) -> None:
        """Its connection."""
        self._redis.close()
