"""Putting jobs into a queue, from any Django code; nothing of the database is needed."""

import json
from collections.abc import Mapping
from typing import Any, Self
from uuid import uuid4

import amqp

from notifier.amqp import broker
from notifier.amqp.broker import BrokerError
from notifier.idempotency import FORM


class Publisher:
    """Several jobs over one connection: `with Publisher(url) as publisher: publisher.publish(job)`."""

    def __init__(self, address: Any = None, queue: str = broker.QUEUE) -> None:
        self._queue = broker.checked_name(queue)
        self._connection = broker.connection(address or broker.default_url())
        self._channel: Any = None

    def __enter__(self) -> Self:
        try:
            broker.open_now(self._connection)
            broker.declare(self._connection, self._queue)
            self._channel = broker.channel(self._connection)
        except Exception as error:  # noqa: BLE001 - brokers fail in many ways
            broker.drop(self._connection)
            raise BrokerError(f"{broker.explained(error)}.") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.release()

    def publish(self, job: Mapping[str, Any], *, message_id: str = "") -> str:
        """Put a job into the queue and return its id; RabbitMQ has it for good then.

        ValueError for what is no JSON or no id. BrokerError: whether it is there nobody knows; published again under
        the same id it becomes one notification.
        """
        name = message_id or str(uuid4())
        if not FORM.fullmatch(name):
            raise ValueError("A message_id has 1 to 255 printable ASCII characters.")
        message = amqp.Message(
            json.dumps(job, ensure_ascii=False, allow_nan=False).encode(),
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
            message_id=name,
        )
        try:
            broker.put(self._channel, self._queue, message)
        except Exception as error:  # noqa: BLE001
            broker.drop(self._connection)
            raise BrokerError(f"{broker.explained(error)}. The job {name} is not confirmed.") from None
        return name


def publish(job: Mapping[str, Any], queue: str = broker.QUEUE, url: Any = None, *, message_id: str = "") -> str:
    """Put one job into the queue and return its id, as `Publisher.publish` does. `url`: also a host's name or pika's
    ConnectionParameters; without it AMQP_URL."""
    with Publisher(url, queue) as publisher:
        return publisher.publish(job, message_id=message_id)
