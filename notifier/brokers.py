"""How we speak to the broker and to Redis: briefly. They hold bells and copies; nobody waits long for those."""

import ssl
import sys
from typing import Any
from urllib.parse import unquote, urlsplit

from kombu import Queue
from redis.backoff import NoBackoff
from redis.retry import Retry

from notifier.environment import wrong

# Publishing ends after 1.0 s on a hung Redis and at once on a refused one; with Celery's defaults it hangs for minutes.
BROKER_FAILS_FAST: dict[str, Any] = {
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
    "max_retries": 0,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
    "visibility_timeout": 600,
    "global_keyprefix": "notifier:",
}

# Without these py-amqp asks for a good certificate, but not whose it is. `None` becomes the host's name, in the same
# dict: every broker needs a copy of its own.
AMQP_TLS: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}

MOST_BELLS = 100
"""Bells that a queue keeps. One is as good as many; while no worker runs they would fill the broker's disk."""


def amqp_options(seconds: int) -> dict[str, Any]:
    """RabbitMQ confirms what it was given, and nothing waits longer than so for any answer of it."""
    timeouts = {"read_timeout": seconds, "write_timeout": seconds}
    # py-amqp's form of these is not what Windows understands.
    return {"confirm_publish": True, **({} if sys.platform == "win32" else timeouts)}


# Publishing ends after 2 s on a hung RabbitMQ and at once on a refused one.
AMQP_FAILS_FAST: dict[str, Any] = {
    **amqp_options(2),
    "max_retries": 0,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}


def bell_queue(*, amqp: bool) -> Queue:
    """Where bells are rung.

    In RabbitMQ a quorum queue, which outlives the loss of a node. A queue keeps its type for good, and who asks for
    another is refused: hence a name that no earlier version took.
    """
    if not amqp:
        return Queue("notifier")
    limits = {"x-queue-type": "quorum", "x-max-length": MOST_BELLS, "x-overflow": "drop-head"}
    return Queue("notifier.bells", routing_key="notifier.bells", queue_arguments=limits)


# kombu's in-memory transport sleeps a second between looks: 0.01 s costs 0.6 % of a core and makes a bell 7 ms away.
MEMORY_BROKER: dict[str, Any] = {"polling_interval": 0.01}

# A cached query is worth less than the wait for a frozen Redis.
CACHE_SECONDS = 0.25


def cacheops_redis(url: str) -> dict[str, Any]:
    """cacheops' settings for that Redis: a dict, since its URL form cannot carry the retry object."""
    parts = urlsplit(url)
    number = parts.path.strip("/") or "0"
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        raise wrong("REDIS_URL", f"{number!r} is no number of a database", "redis://127.0.0.1:6379/0")
    return {
        "host": parts.hostname or "127.0.0.1",
        "port": parts.port or 6379,
        "db": int(number),
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "ssl": parts.scheme == "rediss",
        "socket_timeout": CACHE_SECONDS,
        "socket_connect_timeout": CACHE_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
