"""Real consumers and workers: killed at the worst moment, stopped in the middle, left without broker or database."""

import json
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import amqp
import psycopg2
import pytest

from notifier.amqp import broker
from tests.amqp.conftest import Jobs
from tests.servers.base import wait_until
from tests.servers.migrated import migrate
from tests.servers.postgres import PostgresServer
from tests.servers.processes import ProjectProcess

pytestmark = [pytest.mark.real_server, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]
SECRET = {"DJANGO_SECRET_KEY": "only-for-the-tests-" + "x" * 32}


class Service:
    """A database of its own and a queue."""

    def __init__(self, database: str, rabbit: str, directory: Path) -> None:
        self.database, self.rabbit, self.directory = database, rabbit, directory
        self.environment = {**SECRET, "DATABASE_URL": database, "AMQP_URL": rabbit}
        migrate(self.environment)

    def jobs(self) -> Jobs:
        """A new queue."""
        name = f"jobs-{uuid4()}"
        connection = broker.connection(self.rabbit)
        broker.declare(connection, name)
        connection.release()
        return Jobs(self.rabbit, name)

    def consumer(self, queue: str, *halts: str) -> ProjectProcess:
        """`manage.py consume_amqp`, or the one that halts."""
        how = ("-m", "tests.amqp.driver", *halts) if halts else ("manage.py", "consume_amqp")
        return ProjectProcess(f"consumer-{uuid4()}", (*how, "--queue", queue), self.environment, self.directory)

    def messages(self) -> list[str]:
        """The texts of the stored notifications."""
        with closing(psycopg2.connect(self.database)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT message FROM notifier_notification ORDER BY id")
            return [text for (text,) in cursor.fetchall()]


@pytest.fixture(scope="module")
def service(postgres_server: PostgresServer, rabbitmq_url: str, tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service(postgres_server.create_database("amqp_jobs"), rabbitmq_url, tmp_path_factory.mktemp("amqp"))


def job(text: str) -> bytes:
    return json.dumps({"to_email": "ann@example.com", "message": text}).encode()


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_consumer_that_is_killed_around_the_commit_neither_loses_nor_doubles(place: str, service: Service) -> None:
    jobs = service.jobs()
    texts = [f"{place} {nth}" for nth in range(3)]
    for text in (*texts, "halt", "afterwards"):
        jobs.put(job(text), message_id=f"{place} {text}")
    before = len(service.messages())
    with service.consumer(jobs.name, place) as halting:
        halting.wait_for_line("HALTED")
        halting.kill()
    assert len(service.messages()) - before == len(texts) + (place == "after")
    with service.consumer(jobs.name) as consumer:
        consumer.wait_for(lambda: len(service.messages()) - before >= 5, what="all are stored")
        assert consumer.stop() == 0
    assert sorted(service.messages()[before:]) == sorted([*texts, "halt", "afterwards"])
    assert (jobs.waiting(), jobs.dead()) == (0, [])
    jobs.remove()


def test_of_a_thousand_the_malformed_are_put_aside_and_the_others_are_stored_whatever_stops(service: Service) -> None:
    jobs = service.jobs()
    before = len(service.messages())
    connection = broker.connection(service.rabbit)
    channel: Any = connection.channel()
    for nth in range(1000):
        body = b"{" if nth % 100 == 50 else job(f"text {nth}")
        message = amqp.Message(body, delivery_mode=2, message_id=f"job {nth}")
        channel._basic_publish(message, exchange="", routing_key=jobs.name)  # without a confirmation each
    wait_until(lambda: jobs.waiting() == 1000, 60, "all are published")
    connection.release()
    consumer = service.consumer(jobs.name)
    with consumer:
        consumer.wait_for(lambda: len(service.messages()) - before > 0, what="some are stored")
        assert consumer.stop(signal.SIGINT) == 0
        assert "so far" in consumer.output
        assert jobs.waiting()
        consumer.start()
        consumer.wait_for(lambda: len(service.messages()) - before >= 990, what="all are stored")
        assert consumer.stop() == 0
    texts = service.messages()[before:]
    assert (len(texts), len(set(texts)), jobs.waiting()) == (990, 990, 0)
    assert [letter.headers["x-error"] for letter in jobs.dead()] == ["The body is not JSON."] * 10
    jobs.remove()
