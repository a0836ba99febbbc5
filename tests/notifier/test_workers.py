"""Real workers, real Redis, real PostgreSQL, real providers: what is accepted arrives once, whatever dies meanwhile."""

import json
import signal
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from sandbox.inbox import Entry
from sandbox.servers import Sandbox
from tests.servers.migrated import migrate
from tests.servers.postgres import PostgresServer
from tests.servers.processes import ProjectProcess, beat, manage, web, worker
from tests.servers.redis import RedisServer

pytestmark = [pytest.mark.real_server, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]
A_SECOND = 8.0
"""Of an idle machine, in those of a busy one."""
NOTHING = 0.45
"""What an answer takes that waits for no Redis. Where each did, the quickest one would take longer, too."""
ACCEPT = """
from notifier import send
for number in range({many}):
    send(to={{"email": f"p{{number}}@example.com", "phone": f"+1202555{{number:04}}"}}, message="Hello", {fields})
"""
_numbers = count()


@dataclass
class Service:
    """One installation: a database, providers, and whatever processes a test starts with `environment`."""

    environment: dict[str, str]
    directory: Path
    sandbox: Sandbox
    postgres: PostgresServer
    database: str

    def accept(self, many: int = 1, fields: str = "") -> None:
        """Accept so many notifications from Python, as another process would."""
        manage("shell", "-v", "0", "-c", ACCEPT.format(many=many, fields=fields), environment=self.environment)

    def ask(self, sql: str) -> list[str]:
        """The rows of an answer."""
        return self.postgres.query(sql, database=self.database).splitlines()

    def statuses(self) -> dict[str, int]:
        rows = (line.split("|") for line in self.ask("SELECT status, count(*) FROM notifier_notification GROUP BY 1"))
        return {status: int(number) for status, number in rows}

    def inbox(self) -> list[Entry]:
        """Every message that a provider took."""
        return self.sandbox.inbox.messages()

    def arrived(self) -> Counter[str]:
        """How often a message came to each address."""
        return Counter(entry.to for entry in self.inbox())

    def wait_for(self, many: int, process: ProjectProcess, seconds: float = 60) -> None:
        """Wait until so many are sent."""
        process.wait_for(lambda: self.statuses() == {"sent": many}, seconds, f"{many} notifications are sent")


@pytest.fixture(scope="module")
def providers() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def service(providers: Sandbox, postgres_server: PostgresServer, tmp_path: Path) -> Service:
    """A fresh one, without a broker."""
    providers.reset()
    database = f"workers_{next(_numbers)}"
    environment = {
        **providers.environment(),
        "DATABASE_URL": postgres_server.create_database(database),
        "DJANGO_SECRET_KEY": "only-for-the-tests-" + "x" * 32,
    }
    migrate(environment)
    return Service(environment, tmp_path, providers, postgres_server, database)


def post(process: ProjectProcess, to: str) -> tuple[int, dict[str, Any], float]:
    """POST a notification to this web process: the answer's status, its body, and how long it took."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{process.environment['PORT']}/api/notifications/",
        data=json.dumps({"to": {"email": to}, "message": "Hello"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    began = time.monotonic()
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
        return answer.status, json.load(answer), time.monotonic() - began


def serving(process: ProjectProcess) -> ProjectProcess:
    process.wait_for_line("listens on")
    return process


# --- With a broker ---------------------------------------------------------------------------------------------------
def test_a_post_arrives_and_every_process_ends_cleanly(service: Service, redis_url: str) -> None:
    environment = {**service.environment, "REDIS_URL": redis_url}
    with (
        web(environment, service.directory) as site,
        worker(environment, service.directory) as working,
        beat(environment, service.directory) as ringing,
    ):
        serving(site)
        working.wait_for_line("ready")
        ringing.wait_for_line("Sending due task bell")
        status, _, _ = post(site, "ann@example.com")
        assert status == 202
        entry = service.sandbox.inbox.wait_for(lambda entry: entry.to == "ann@example.com", 30)
        assert entry.text.strip() == "Hello"
        service.wait_for(1, working)
        assert service.ask("SELECT channel, outcome FROM notifier_attempt") == ["email|accepted"]
        assert [process.stop() for process in (ringing, working, site)] == [0, 0, 0]


def test_a_redis_that_hangs_or_dies_costs_the_client_a_second_once_and_nobody_a_message(
    service: Service, fresh_redis_server: RedisServer
) -> None:
    environment = {**service.environment, "REDIS_URL": fresh_redis_server.url}
    with web(environment, service.directory) as site, worker(environment, service.directory) as working:
        serving(site)
        working.wait_for_line("ready")
        post(site, "warm@example.com")
        service.wait_for(1, working)

        fresh_redis_server.pause()
        answers = [post(site, f"hung{number}@example.com") for number in range(5)]
        assert [status for status, *_ in answers] == [202] * 5
        took = [seconds for *_, seconds in answers]
        assert took[0] <= A_SECOND
        assert min(took[1:]) <= NOTHING
        service.wait_for(6, working)

        fresh_redis_server.kill()
        answers = [post(site, f"dead{number}@example.com") for number in range(5)]
        assert [status for status, *_ in answers] == [202] * 5
        assert min(seconds for *_, seconds in answers) <= NOTHING
        service.wait_for(11, working)

        fresh_redis_server.restart()
        post(site, "again@example.com")
        service.wait_for(12, working)
    assert set(service.arrived().values()) == {1}
    assert len(service.arrived()) == 12


def test_a_pool_of_processes_works_too(service: Service, redis_url: str) -> None:
    environment = {**service.environment, "REDIS_URL": redis_url}
    with worker(environment, service.directory, "-P", "prefork", "-c", "2") as working:
        working.wait_for_line("ready")
        service.accept(40)
        service.wait_for(40, working)
        assert working.stop() == 0
    assert sorted(service.arrived().values()) == [1] * 40


# --- Without one -----------------------------------------------------------------------------------------------------
def test_a_worker_without_a_broker_delivers_by_its_own_look(service: Service) -> None:
    service.accept(3)
    with worker(service.environment, service.directory) as working:
        service.wait_for(3, working)
        service.accept(2, fields="priority='high'")
        service.wait_for(5, working)


def test_the_embedded_mode_takes_up_what_was_open_at_its_start(service: Service) -> None:
    service.environment["DATABASE_URL"] = f"sqlite:///{service.directory / 'open.sqlite3'}"
    migrate(service.environment)
    service.accept(3)
    assert not service.arrived()
    with web(service.environment, service.directory) as site:
        serving(site)
        site.wait_for(lambda: len(service.arrived()) == 3, 30, "what was open arrives")
        _, body, _ = post(site, "late@example.com")
        service.sandbox.inbox.wait_for(lambda entry: entry.to == "late@example.com", 30)
        assert body["status"] == "queued"
        assert site.stop() == 0
    assert set(service.arrived().values()) == {1}


# --- Death -----------------------------------------------------------------------------------------------------------
def test_sigterm_under_load_loses_nothing_and_sends_nothing_twice(service: Service) -> None:
    service.accept(300)
    for name, many in (("first", 50), ("second", 100)):
        with worker(service.environment, service.directory, name=name) as working:
            working.wait_for_line("ready")  # the first one may have sent as many as the second waits for
            working.wait_for(lambda many=many: len(service.arrived()) >= many, 30, f"{many} arrive")  # type: ignore[misc]
            assert working.stop(signal.SIGTERM) == 0
        assert set(service.statuses()) <= {"queued", "sent"}  # nothing in a dead worker's hands
        assert service.statuses()["sent"] == len(service.arrived())
    with worker(service.environment, service.directory, name="third") as working:
        service.wait_for(300, working)
    assert sorted(service.arrived().values()) == [1] * 300
    assert service.ask("SELECT DISTINCT outcome, code FROM notifier_attempt") == ["accepted|"]


def test_kill_9_during_a_hand_over_leaves_unknown_and_the_next_channel_has_its_turn(service: Service) -> None:
    service.sandbox.switches.set("email", "silent")
    service.accept(2)
    environment = {**service.environment, "SMTP_TIMEOUT": "30"}
    with worker(environment, service.directory, name="first") as first:
        handed_over = "SELECT count(*) FROM notifier_notification WHERE status = 'sending' AND handover_step = 0"
        first.wait_for(lambda: service.ask(handed_over) == ["2"], 30, "both are being handed over")
        first.kill()
    leases = "SELECT count(*) FROM notifier_notification WHERE lease_until <= now() + interval '30 seconds'"
    assert service.ask(leases) == ["2"]
    # The second one may take long to start.
    service.ask("UPDATE notifier_notification SET lease_until = lease_until + interval '5 minutes'")
    service.sandbox.switches.set("email", "ok")
    with worker(environment, service.directory, name="second") as second:
        second.wait_for_line("ready")
        assert service.statuses() == {"sending": 2}  # its lease protects it, whoever looks
        service.ask("UPDATE notifier_notification SET lease_until = now()")  # as if those seconds had passed
        service.wait_for(2, second)
    story = "SELECT channel, outcome, code FROM notifier_attempt ORDER BY notification_id, id"
    assert service.ask(story) == ["email|unknown|outcome_unknown", "sms|accepted|"] * 2
    assert {entry.channel for entry in service.inbox()} == {"sms"}


def test_kill_9_at_any_moment_loses_nothing_and_every_double_is_on_record(service: Service) -> None:
    service.accept(300)
    for name, many in (("first", 50), ("second", 100)):
        with worker(service.environment, service.directory, name=name) as working:
            working.wait_for(lambda many=many: len(service.inbox()) >= many, 30, f"{many} arrive")  # type: ignore[misc]
            working.kill()
        assert service.statuses()["sending"] > 0
        service.ask("UPDATE notifier_notification SET lease_until = now() WHERE status = 'sending'")
    with worker(service.environment, service.directory, name="third") as working:
        service.wait_for(300, working, 90)  # a claim may have ended after its worker: its lease is 30 s
    unknown = set(service.ask("SELECT notification_id FROM notifier_attempt WHERE outcome = 'unknown'"))
    ids = dict(
        line.split("|") for line in service.ask("SELECT replace(key::text, '-', ''), id FROM notifier_notification")
    )
    messages = Counter(ids[entry.reference.strip("<>").split("@")[0]] for entry in service.inbox())
    assert set(messages) == set(ids.values())
    assert {pk for pk, times in messages.items() if times > 1} <= unknown
