"""Clients that repeat themselves, all at once: over a real web process, one notification and one message."""

import json
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from sandbox.servers import Sandbox
from tests.faults.clients import post
from tests.servers.migrated import migrate
from tests.servers.processes import ProjectProcess, manage, web

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
MANY = 20
_numbers = count()
Answer = tuple[int | str, Any, dict[str, str], float]

TOGETHER = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from django.db import connection
from notifier import send
together = Barrier({many})
def one(_):
    together.wait(30)
    try:
        return send(to="{to}", message="Hello", organization="{slug}", idempotency_key="{key}").pk
    finally:
        connection.close()
with ThreadPoolExecutor({many}) as pool:
    print(*pool.map(one, range({many})))
"""


@dataclass
class Site:
    """A running web process without a broker: it also sends what it accepts."""

    process: ProjectProcess
    sandbox: Sandbox
    ask: Callable[[str], list[str]]

    def post(self, body: Any, key: str, path: str = "") -> Answer:
        return post(int(self.process.environment["PORT"]), body, key=key, path=path)

    def post_together(self, body: Any, key: str, path: str = "") -> list[Answer]:
        """The answers to the same request, sent by many at the same moment."""
        together = Barrier(MANY)

        def one(_: int) -> Answer:
            together.wait(30)
            return self.post(body, key, path)

        with ThreadPoolExecutor(MANY) as pool:
            return list(pool.map(one, range(MANY)))

    def send_together(self, to: str, key: str, slug: str = "default") -> list[int]:
        """The ids that many Python callers get at the same moment."""
        code = TOGETHER.format(many=MANY, to=to, key=key, slug=slug)
        told = manage("shell", "-v", "0", "-c", code, environment=self.process.environment)
        return [int(pk) for pk in told.split()]

    def rows(self, message: str) -> int:
        return self.ask("SELECT message FROM notifier_notification").count(message)

    def wait_until_quiet(self) -> None:
        """Until all that was accepted is sent: what has not come by then never comes."""
        left = "SELECT count(*) FROM notifier_notification WHERE status <> 'sent'"
        self.process.wait_for(lambda: self.ask(left) == ["0"], 30, "everything is sent")

    def arrived(self, to: str) -> int:
        return sum(entry.to == to for entry in self.sandbox.inbox.messages())


@pytest.fixture(scope="module", params=["postgres", "sqlite"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    url, ask = _database(request, directory)
    with Sandbox() as sandbox:
        environment = {
            **sandbox.environment(),
            "DATABASE_URL": url,
            "DJANGO_SECRET_KEY": "only-for-the-tests-" + "x" * 32,
        }
        migrate(environment)
        with web(environment, directory) as process:
            process.wait_for_line("listens on", 60)
            yield Site(process, sandbox, ask)
            assert process.stop(signal.SIGTERM) == 0


def _database(request: pytest.FixtureRequest, directory: Path) -> tuple[str, Callable[[str], list[str]]]:
    """A database of this kind, and how to ask it from outside."""
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        name = f"idempotent_{next(_numbers)}"
        return server.create_database(name), lambda sql: server.query(sql, database=name).splitlines()
    path = directory / "db.sqlite3"

    def ask(sql: str) -> list[str]:
        line = sqlite3.connect(path, timeout=20)
        try:
            return ["|".join(map(str, row)) for row in line.execute(sql)]
        finally:
            line.close()

    return f"sqlite:///{path}", ask


def replays(answers: list[Answer]) -> int:
    return sum(headers.get("idempotent-replayed") == "true" for _, _, headers, _ in answers)


def test_of_twenty_equal_posts_one_is_stored_and_sent_and_all_are_answered_alike(site: Site) -> None:
    body = {"to": {"email": "one@example.com"}, "message": "single"}
    answers = site.post_together(body, "single")
    assert [status for status, *_ in answers] == [202] * MANY
    assert len({json.dumps(content, sort_keys=True) for _, content, *_ in answers}) == 1
    assert replays(answers) == MANY - 1
    assert site.rows("single") == 1
    site.wait_until_quiet()
    late = site.post({"message": "single", "to": {"email": "one@example.com"}}, "single")
    assert late[:2] == answers[0][:2]  # also when it was sent long ago, and with its fields in another order
    assert site.arrived("one@example.com") == 1


def test_of_twenty_equal_bulks_one_is_stored_and_sent(site: Site) -> None:
    people = [f"bulk{nth}@example.com" for nth in range(5)]
    body = {"notifications": [{"to": {"email": to}, "message": "bulk"} for to in people]}
    answers = site.post_together(body, "bulk", "bulk/")
    assert [status for status, *_ in answers] == [202] * MANY
    assert answers[0][1]["count"] == len(people)
    assert len({tuple(content["ids"]) for _, content, *_ in answers}) == 1
    assert replays(answers) == MANY - 1
    assert site.rows("bulk") == len(people)
    site.wait_until_quiet()
    assert [site.arrived(to) for to in people] == [1] * len(people)


def test_of_twenty_equal_calls_from_python_one_is_stored_and_sent(site: Site) -> None:
    ids = site.send_together("python@example.com", "python")
    assert (len(ids), len(set(ids))) == (MANY, 1)
    site.wait_until_quiet()
    assert site.arrived("python@example.com") == 1


def test_the_doors_share_one_space_of_keys(site: Site) -> None:
    body = {"to": {"email": "doors@example.com"}, "message": "Hello"}
    status, content, headers, _ = site.post(body, "doors")
    assert (status, headers.get("idempotent-replayed")) == (202, None)
    assert set(site.send_together("doors@example.com", "doors")) == {content["id"]}


def test_another_body_under_the_same_key_is_refused_and_stores_nothing(site: Site) -> None:
    first = site.post({"to": {"email": "two@example.com"}, "message": "first body"}, "reused")
    answers = site.post_together({"to": {"email": "two@example.com"}, "message": "other body"}, "reused")
    assert first[0] == 202
    assert {status for status, *_ in answers} == {422}
    assert (site.rows("first body"), site.rows("other body")) == (1, 0)


def test_the_keys_of_another_organization_are_apart(site: Site) -> None:
    code = "from notifier.models import Organization; Organization.objects.create(slug='other', name='Other')"
    manage("shell", "-v", "0", "-c", code, environment=site.process.environment)
    ours = site.send_together("apart@example.com", "shared")
    theirs = site.send_together("apart@example.com", "shared", "other")
    assert (len(set(ours)), len(set(theirs)), len({*ours, *theirs})) == (1, 1, 2)
    site.wait_until_quiet()
    assert site.arrived("apart@example.com") == 2


def test_a_refused_body_uses_up_no_key(site: Site) -> None:
    refused = site.post_together({"to": {"email": "three@example.com"}}, "mended")
    assert {status for status, *_ in refused} == {400}
    assert site.ask("SELECT count(*) FROM notifier_idempotencykey WHERE key = 'mended'") == ["0"]
    mended = site.post_together({"to": {"email": "three@example.com"}, "message": "mended"}, "mended")
    assert [status for status, *_ in mended] == [202] * MANY
    assert (replays(mended), site.rows("mended")) == (MANY - 1, 1)
