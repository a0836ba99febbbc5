"""The hub: everybody hears what is theirs, in its order, at their own pace, whatever is away meanwhile."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import psycopg2
import pytest
import redis
from django.db import connection, transaction
from pytest_django.fixtures import Settings

from notifier import api_keys, erasure, events, ledger, streams, wakes
from notifier import hub as hubs
from notifier.hub import End, Hub
from notifier.models import Organization
from notifier.states import Status
from notifier.streams import Stream, Told
from tests.notifier.rows import event, in_state, person, stored
from tests.servers.base import free_port, wait_until

# --- How they are followed -------------------------------------------------------------------------------------------
Follow = Callable[..., list[Told]]


class Listener:
    """Follows a stream in a loop of its own, and keeps what it was told."""

    def __init__(self, hub: Hub, stream: Stream) -> None:
        self.hub, self.stream = hub, stream
        self.told: list[Told] = []
        self.beats = self.most = 0
        self.end: End | None = None
        self.may_take = threading.Event()
        self.may_take.set()

    async def take(self, told: Sequence[Told]) -> None:
        """As a connection does: at its own pace."""
        await asyncio.to_thread(self.may_take.wait)
        self.told += told
        self.most = max(self.most, len(told))
        self.beats += not told

    async def follow(self) -> None:
        """To the end."""
        self.end = await self.hub.follow(self.stream, self.take)
        self.stream.leave()

    @property
    def ids(self) -> list[int]:
        """Of what it was told."""
        return [one.id for one in self.told]


async def others_end() -> None:
    """Wait for what was cancelled."""
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Stream], Listener]]:
    """A hub in a loop of its own, which follows streams."""
    monkeypatch.setattr(hubs, "LOOK_SECONDS", 0.05)
    answered = hubs._answered

    def answered_without_trace(question: Callable[[], Any]) -> Any:
        """No connection outlives the test."""
        try:
            return answered(question)
        finally:
            connection.close()

    monkeypatch.setattr(hubs, "_answered", answered_without_trace)
    hub, loop = Hub(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    started: list[Any] = []

    def run(way: Coroutine[Any, Any, None]) -> None:
        started.append(asyncio.run_coroutine_threadsafe(way, loop))

    def follow(stream: Stream) -> Listener:
        listener = Listener(hub, stream)
        run(listener.follow())
        return listener

    yield follow
    loop.call_soon_threadsafe(hub.close)
    for one in started:
        one.result(30)
    for pool in (hub._reader, hub._helpers):
        pool.shutdown()
    asyncio.run_coroutine_threadsafe(others_end(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert not streams._places._taken


threaded = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite's database of the tests lives in one thread's memory"
)


@threaded
@pytest.mark.django_db(transaction=True)
def test_all_hear_what_is_theirs_in_its_order(organization: Organization, live: Callable[[Stream], Listener]) -> None:
    other_one = Organization.objects.create(slug="other", name="Other")
    mine, other = stored(**in_state(Status.SENT)), stored(**in_state(Status.SENT))
    theirs = stored(organization=other_one, **in_state(Status.SENT))
    everything = live(streams.open_stream(organization.pk))
    again = live(streams.open_stream(organization.pk))
    one = live(streams.open_stream(organization.pk, mine.pk))
    foreign = live(streams.open_stream(other_one.pk))
    wait_until(lambda: len(one.told) == 1, 30, "the present state")
    ids = [event(row) for row in (mine, other) * 5]
    event(theirs)
    wait_until(lambda: len(everything.told) == len(again.told) == 10 and len(foreign.told) == 1, 30, "all is told")
    assert everything.ids == again.ids == ids
    wait_until(lambda: len(one.told) == 6, 30, "what happened to the one")
    assert one.ids[1:] == ids[::2]
    assert all(json.loads(told.text)["data"]["id"] == mine.pk for told in one.told)
    assert "attempts" in json.loads(one.told[0].text)["data"]


@threaded
@pytest.mark.django_db(transaction=True)
def test_who_is_slow_misses_nothing_and_costs_no_memory(
    organization: Organization, live: Callable[[Stream], Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "KEPT_EVENTS", 10)
    monkeypatch.setattr(streams, "PORTION", 2000)
    row = stored(**in_state(Status.SENT))
    slow, quick = live(streams.open_stream(organization.pk)), live(streams.open_stream(organization.pk))
    one = live(streams.open_stream(organization.pk, row.pk))
    slow.may_take.clear()
    ids = []
    for _ in range(8):
        ids += [event(row) for _ in range(30)]
        wait_until(lambda: quick.ids == ids, 30, "the quick one has heard it")  # noqa: B023
        one.may_take.clear()
    room = quick.hub._rooms[organization.pk]
    assert len(room._heard) <= 10
    slow.may_take.set()
    one.may_take.set()
    wait_until(lambda: slow.ids == ids, 30, "the slow one has heard it too")
    wait_until(lambda: one.ids[-1:] == ids[-1:], 30, "the one's last state is told")
    assert max(slow.most, quick.most) * len(quick.told[0].text) < 2 * streams.PORTION


@threaded
@pytest.mark.django_db(transaction=True)
def test_who_comes_back_hears_nothing_of_somebody_who_was_forgotten(
    organization: Organization, live: Callable[[Stream], Listener]
) -> None:
    user = person()
    row = stored(recipient=user, message="a secret", **in_state(Status.SENT))
    before = events.position()
    first = live(streams.open_stream(organization.pk, last=before))
    ids = [event(row)]
    wait_until(lambda: first.ids == ids, 30, "it is told")
    assert "a secret" in first.told[0].text
    erasure.erase(user)
    again = live(streams.open_stream(organization.pk, last=before))
    wait_until(lambda: again.ids == ids, 30, "it is told again")
    assert "a secret" not in again.told[0].text
    ids.append(event(row))
    wait_until(lambda: again.ids == first.ids == ids, 30, "both go on")


@threaded
@pytest.mark.django_db(transaction=True)
def test_a_stream_shows_that_it_lives_and_ends_when_it_is_not_allowed_any_more(
    organization: Organization, live: Callable[[Stream], Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "BEAT_SECONDS", 0.1)
    key = api_keys.make(organization)
    stream = streams.open_stream(organization.pk, still_allowed=lambda: api_keys.may_still_read(key.row.pk))
    listener = live(stream)
    wait_until(lambda: listener.beats >= 2, 30, "signs of life")
    api_keys.revoke([key.row])
    wait_until(lambda: listener.end is not None, 30, "its end")
    assert listener.end is End.NOT_ALLOWED


@threaded
@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_for_a_while_costs_nothing(
    organization: Organization,
    live: Callable[[Stream], Listener],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    row = stored(**in_state(Status.SENT))
    listener = live(streams.open_stream(organization.pk))
    real, failures = events.after, []

    def fail(*_: Any) -> Any:
        failures.append(1)
        raise psycopg2.OperationalError("gone")

    monkeypatch.setattr(events, "after", fail)
    ids = [event(row)]
    wait_until(lambda: len(failures) >= 3, 30, "it is tried again and again")
    monkeypatch.setattr(events, "after", real)
    ids.append(event(row))
    wait_until(lambda: listener.ids == ids, 30, "it is told")
    assert caplog.text.count("Events cannot be read") == 1


@threaded
@pytest.mark.django_db(transaction=True)
def test_a_change_in_this_process_wakes_at_once(
    organization: Organization, live: Callable[[Stream], Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "LOOK_SECONDS", 60)
    rows = [stored(**in_state(Status.WAITING)) for _ in range(2)]
    listener = live(streams.open_stream(organization.pk))
    wait_until(lambda: bool(wakes._waker.listeners), 30, "it listens")
    with transaction.atomic():
        ledger.cancel(rows[0])
        time.sleep(2 * wakes.GAP)  # a wake before the commit would find nothing
    wait_until(lambda: len(listener.told) == 1, 30, "it is told")


@threaded
@pytest.mark.django_db(transaction=True)
def test_redis_wakes_other_processes(
    organization: Organization,
    live: Callable[[Stream], Listener],
    monkeypatch: pytest.MonkeyPatch,
    redis_url: str,
    settings: Settings,
) -> None:
    settings.REDIS_URL = redis_url
    monkeypatch.setattr(hubs, "LOOK_SECONDS", 60)
    monkeypatch.setattr(wakes, "_waker", wakes._Waker())
    row = stored(**in_state(Status.WAITING))
    with redis.Redis.from_url(redis_url) as client, client.pubsub() as another:
        another.subscribe(wakes.CHANNEL)
        listener = live(streams.open_stream(organization.pk))
        wait_until(lambda: client.pubsub_numsub(wakes.CHANNEL)[0][1] == 2, 30, "both listen")
        monkeypatch.setattr(wakes._waker, "listeners", set())  # what another process does reaches no call in this one
        ledger.cancel(row)
        wait_until(lambda: len(listener.told) == 1, 30, "it is told")
        wait_until(lambda: bool(another.get_message(ignore_subscribe_messages=True)), 30, "another one was woken")


@threaded
@pytest.mark.django_db(transaction=True)
def test_without_redis_they_look_by_themselves_and_nobody_waits(
    organization: Organization,
    live: Callable[[Stream], Listener],
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    waker = wakes._Waker()
    monkeypatch.setattr(wakes, "_waker", waker)
    rows = [stored(**in_state(Status.WAITING)) for _ in range(3)]
    listener = live(streams.open_stream(organization.pk))
    for row in rows:
        began = time.monotonic()
        ledger.cancel(row)
        assert time.monotonic() - began < 3  # redis-py's own further tries take longer
    wait_until(lambda: len(listener.told) == 3, 30, "it is told")
    wait_until(lambda: not waker._is_well, 30, "it was tried")
    assert caplog.text.count("look by themselves") == 1
    assert caplog.text.count("Redis wakes nobody") == 1
