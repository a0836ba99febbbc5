"""What goes wrong around a job: the database, the broker, the service itself."""

import json
import logging
from collections.abc import Callable
from threading import Event
from types import SimpleNamespace
from typing import Any

import amqp
import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from pytest_django.fixtures import Settings

from notifier import bell
from notifier.amqp import broker, consumer, session
from notifier.amqp.consumer import JobConsumer
from notifier.amqp.jobs import Job
from notifier.models import Notification, Organization
from tests.amqp.conftest import Jobs, Take, Until
from tests.servers.base import free_port, wait_until

MAIL = json.dumps({"to_email": "ann@example.com", "message": "Text"}).encode()


def failing(error: Exception, times: int, then: Callable[..., None], key: str = "") -> Callable[..., None]:
    """Fails so often over jobs with this key, then does as `then` does."""
    left = [error] * times

    def act(organization: Organization, job: Job) -> None:
        if left and job.key == key:
            raise left.pop()
        then(organization, job)

    return act


@pytest.fixture(autouse=True)
def connection_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure it would be closed, and with it the test's transaction be gone."""
    kept = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr("notifier.amqp.consumer.connection", kept)


# --- The database ----------------------------------------------------------------------------------------------------
def test_while_the_database_is_away_jobs_stay_where_they_are(
    jobs: Jobs, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(consumer, "accept", failing(OperationalError("gone"), 20, consumer.accept))
    jobs.put(MAIL)
    jobs.put(b"nonsense")
    done = take(2)
    assert (done.accepted, done.dead) == (1, 1)
    assert Notification.objects.count() == 1


def test_a_stop_while_the_database_is_away_loses_nothing(
    jobs: Jobs, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = Event()
    gone = SimpleNamespace(close=tried.set)
    monkeypatch.setattr("notifier.amqp.consumer.connection", gone)
    monkeypatch.setattr(consumer, "accept", failing(OperationalError("gone"), 99, consumer.accept))
    for _ in range(session.PREFETCH + 10):
        jobs.put(MAIL)
    JobConsumer(jobs.url, jobs.name, organization, Until(tried.is_set)).run()
    wait_until(lambda: jobs.waiting() == session.PREFETCH + 10, 30, "all are back")
    assert jobs.dead() == []


def test_a_job_that_the_database_alone_cannot_take_does_not_stop_the_queue(
    jobs: Jobs, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(consumer, "accept", failing(OperationalError("x"), 99, consumer.accept, "poison"))
    jobs.put(MAIL, message_id="poison")
    others = 2 * session.PREFETCH * consumer.MOST_TRIES
    for _ in range(others):
        jobs.put(MAIL)
    done = take(others + 1)
    assert (done.accepted, done.dead) == (others, 1)
    assert jobs.dead()[0].properties["message_id"] == "poison"


def test_where_workers_are_anothers_threads_no_bells_pile_up(
    jobs: Jobs, take: Take, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = False
    rung: list[bool] = []
    monkeypatch.setattr(bell, "ring_after_commit", lambda _ids: rung.append(settings.EMBEDDED))
    for settings.EMBEDDED in (True, False):
        jobs.put(MAIL)
        jobs.put(MAIL, message_id=f"with a key {settings.EMBEDDED}")
        take(2)
    assert rung == [False, False]


# --- A bug -----------------------------------------------------------------------------------------------------------
def test_a_bug_gives_a_job_a_second_chance(jobs: Jobs, take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "accept", failing(RuntimeError("bug"), 1, consumer.accept))
    jobs.put(MAIL)
    assert take(1).accepted == 1
    assert jobs.dead() == []


def test_a_bug_that_stays_makes_a_dead_letter(
    jobs: Jobs, take: Take, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(consumer, "accept", failing(RuntimeError("s3cr3t"), 2, consumer.accept, "poison"))
    jobs.put(MAIL, message_id="poison")
    jobs.put(MAIL)
    done = take(2)
    assert (done.accepted, done.dead) == (1, 1)
    (letter,) = jobs.dead()
    assert letter.headers["x-error-codes"] == "internal_error"
    assert "s3cr3t" not in letter.headers["x-error"]
    assert "A job failed." in caplog.text


# --- The broker ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_queue_that_is_there_is_used_as_it_is(
    kind: str, jobs: Jobs, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{jobs.name}-{kind}"
    jobs.channel.queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": kind})
    own = Jobs(jobs.url, name)
    monkeypatch.setattr(consumer, "accept", failing(RuntimeError("bug"), 1, consumer.accept))
    own.put(MAIL)
    own.put(b"nonsense")
    made: JobConsumer
    stop = Until(lambda: made.accepted + made.dead == 2)
    made = JobConsumer(jobs.url, name, organization, stop)
    made.run()
    assert (made.accepted, made.dead) == (1, 1)
    assert len(own.dead()) == 1
    own.remove()


def test_the_queues_it_makes_outlive_a_node_and_give_nothing_up(jobs: Jobs) -> None:
    for name, arguments in (
        (jobs.name, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{jobs.name}.dead"}),
        (f"{jobs.name}.dead", {}),
    ):
        limit = 1000 if arguments else 1_000_000
        # RabbitMQ refuses another kind than the one that is there.
        jobs.channel.queue_declare(
            name,
            durable=True,
            auto_delete=False,
            arguments={"x-queue-type": "quorum", "x-delivery-limit": limit, **arguments},
        )


def test_after_a_lost_connection_and_a_lost_queue_it_goes_on(
    jobs: Jobs, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "LONGEST_PAUSE", 0.01)
    name = f"{jobs.name}-lost"
    made: JobConsumer

    def then() -> bool:
        """Between two looks of the consumer, break something."""
        if made.accepted == 1 and not broken:
            broken.append("queues")
            for one in (name, broker.dead(name)):
                jobs.channel.queue_delete(one)
        elif made.accepted == 1 and jobs_there() and "put" not in broken:
            broken.append("put")
            broker.put(jobs.channel, name, amqp.Message(b"nonsense"))
            broker.put(jobs.channel, name, amqp.Message(MAIL))
        return made.accepted == 2

    def jobs_there() -> bool:
        return broker.exists(jobs.connection, name)

    broken: list[str] = []
    broker.declare(jobs.connection, name)
    broker.put(jobs.channel, name, amqp.Message(MAIL))
    made = JobConsumer(jobs.url, name, organization, Until(then))
    made.run()
    assert (made.accepted, made.dead) == (2, 1)
    Jobs(jobs.url, name).remove()


def test_a_dead_letter_that_has_no_queue_is_not_lost(
    jobs: Jobs, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "LONGEST_PAUSE", 0.01)
    name = f"{jobs.name}-undead"
    broker.declare(jobs.connection, name)
    own = Jobs(jobs.url, name)
    made: JobConsumer
    buried = session.Session.bury

    def bury(self: session.Session, *args: Any) -> None:
        if not gone:
            gone.append(True)
            own.channel.queue_delete(broker.dead(name))
        buried(self, *args)

    gone: list[bool] = []
    monkeypatch.setattr(session.Session, "bury", bury)
    own.put(b"nonsense")
    made = JobConsumer(jobs.url, name, organization, Until(lambda: made.dead == 1))
    made.run()
    assert len(own.dead()) == 1
    own.remove()


@pytest.mark.parametrize("user", ["guest:wr0ng-canary@", "nobody:wr0ng-canary@"])
def test_a_refused_login_ends_the_first_start_with_a_sentence(
    user: str, jobs: Jobs, organization: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    url = jobs.url.replace("guest:guest@", user)
    with pytest.raises(CommandError, match="refuses the user or the password") as refused:
        call_command("consume_amqp", "--url", url, "--queue", jobs.name)
    assert "canary" not in f"{refused.value}{caplog.text}"


def test_a_broker_that_is_not_there_is_called_again(
    organization: Organization, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(consumer, "LONGEST_PAUSE", 0.01)
    url = f"amqp://guest:canary@127.0.0.1:{free_port()}//"
    caplog.set_level(logging.WARNING)
    JobConsumer(url, "q", organization, Until(lambda: len(caplog.records) >= 3)).run()
    assert "trying again" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "set AMQP_URL"),
        (["--url", "redis://127.0.0.1"], "begins with amqp://"),
        (["--url", "amqp://a//;http://b"], "begins with amqp://"),
        (["--url", "amqp://127.0.0.1//", "--queue", "q" * 251], "1 to 250 bytes"),
        (["--url", "amqp://127.0.0.1//", "--organization", "nobody"], "no organization 'nobody'"),
    ],
)
def test_what_the_command_cannot_do_it_says(arguments: list[str], words: str, organization: Organization) -> None:
    with pytest.raises(CommandError, match=words):
        call_command("consume_amqp", *arguments)


def test_an_event_that_is_set_ends_it_at_once(jobs: Jobs, organization: Organization) -> None:
    stop = Event()
    stop.set()
    JobConsumer(jobs.url, jobs.name, organization, stop).run()


# --- Dead letters ----------------------------------------------------------------------------------------------------
def test_dead_letters_are_put_back_as_they_came(
    jobs: Jobs, take: Take, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(consumer, "accept", failing(RuntimeError("bug"), 2, consumer.accept, "7"))
        jobs.put(MAIL, message_id="7", content_type="application/json", application_headers={"trace": "abc"})
        jobs.put(b"nonsense")
        assert take(2).dead == 2
    call_command("consume_amqp", "--url", jobs.url, "--queue", jobs.name, "--requeue-dead")
    assert "2 dead letters are back" in capsys.readouterr().out
    assert jobs.dead() == []
    back = [jobs.channel.basic_get(jobs.name) for _ in range(2)]
    for message in back:
        assert not any(name.startswith(("x-error", "x-original")) for name in message.headers)
        jobs.channel.basic_reject(message.delivery_tag, requeue=True)
    assert {message.properties.get("message_id"): message.headers.get("trace") for message in back}["7"] == "abc"
    done = take(2)
    assert (done.accepted, done.dead) == (1, 1)
