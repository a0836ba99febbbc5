"""One connection to the broker: jobs come from it, and what is no job goes back to it as a dead letter."""

import socket
from collections import deque
from contextlib import suppress
from typing import Any

import amqp
from amqp.serialization import dumps

from notifier.amqp import broker
from notifier.amqp.frames import UNREADABLE
from notifier.amqp.jobs import Refusal

PREFETCH = 20
"""Messages in hand. More is no faster, and each may have 10 MB."""

HEARTBEAT = 30.0

MOVED = {"expiration", "user_id", "cluster_id"}
"""Properties that a dead letter cannot have: the first would let it vanish, the others are another publisher's."""

ROUTES = {"CC", "BCC"}
"""Headers by which RabbitMQ brings a message to further queues, the jobs' own among them."""

_OURS = ("x-error", "x-original-", UNREADABLE)
_MOST_HEADERS = 60_000  # bytes; all properties have to fit into one frame of 128 KiB


class Session:
    """Between `open` and `close`. An error of the broker ends it; what was not acknowledged comes again on the next."""

    def __init__(self, address: Any, queue: str) -> None:
        self.queue = queue
        self.inbox: deque[amqp.Message] = deque()
        self._connection = broker.connection(address, heartbeat=HEARTBEAT)
        self._in: Any = None
        self._out: Any = None

    def open(self) -> None:
        """Connect, and begin to consume."""
        broker.open_now(self._connection)
        broker.declare(self._connection, self.queue)
        self._in, self._out = broker.channel(self._connection), broker.channel(self._connection)
        self._in.basic_qos(0, PREFETCH, a_global=False)
        self._in.basic_consume(self.queue, callback=self.inbox.append)

    def listen(self, seconds: float) -> None:
        """Wait for messages, at most so long; they come into the inbox."""
        self._connection.heartbeat_check()
        with suppress(socket.timeout):
            self._connection.drain_events(timeout=seconds)

    def acknowledge(self, message: amqp.Message) -> None:
        """It is dealt with, and leaves the queue."""
        self._in.basic_ack(message.delivery_tag)

    def give_back(self, message: amqp.Message) -> None:
        """Let it come again, here or to another consumer."""
        self._in.basic_reject(message.delivery_tag, requeue=True)

    def bury(self, message: amqp.Message, refusal: Refusal) -> None:
        """Put a message among the dead letters, as it came, with the reason; then it is acknowledged."""
        broker.put(self._out, broker.dead(self.queue), dead_letter(message, refusal))
        self.acknowledge(message)

    def close(self) -> None:
        """Give back what is in hand, and go; where the broker doesn't answer, without a farewell."""
        try:
            self._connection.release()
        except Exception:  # noqa: BLE001 - it is gone, or hangs
            broker.drop(self._connection)
        self.inbox.clear()


def content_of(message: amqp.Message) -> bytes:
    """A message's body; of an empty one py-amqp makes a text."""
    body = message.body
    return body.encode() if isinstance(body, str) else body


def dead_letter(message: amqp.Message, refusal: Refusal) -> amqp.Message:
    """The message with the reason in its headers."""
    told = {
        "x-error": refusal.sentence,
        "x-error-codes": refusal.codes,
        "x-original-exchange": message.delivery_info.get("exchange", ""),
        "x-original-routing-key": message.delivery_info.get("routing_key", ""),
    }
    kept = {
        name: value
        for name, value in message.properties.items()
        if name not in MOVED and name not in {"application_headers", "delivery_mode"}
    }
    told.update({f"x-original-{name}": str(message.properties[name]) for name in MOVED & message.properties.keys()})
    given = message.headers or {}
    headers = {f"x-original-{name}" if name in ROUTES else name: value for name, value in given.items()}
    if not _fits(headers):
        headers = {}
        told["x-error"] += " (its headers are left out)"
    return amqp.Message(content_of(message), delivery_mode=2, application_headers={**headers, **told}, **kept)


def revived(message: amqp.Message) -> amqp.Message:
    """A dead letter as it came to us: without the reason."""
    headers = {name: value for name, value in (message.headers or {}).items() if not str(name).startswith(_OURS)}
    kept = {name: value for name, value in message.properties.items() if name != "application_headers"}
    return amqp.Message(content_of(message), application_headers=headers, **kept)


def _fits(headers: dict[Any, Any]) -> bool:
    try:
        return len(dumps("F", (headers,))) <= _MOST_HEADERS
    except Exception:  # noqa: BLE001 - not everything that can be read can be written
        return False
