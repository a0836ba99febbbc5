"""Where we may connect, and that we connect to nothing else."""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from channels import net
from channels.errors import MisconfiguredError, TemporaryError
from channels.net import Address, Deadline
from tests.channels.http_peer import closed_port


def soon(seconds: float = 30) -> Deadline:
    return Deadline(timedelta(seconds=seconds))


Resolver = Callable[..., None]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Names resolve to what the test says, one answer a question; the last one stays."""

    def answers(*answers: list[str]) -> None:
        left = list(answers)

        def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            addresses = left.pop(0) if len(left) > 1 else left[0]
            return [_entry(address, port) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return answers


def _entry(address: str, port: int) -> tuple[Any, ...]:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)


INSIDE = [
    *("0.0.0.1", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "172.16.0.1", "172.31.255.255"),
    *("192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *(
        "::",
        "::1",
        "fe80::1",
        "fe80::1%lo",
        "fc00::1",
        "fd12::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "2001:db8::1",
        "3fff::1",
    ),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8", "2002:7f00:1::"),
    *("2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "5f00::1"),
]
OUTSIDE = [
    *("8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.1.1", "223.255.255.255"),
    *("2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"),
]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_not_public(address: str, resolver: Resolver) -> None:
    resolver([address])
    with pytest.raises(MisconfiguredError) as raised:
        net.resolve("name.test", 25, public_only=True, deadline=soon())
    assert raised.value.code == "misconfigured"
    assert address not in raised.value.detail
    assert net.resolve("name.test", 25, public_only=False, deadline=soon())


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_outside_is_public(address: str, resolver: Resolver) -> None:
    resolver([address])
    found = net.resolve("name.test", 25, public_only=True, deadline=soon())
    assert [entry.sockaddr[0] for entry in found] == [address]


def test_one_private_address_among_public_ones_forbids_them_all(resolver: Resolver) -> None:
    resolver(["8.8.8.8", "10.0.0.1"])
    with pytest.raises(MisconfiguredError):
        net.resolve("name.test", 25, public_only=True, deadline=soon())


@pytest.mark.parametrize("host", ["127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1", "[::1]", "::1", "localhost"])
def test_every_spelling_of_loopback_is_refused(host: str) -> None:
    with pytest.raises((MisconfiguredError, TemporaryError)):
        net.resolve(host, 25, public_only=True, deadline=soon())


def test_a_name_that_changes_its_mind_is_asked_only_once(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver(["8.8.8.8"], ["127.0.0.1"])
    asked: list[Any] = []

    class Recorder(socket.socket):
        def connect(self, address: Any) -> None:
            asked.append(address)
            raise ConnectionRefusedError

    found = net.resolve("name.test", 25, public_only=True, deadline=soon())
    monkeypatch.setattr(socket, "socket", Recorder)
    with pytest.raises(TemporaryError):
        net.connect(found, soon())
    assert asked == [("8.8.8.8", 25)]


def test_an_unknown_name_is_unreachable() -> None:
    with pytest.raises(TemporaryError, match=r"^The name nowhere\.invalid is unknown\.$") as raised:
        net.resolve("nowhere.invalid", 25, public_only=False, deadline=soon(10))
    assert raised.value.code == "unreachable"


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test", "nul\0.test", "\ud800.test"])
def test_what_is_no_host_name_is_our_fault(host: str) -> None:
    with pytest.raises(MisconfiguredError):
        net.resolve(host, 25, public_only=False, deadline=soon())


def test_a_lookup_that_hangs_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(60))
    started = time.monotonic()
    with pytest.raises(TemporaryError) as raised:
        net.resolve("name.test", 25, public_only=False, deadline=soon(0.2))
    released.set()
    assert raised.value.code == "unreachable"
    assert time.monotonic() - started < 20


def test_hung_lookups_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(60))
    monkeypatch.setattr(net, "_MOST_LOOKUPS", threading.BoundedSemaphore(2))
    before = threading.active_count()
    for _ in range(4):
        with pytest.raises(TemporaryError):
            net.resolve("name.test", 25, public_only=False, deadline=soon(0.05))
    assert threading.active_count() <= before + 2
    released.set()


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    with closed_port() as port, socket.create_server(("127.0.0.1", 0)) as server:
        addresses = [Address(socket.AF_INET, ("127.0.0.1", port)), Address(socket.AF_INET, server.getsockname())]
        with net.connect(addresses, soon()) as connection:
            assert connection.getpeername() == server.getsockname()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full backlog refuses instead of staying silent")
def test_a_silent_address_leaves_time_for_the_next() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_server(("127.0.0.1", 0)) as server:
        crowd = [socket.socket() for _ in range(4)]  # fills the backlog: the next SYN gets no answer
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        addresses = [Address(socket.AF_INET, full.getsockname()), Address(socket.AF_INET, server.getsockname())]
        with net.connect(addresses, soon(2)) as connection:
            assert connection.getpeername() == server.getsockname()
        with pytest.raises(TemporaryError, match="did not answer in time") as raised:
            net.connect(addresses[:1], soon(0.2))
        assert raised.value.code == "unreachable"
        for one in crowd:
            one.close()


def test_no_address_at_all_is_unreachable() -> None:
    with pytest.raises(TemporaryError):
        net.connect([], soon())


def test_a_deadline_that_passed_says_so() -> None:
    assert 0 < soon(5).remaining() <= 5
    with pytest.raises(TimeoutError):
        soon(-1).remaining()


# The same from an event loop


def test_a_loop_gets_the_same_addresses_and_the_same_refusals(resolver: Resolver) -> None:
    async def looked_up(public_only: bool) -> list[Address]:
        return await net.aresolve("name.test", 25, public_only=public_only, deadline=soon())

    resolver(["8.8.8.8"])
    assert asyncio.run(looked_up(True)) == net.resolve("name.test", 25, public_only=True, deadline=soon())
    resolver(["8.8.8.8", "10.0.0.1"])
    with pytest.raises(MisconfiguredError) as raised:
        asyncio.run(looked_up(True))
    assert "10.0.0.1" not in raised.value.detail
    assert len(asyncio.run(looked_up(False))) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.1", "2130706433", "localhost"])
def test_a_loop_does_not_go_inside_either(host: str) -> None:
    with pytest.raises((MisconfiguredError, TemporaryError)):
        asyncio.run(net.aresolve(host, 25, public_only=True, deadline=soon()))


@pytest.mark.parametrize(("host", "error"), [("nowhere.invalid", TemporaryError), ("a..b", MisconfiguredError)])
def test_a_loop_hears_why_a_name_is_none(host: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        asyncio.run(net.aresolve(host, 25, public_only=False, deadline=soon(10)))


def test_hung_lookups_neither_hold_up_a_loop_nor_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(60))
    monkeypatch.setattr(net, "_MOST_LOOKUPS", threading.BoundedSemaphore(2))

    async def look_up() -> list[Any]:
        lookups = [net.aresolve("name.test", 25, public_only=False, deadline=soon(0.2)) for _ in range(6)]
        found: list[Any] = await asyncio.gather(*lookups, return_exceptions=True)
        return found

    before, started = threading.active_count(), time.monotonic()
    assert [getattr(error, "code", "") for error in asyncio.run(look_up())] == ["unreachable"] * 6
    assert time.monotonic() - started < 20
    assert threading.active_count() <= before + 2
    released.set()


def test_a_loop_tries_the_next_address_and_says_why_none_answered() -> None:
    with closed_port() as port, socket.create_server(("127.0.0.1", 0)) as server:
        dead = Address(socket.AF_INET, ("127.0.0.1", port))
        alive = Address(socket.AF_INET, server.getsockname())

        async def connected() -> socket.socket:
            return await net.aconnect([dead, alive], soon())

        with asyncio.run(connected()) as connection:
            assert connection.getpeername() == server.getsockname()
            assert not connection.getblocking()
        with pytest.raises(TemporaryError, match="it refused"):
            asyncio.run(net.aconnect([dead], soon()))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full backlog refuses instead of staying silent")
def test_a_loop_does_not_wait_for_ever_for_a_silent_address() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        with pytest.raises(TemporaryError, match="did not answer in time"):
            asyncio.run(net.aconnect([Address(socket.AF_INET, full.getsockname())], soon(0.2)))
        for one in crowd:
            one.close()
