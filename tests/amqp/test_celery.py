"""Celery over RabbitMQ: the bell is a quorum queue that stays short, and it is heard again after every outage."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import NotFound
from celery import Celery

from notifier import bell, brokers, celery_app
from notifier.amqp import broker
from notifier.amqp.publisher import publish
from notifier.consumer import Consumer
from sandbox.servers import Sandbox
from tests.servers.base import tail, wait_until
from tests.servers.fixtures import running
from tests.servers.migrated import migrate
from tests.servers.postgres import PostgresServer
from tests.servers.processes import ProjectProcess
from tests.servers.rabbitmq import RabbitServer

DEAF_WORKER = (  # it looks at the ledger when it starts, and then only when it is rung for
    "-c",
    "from celery.__main__ import main; from notifier import work; work.LOOK_SECONDS = 600; main()",
    *("-A", "notifier", "worker"),
)


@pytest.fixture(scope="module")
def own_rabbit() -> Iterator[RabbitServer]:
    """A RabbitMQ of this module's own; a test that pauses it lets it go on."""
    yield from running(RabbitServer())


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def environment(sandbox: Sandbox, fresh_postgres_server: PostgresServer, own_rabbit: RabbitServer) -> dict[str, str]:
    """An installation of its own."""
    made = {
        **sandbox.environment(),
        "DATABASE_URL": fresh_postgres_server.url,
        "CELERY_BROKER_URL": own_rabbit.url,
        "DJANGO_SECRET_KEY": "only-for-the-tests-" + "x" * 32,
    }
    migrate(made)
    return made


class Sender:
    """Puts jobs into the queue, and knows who has had his mail."""

    def __init__(self, url: str, sandbox: Sandbox, worker: ProjectProcess) -> None:
        self.url, self.sandbox, self.worker, self.sent = url, sandbox, worker, 0

    def send(self) -> None:
        """One more job."""
        publish({"to_email": f"p{self.sent}@example.com", "message": "Text"}, url=self.url)
        self.sent += 1

    def all_arrived(self) -> bool:
        """Whether each job has become a mail."""
        there = {one.to for one in self.sandbox.inbox.messages()}
        return there == {f"p{nth}@example.com" for nth in range(self.sent)}

    def until_heard(self) -> None:
        """Send until a bell is heard; each job before it is delivered then too."""
        next_at = 0.0

        def heard() -> bool:
            nonlocal next_at
            if time.monotonic() > next_at and self.sent < 60:
                self.send()
                next_at = time.monotonic() + 1.5
            return self.all_arrived()

        self.worker.wait_for(heard, 90, "a bell is heard")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_bells_are_heard_and_jobs_taken_again_after_broker_and_database_were_away(
    environment: dict[str, str],
    sandbox: Sandbox,
    own_rabbit: RabbitServer,
    fresh_postgres_server: PostgresServer,
    tmp_path: Path,
) -> None:
    worker = ProjectProcess("worker", DEAF_WORKER, environment, tmp_path)
    consumer = ProjectProcess("consumer", ("manage.py", "consume_amqp"), environment, tmp_path)
    sender = Sender(own_rabbit.url, sandbox, worker)
    with worker, consumer:
        worker.wait_for_line("ready", 60)
        consumer.wait_for_line("Taking jobs", 60)
        sender.send()
        worker.wait_for(sender.all_arrived, 60, "the first bell is heard")
        assert_bells_are_kept_well(own_rabbit.url)

        seen = len(consumer.output)
        own_rabbit.restart()
        consumer.wait_for_line("Taking jobs", 60, after=seen)
        sender.until_heard()

        fresh_postgres_server.kill()
        sender.send()
        consumer.wait_for_line("The database does not take jobs", 60)
        fresh_postgres_server.restart()
        sender.until_heard()
        assert broker_waits(own_rabbit.url, "email_queue.dead") == 0
        assert (worker.stop(), consumer.stop()) == (0, 0), tail(worker.log)
    assert len(sandbox.inbox.messages()) == sender.sent


def assert_bells_are_kept_well(url: str) -> None:
    """A quorum queue, and none of the exchanges with which Celery delays tasks."""
    connection = broker.connection(url)
    queue = brokers.bell_queue(amqp=True)
    channel: Any = connection.channel()
    channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=queue.queue_arguments)
    with pytest.raises(NotFound):
        channel.exchange_declare("celery_delayed_27", "topic", passive=True)
    connection.release()


def broker_waits(url: str, name: str) -> int | None:
    connection = broker.connection(url)
    try:
        return broker.waiting(connection, name)
    finally:
        connection.release()


def test_a_worker_says_nothing_of_itself_to_a_broker_that_may_be_frozen() -> None:
    controller = SimpleNamespace(use_eventloop=False)
    options = {"without_heartbeat": False}
    made: Any = Consumer(lambda _: None, app=celery_app, controller=controller, worker_options=options)
    steps = {type(step).__name__ for step in made.steps}
    assert "Tasks" in steps
    assert not {"Gossip", "Heart", "Mingle"} & steps


# --- Without a worker ------------------------------------------------------------------------------------------------
QUEUE = brokers.bell_queue(amqp=True)


def celery_at(url: str, seconds: int = 2) -> Celery:
    """Celery as the settings make it for RabbitMQ."""
    app = Celery(url, broker=url, set_as_current=False)
    app.conf.update(
        task_queues=[QUEUE],
        task_default_queue=QUEUE.name,
        task_publish_retry=False,
        broker_transport_options={**brokers.AMQP_FAILS_FAST, **brokers.amqp_options(seconds)},
        broker_connection_timeout=seconds,
    )
    return app


def close(app: Celery) -> None:
    """With the connections that it keeps."""
    pool: Any = app.pool
    pool.force_close_all()
    app.close()


@pytest.fixture(scope="module")
def app(rabbitmq_url: str) -> Iterator[Celery]:
    made = celery_at(rabbitmq_url)
    yield made
    close(made)


@pytest.fixture
def channel(rabbitmq_url: str) -> Iterator[Any]:
    """Of a connection of its own; afterwards there is no queue of bells."""
    connection = broker.connection(rabbitmq_url)
    channel: Any = connection.channel()
    yield channel
    channel.queue_delete(QUEUE.name)
    connection.release()


def test_while_nobody_hears_them_bells_do_not_pile_up(app: Celery, channel: Any) -> None:
    for _ in range(brokers.MOST_BELLS + 20):
        app.send_task("notifier.deliver")
    kept = channel.queue_declare(QUEUE.name, passive=True).message_count
    assert 0 < kept <= brokers.MOST_BELLS


def test_a_queue_of_an_earlier_version_is_in_nobodys_way(app: Celery, channel: Any) -> None:
    channel.queue_declare("notifier", durable=True, auto_delete=False)
    with app.connection_for_write() as connection:
        QUEUE(connection.channel()).declare()
    app.send_task("notifier.deliver")
    rung = channel.basic_get(QUEUE.name, no_ack=True)
    assert json.loads(rung.body)[:2] == [[], {}]
    channel.queue_delete("notifier")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_frozen_broker_is_given_up_soon(own_rabbit: RabbitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    app = celery_at(own_rabbit.url, seconds=1)

    @app.task(name="notifier.deliver")
    def deliver() -> None: ...

    monkeypatch.setattr(bell, "deliver", deliver)
    monkeypatch.setattr(bell, "SILENCE", 0)
    monkeypatch.setattr(bell, "_silent_until", 0.0)
    monkeypatch.setattr(broker, "CONNECT_SECONDS", 1)
    wait_until(lambda: bell.ring([]), 30, "the bell rings")  # a second is little for a broker on a busy machine
    own_rabbit.pause()
    try:
        for _ in range(2):  # on an open connection, and on a new one
            began = time.monotonic()
            assert not bell.ring([])
            assert time.monotonic() - began < 20  # and not until it thaws
        with pytest.raises(broker.BrokerError, match="does not answer in time"):
            publish({"to_email": "ann@example.com", "message": "Text"}, url=own_rabbit.url)
    finally:
        own_rabbit.resume()
    wait_until(lambda: bell.ring([]), 30, "it rings again")
    close(app)
