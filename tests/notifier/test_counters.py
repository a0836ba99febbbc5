"""Counters with a limit: all or none, over a sliding window, and never a reason to fail or to wait long."""

import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
import redis
from pytest_django.fixtures import Settings

from notifier import counters
from notifier.counters import PARTS, Answer, Count, give_back, take
from tests.notifier.stopped_clock import Clock
from tests.servers.base import wait_until
from tests.servers.redis import RedisServer

HOUR, EVER = 3600, 600.0
PATIENT = 30.0
"""Seconds that a Redis may take where it is to answer, however busy the machine is."""
NOT_AGAIN = 4.0
"""Seconds that are enough for `ANSWER_SECONDS`, and too few for redis-py's own three further tries."""


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """This process has counted nothing."""
    counters.forget()
    yield
    counters.forget()


@pytest.fixture
def patiently(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that answers late has not failed: else this process would count, from nothing."""
    monkeypatch.setattr(counters, "ANSWER_SECONDS", PATIENT)


@pytest.fixture(params=["own", "redis"])
def place(request: pytest.FixtureRequest, settings: Settings, patiently: None) -> str:
    """Where it is counted: in the process, or in Redis."""
    settings.REDIS_URL = ""
    if request.param == "redis":
        settings.REDIS_URL = request.getfixturevalue("redis_url")
        redis.Redis.from_url(settings.REDIS_URL).flushdb()
    return str(request.param)


@pytest.fixture
def server(fresh_redis_server: RedisServer, settings: Settings) -> RedisServer:
    """A Redis that counts, and may be harmed."""
    settings.REDIS_URL = fresh_redis_server.url
    return fresh_redis_server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, redis_url: str, patiently: None) -> Iterator[Clock]:
    """A clock that stands still."""
    made = Clock(monkeypatch, redis_url)
    yield made
    made.close()


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many times Redis was asked: a number for each."""
    real, made = counters._ask_redis, []

    def counted(script: Any, keys: Sequence[bytes], counts: Sequence[Count]) -> Answer:
        made.append(len(counts))
        return real(script, keys, counts)

    monkeypatch.setattr(counters, "_ask_redis", counted)
    return made


@pytest.fixture
def often_interrupted() -> Iterator[None]:
    """Threads that give way to each other nearly everywhere."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def one(name: str = "a", number: int = 1, most: int = 3, seconds: int = HOUR) -> Count:
    return Count(name, number, most, seconds)


def is_taken(*counts: Count) -> bool:
    return take(counts).refused is None


def admitted(tries: int, count: Count) -> int:
    """How many of so many tries one after the other."""
    return sum(is_taken(count) for _ in range(tries))


def told_to_wait(count: Count) -> float:
    """The seconds, once there is no room."""
    while (answer := take([count])).refused is None:
        pass
    return answer.wait


def timed(call: Callable[[], Answer]) -> float:
    """The seconds that it takes."""
    begin = time.monotonic()
    call()
    return time.monotonic() - begin


# --- What is counted -------------------------------------------------------------------------------------------------
def test_so_many_and_no_more(place: str) -> None:
    assert [take([one()]).left for _ in range(3)] == [2, 1, 0]
    refused = take([one()])
    assert (refused.refused, refused.left) == (one(), 0)
    assert HOUR - 2 * HOUR / PARTS <= refused.wait <= HOUR
    assert is_taken(one("another"))
    assert is_taken(one(seconds=60)), "another window is another count"


def test_what_is_refused_does_not_count(place: str) -> None:
    assert is_taken(one(number=2))
    assert admitted(5, one(number=2)) == 0
    assert admitted(5, one()) == 1


def test_all_are_counted_or_none(place: str) -> None:
    assert is_taken(one("full", 3))
    assert take([one("first"), one("full"), one("last")]).refused == one("full")
    assert [admitted(5, one(name)) for name in ("first", "last")] == [3, 3]


@pytest.mark.parametrize("full_at", [0, 1, 2500, 2999])
def test_of_many_all_are_counted_or_none(place: str, full_at: int) -> None:
    assert is_taken(one(f"n{full_at}", 3))
    many = [one(f"n{index}") for index in range(3000)]
    assert take(many).refused == many[full_at]
    for index in {0, 999, 1000, 1500, 2999} - {full_at}:
        assert admitted(5, one(f"n{index}")) == 3
    assert is_taken(*[one(f"others {index}") for index in range(3000)])


@pytest.mark.parametrize("positions", [(0, 1500), (1500, 0)])
def test_the_longest_wait_counts(place: str, positions: tuple[int, int]) -> None:
    many = [one(f"n{index}") for index in range(2000)]
    hour, minute = (one(f"n{position}", 1, 1, seconds) for position, seconds in zip(positions, (HOUR, 60), strict=True))
    assert is_taken(hour, minute)
    for count, position in zip((hour, minute), positions, strict=True):
        many[position] = count
    answer = take(many)
    assert (answer.refused, answer.wait > 60) == (hour, True)


def test_more_than_a_window_holds_never_fits(place: str) -> None:
    answer = take([one(number=4)])
    assert (answer.refused, answer.wait) == (one(number=4), HOUR)
    assert is_taken(one(number=3))


def test_what_is_given_back_is_free_again(place: str) -> None:
    assert is_taken(one(number=2), one("b", 3))
    give_back([one(number=2), one("b", 3)])
    assert is_taken(one(number=3), one("b", 3))
    give_back([one("never taken", 5)])
    assert admitted(5, one("never taken")) == 3


def test_both_places_count_alike(redis_url: str, settings: Settings, clock: Clock) -> None:
    """A few hundred random counts over some windows, seen by one and by the other."""
    chance = random.Random(4711)
    steps = [
        (
            chance.choice([0, 0, 1, 71, 72, 73, 500]),
            chance.random() < 0.8,
            [one(f"k{key}", chance.randint(1, 4), 10) for key in chance.sample(range(8), 3)],
        )
        for _ in range(400)
    ]

    def story() -> list[object]:
        answers: list[object] = []
        clock.begin()
        for pause, is_take, counts in steps:
            clock.passes(pause)
            if is_take:
                answer = take(counts)
                answers.append((answer.left, answer.wait, answer.refused is None))
            else:
                give_back(counts)
        return answers

    settings.REDIS_URL = ""
    own = story()
    settings.REDIS_URL = redis_url
    assert story() == own


def test_twenty_at_once_are_exactly_so_many(place: str, often_interrupted: None) -> None:
    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(lambda _: is_taken(one(most=37)), range(200))) == 37


# --- The window ------------------------------------------------------------------------------------------------------
def test_the_window_slides(place: str) -> None:
    """Whoever tries all the time finds no border at which there is room for twice as many."""
    moments: list[tuple[float, float]] = []
    while len(moments) < 12:
        before = time.monotonic()
        if is_taken(one("slide", 1, 4, 1)):
            moments.append((before, time.monotonic()))
        time.sleep(0.003)
    spans = [late - early for (early, _), (_, late) in zip(moments, moments[4:], strict=False)]  # or somewhat shorter
    assert min(spans) > 1 - 1 / PARTS - 0.05


def test_who_waits_as_told_is_let_in(place: str) -> None:
    for _ in range(2):
        wait = told_to_wait(one("told", 1, 4, 1))
        assert 0 < wait <= 1
        time.sleep(wait)
        assert is_taken(one("told", 1, 4, 1))
        time.sleep(1)


def test_who_keeps_to_the_limit_is_never_refused(place: str, clock: Clock) -> None:
    for _ in range(10):
        assert is_taken(one("steady", 1, 4))
        clock.passes(HOUR // 4)


def test_the_wait_is_for_as_many_as_are_asked_for(place: str, clock: Clock) -> None:
    assert is_taken(one("w", 2, 4))
    clock.passes(1000)
    assert is_taken(one("w", 2, 4))
    few, many = take([one("w", 1, 4)]), take([one("w", 4, 4)])
    assert many.wait - few.wait == pytest.approx(1000, abs=HOUR / PARTS)
    clock.passes(math.ceil(few.wait))
    assert (is_taken(one("w", 3, 4)), is_taken(one("w", 2, 4))) == (False, True)
    clock.passes(math.ceil(many.wait - few.wait))
    assert admitted(4, one("w", 1, 4)) == 2


# --- Memory, and what stands in Redis --------------------------------------------------------------------------------
def test_a_process_keeps_so_many_windows(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REDIS_URL = ""
    monkeypatch.setattr(counters._OwnCounters, "MOST", 100)
    for index in range(1000):
        take([one("busy", most=10**6), one(f"n{index}")])
    assert len(counters._own._windows) == 100
    assert take([one("busy", most=10**6)]).left == 10**6 - 1001, "what is asked for is not forgotten"


def test_redis_sees_no_address_and_keeps_nothing_for_longer_than_its_window(
    server: RedisServer, patiently: None
) -> None:
    assert is_taken(one("to:1:email:ann@example.com"), one("to:1:email:ann@example.com", seconds=60))
    client = redis.Redis.from_url(server.url)
    keys = list(client.scan_iter())
    minute, hour = sorted(client.ttl(key) for key in keys)
    assert 60 - PATIENT < minute <= 60
    assert HOUR - PATIENT < hour <= HOUR
    kept = [*keys, *(client.get(key) for key in keys)]
    assert len(kept) == 4
    assert not any(sign in str(text) for text in kept for sign in ("ann", b"ann".hex()))


# --- Redis away ------------------------------------------------------------------------------------------------------
def refuse_writes(server: RedisServer) -> None:
    redis.Redis.from_url(server.url).replicaof("127.0.0.1", "1")


def be_full(server: RedisServer) -> None:
    redis.Redis.from_url(server.url).config_set("maxmemory", "1")


def ask_for_a_password(server: RedisServer) -> None:
    redis.Redis.from_url(server.url).config_set("requirepass", "secret")
    redis.Redis.from_url(server.url, password="secret").client_kill_filter(_type="normal")


def hold_something_else(server: RedisServer) -> None:
    client = redis.Redis.from_url(server.url)
    for key in client.scan_iter():
        client.delete(key)
        client.rpush(key, "a list")


FAILURES = [RedisServer.kill, RedisServer.pause, refuse_writes, be_full, ask_for_a_password, hold_something_else]


def has_counted(server: RedisServer) -> bool:
    """Whether Redis, and not this process, now has two of "a"; if not, anew."""
    counters.forget()
    redis.Redis.from_url(server.url).flushdb()
    return admitted(2, one()) == 2 and not counters._own._windows


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.__name__)
def test_where_redis_fails_the_process_counts(
    server: RedisServer, failure: Callable[[RedisServer], None], monkeypatch: pytest.MonkeyPatch, trips: list[int]
) -> None:
    monkeypatch.setattr(counters, "LEFT_ALONE", EVER)
    wait_until(lambda: has_counted(server), PATIENT, "Redis counts")
    failure(server)
    trips.clear()
    assert timed(lambda: take([one()])) < NOT_AGAIN
    assert admitted(20, one()) == 2, "from nothing: one of three is taken"
    assert len(trips) == 1


def test_a_redis_that_hangs_holds_each_caller_up_once(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, trips: list[int]
) -> None:
    monkeypatch.setattr(counters, "LEFT_ALONE", EVER)
    wait_until(lambda: has_counted(server), PATIENT, "Redis counts")
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda _: is_taken(one(most=1000)), range(64)))
        server.pause()
        trips.clear()
        slow = list(pool.map(lambda _: timed(lambda: take([one(most=1000)])), range(160)))
    assert max(slow) < NOT_AGAIN
    assert len(trips) <= 16


def test_only_one_caller_tries_whether_redis_is_back(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, trips: list[int]
) -> None:
    monkeypatch.setattr(counters, "LEFT_ALONE", 0.1)
    assert is_taken(one(most=1000))
    server.pause()
    take([one(most=1000)])
    monkeypatch.setattr(counters, "LEFT_ALONE", EVER)
    time.sleep(0.2)
    trips.clear()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: take([one(most=1000)]), range(16)))
    assert len(trips) == 1


def test_redis_counts_again_once_it_is_back(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, patiently: None
) -> None:
    """With many connections from before, each of them dead."""
    monkeypatch.setattr(counters, "LEFT_ALONE", 0.2)
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda _: is_taken(one(most=1000)), range(64)))
    server.restart()
    client = redis.Redis.from_url(server.url)
    wait_until(lambda: is_taken(one(most=10**6)) and client.dbsize() == 1, 30, "Redis counts")
    before = take([one(most=10**6)]).left
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: is_taken(one(most=10**6)), range(64)))
    assert take([one(most=10**6)]).left == before - 65


def test_a_redis_that_forgets_is_no_failure(server: RedisServer, patiently: None) -> None:
    client = redis.Redis.from_url(server.url)
    assert admitted(5, one()) == 3
    client.script_flush()
    assert admitted(5, one()) == 0
    client.flushall()
    assert (admitted(5, one()), client.dbsize()) == (3, 1)


def test_a_failure_in_the_middle_of_many_is_survived(server: RedisServer, patiently: None) -> None:
    many = [one(f"n{index}") for index in range(3000)]
    assert is_taken(*many)
    hold_something_else(server)
    assert is_taken(*many)


def test_neighbours_are_told_apart() -> None:
    """No two counts share a window by the way their names are put together."""
    counts: Sequence[Count] = [one("a:1", seconds=60), one("a", seconds=160), one("a:16", seconds=60), one("a:1:6")]
    keys = sorted(counters._key(count) for count in counts)
    assert all(left != right for left, right in pairwise(keys))
