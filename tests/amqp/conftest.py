"""A real RabbitMQ with a queue for jobs, and the consumer in the test's own process."""

import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any
from uuid import uuid4

import amqp
import pytest

from notifier.amqp import broker
from notifier.amqp.consumer import JobConsumer
from notifier.models import Organization

Take = Callable[..., JobConsumer]


class Jobs:
    """A queue of jobs with its dead letters."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url, name
        self.connection = broker.connection(url)
        broker.open_now(self.connection)
        self.channel = broker.channel(self.connection)

    def put(self, body: bytes | str, **properties: Any) -> None:
        """Put a message there as it is."""
        broker.put(self.channel, self.name, amqp.Message(body, **properties))

    def dead(self) -> list[Any]:
        """The dead letters, which are taken out."""
        letters = []
        while (letter := self.channel.basic_get(broker.dead(self.name), no_ack=True)) is not None:
            letters.append(letter)
        return letters

    def waiting(self) -> int | None:
        """Messages that nobody has taken."""
        return broker.waiting(self.connection, self.name)

    def empty(self) -> None:
        """Take out what is in both queues."""
        self.channel.queue_purge(self.name)
        self.channel.queue_purge(broker.dead(self.name))

    def remove(self) -> None:
        """Delete both queues."""
        self.channel.queue_delete(self.name)
        self.channel.queue_delete(broker.dead(self.name))
        self.connection.release()


class Until(Event):
    """Set as soon as it is true, or too late."""

    def __init__(self, condition: Callable[[], bool], seconds: float = 90) -> None:
        super().__init__()
        self._condition, self._end = condition, time.monotonic() + seconds

    def is_set(self) -> bool:
        return self._condition() or time.monotonic() > self._end


@pytest.fixture(scope="session")
def shared_jobs(rabbitmq_url: str) -> Iterator[Jobs]:
    """Made once: a new queue takes longer than a test."""
    name = f"jobs-{uuid4()}"
    connection = broker.connection(rabbitmq_url)
    broker.declare(connection, name)
    connection.release()
    made = Jobs(rabbitmq_url, name)
    yield made
    made.remove()


@pytest.fixture
def jobs(shared_jobs: Jobs) -> Iterator[Jobs]:
    """An empty queue."""
    yield shared_jobs
    shared_jobs.empty()


@pytest.fixture
def take(jobs: Jobs, organization: Organization) -> Take:
    """Consumes until so many messages are dealt with."""

    def run(count: int, **others: Any) -> JobConsumer:
        made: JobConsumer
        stop = Until(lambda: made.accepted + made.dead >= count)
        made = JobConsumer(jobs.url, others.get("queue", jobs.name), others.get("organization", organization), stop)
        made.run()
        assert made.accepted + made.dead == count
        return made

    return run
