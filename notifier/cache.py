"""The query cache is never worth a failed request: where Redis is out or full it misses, and stays out of the way."""

import logging
import time
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as NoRedisError
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

SILENCE = 5.0
"""Seconds without asking after a failure."""


class CacheopsClient(Redis):
    """cacheops' client: a failure of any kind reads as "Redis is out", the one that its degrade mode understands."""

    silent_until = 0.0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """As Redis does; `redis.ConnectionError` at once for some seconds after a failure."""
        if time.monotonic() < CacheopsClient.silent_until:
            raise NoRedisError("Redis failed a moment ago.")
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except RedisError as error:
            if type(error).__name__ == "NoScriptError":
                raise  # the ordinary way to learn that a script must be sent first
            CacheopsClient.silent_until = time.monotonic() + SILENCE
            log.warning("The query cache is off for some seconds: Redis failed. %s", type(error).__name__)
            raise NoRedisError("Redis failed.") from error
