"""Connections to hosts that somebody typed: names become addresses, the addresses are checked, and the checked address
is the one connected to, so that a name cannot change its mind in between (DNS rebinding)."""

import asyncio
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, NamedTuple

from channels.errors import MisconfiguredError, TemporaryError

# What the IANA special-purpose registries (RFC 6890) and RFC 5771 keep for other uses. `is_global` lets multicast, the
# 6to4 relays and most IPv6 addresses with an IPv4 address inside pass, and changes with Python's version.
_RESERVED_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
_PUBLIC_IPV6 = IPv6Network(
    "2000::/3"
)  # global unicast, the only part of IPv6 that is handed out (RFC 4291, section 2.4)
_RESERVED_IPV6 = (
    IPv6Network("2001::/23"),  # protocol assignments, Teredo among them
    IPv6Network("2001:db8::/32"),
    IPv6Network("3fff::/20"),
)
# IPv6 networks with an IPv4 address inside, and how far from the right it stands.
_EMBEDDING = (
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped
    (IPv6Network("::/96"), 0),  # compatible, old
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64 (RFC 6052)
    (IPv6Network("2002::/16"), 80),  # 6to4 (RFC 3056)
)
_MOST_LOOKUPS = threading.BoundedSemaphore(64)  # a lookup cannot be cancelled: hung ones must not pile up for ever
_LOOKUP_PAUSE = 0.02  # seconds between two looks whether one of them has ended
_MOST_ADDRESSES = 8


class Address(NamedTuple):
    """One address of a host, as `socket.connect` takes it."""

    family: int
    sockaddr: tuple[Any, ...]


class Deadline:
    """The moment by which a step must have ended, on a clock that nobody can set."""

    def __init__(self, span: timedelta) -> None:
        self.ends_at = time.monotonic() + span.total_seconds()

    def remaining(self) -> float:
        """The seconds that are left. TimeoutError when there are none."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet, whatever IPv4 address is wrapped into it."""
    parsed: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        for network, shift in _EMBEDDING:
            if parsed in network:
                return is_public(str(IPv4Address(int(parsed) >> shift & 0xFFFFFFFF)))
        return parsed in _PUBLIC_IPV6 and not any(parsed in network for network in _RESERVED_IPV6)
    return not any(parsed in network for network in _RESERVED_IPV4)


def is_inside(host: str) -> bool:
    """Whether this is an address, however it is spelt, that is not public. Names are looked up when they are used."""
    with suppress(OSError):
        host = socket.inet_ntoa(socket.inet_aton(host))  # 127.1, 0x7f000001, 2130706433: all of them 127.0.0.1
    try:
        return not is_public(host)
    except ValueError:
        return False


def resolve(host: str, port: int, *, public_only: bool, deadline: Deadline) -> list[Address]:
    """The addresses of a host, looked up once; hand them to `connect` as they are.

    With `public_only` every one of them must be public, else none may be used: MisconfiguredError. An unknown name and
    a lookup that does not end in time are a TemporaryError `unreachable`. No error tells what a name resolved to.
    """
    _must_be_a_name(host)
    try:
        found = _getaddrinfo_by(deadline, host, port)
    except (OSError, ValueError) as error:
        raise _unresolved(host, error) from None
    return _allowed(found, public_only=public_only)


async def aresolve(host: str, port: int, *, public_only: bool, deadline: Deadline) -> list[Address]:
    """The same for an event loop, which is never held up."""
    _must_be_a_name(host)
    try:
        found = await _agetaddrinfo_by(deadline, host, port)
    except (OSError, ValueError) as error:
        raise _unresolved(host, error) from None
    return _allowed(found, public_only=public_only)


def connect(addresses: Sequence[Address], deadline: Deadline) -> socket.socket:
    """A connection to the first address that answers. Each gets its share of the time that is left.

    TemporaryError `unreachable` when none does.
    """
    addresses = addresses[:_MOST_ADDRESSES]
    reason = "it has no address"
    for tried, address in enumerate(addresses):
        connection = None
        try:
            connection = socket.socket(address.family, socket.SOCK_STREAM)
            connection.settimeout(deadline.remaining() / (len(addresses) - tried))
            connection.connect(address.sockaddr)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            reason = _reason(error)
            if connection is not None:
                connection.close()
        else:
            return connection
    raise TemporaryError(f"No connection to the server: {reason}.", code="unreachable")


async def aconnect(addresses: Sequence[Address], deadline: Deadline) -> socket.socket:
    """The same for an event loop; the connection does not block."""
    loop = asyncio.get_running_loop()
    addresses = addresses[:_MOST_ADDRESSES]
    reason = "it has no address"
    for tried, address in enumerate(addresses):
        connection = None
        try:
            connection = socket.socket(address.family, socket.SOCK_STREAM)
            connection.setblocking(False)
            async with asyncio.timeout(deadline.remaining() / (len(addresses) - tried)):
                await loop.sock_connect(connection, address.sockaddr)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            reason = _reason(error)
            if connection is not None:
                connection.close()
        else:
            return connection
    raise TemporaryError(f"No connection to the server: {reason}.", code="unreachable")


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return "it refused" if isinstance(error, ConnectionRefusedError) else "there is no way to it"


def _must_be_a_name(host: str) -> None:
    if not host.isprintable():
        raise MisconfiguredError("The server's name is not a host name.")


def _unresolved(host: str, error: OSError | ValueError) -> TemporaryError | MisconfiguredError:
    if isinstance(error, TimeoutError):
        return TemporaryError(f"The name {host} could not be looked up in time.", code="unreachable")
    if isinstance(error, ValueError):  # an empty or too long label, NUL: what the encoding to IDNA refuses
        return MisconfiguredError("The server's name is not a host name.")
    return TemporaryError(f"The name {host} is unknown.", code="unreachable")


def _allowed(found: list[Any], *, public_only: bool) -> list[Address]:
    addresses = [Address(family, sockaddr) for family, _, _, _, sockaddr in found if len(sockaddr) in {2, 4}]
    if public_only and not all(is_public(str(address.sockaddr[0])) for address in addresses):
        raise MisconfiguredError("The server's address is not a public one.")
    return list(dict.fromkeys(addresses))


def _getaddrinfo_by(deadline: Deadline, host: str, port: int) -> list[Any]:
    answer: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()
    running = _MOST_LOOKUPS
    if not running.acquire(timeout=deadline.remaining()):
        raise TimeoutError
    _look_up(host, port, running, answer.put)
    try:
        found = answer.get(timeout=deadline.remaining())
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return found


async def _agetaddrinfo_by(deadline: Deadline, host: str, port: int) -> list[Any]:
    with suppress(ValueError):
        ip_address(host)
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)  # asks nobody
    loop, running = asyncio.get_running_loop(), _MOST_LOOKUPS
    answer: asyncio.Future[list[Any] | Exception] = loop.create_future()

    def tell(found: list[Any] | Exception) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, answer, found)

    while not running.acquire(blocking=False):  # noqa: ASYNC110 - shared with threads, where no asyncio.Event counts
        await asyncio.sleep(min(_LOOKUP_PAUSE, deadline.remaining()))
    _look_up(host, port, running, tell)
    async with asyncio.timeout(deadline.remaining()):
        found = await answer
    if isinstance(found, Exception):
        raise found
    return found


def _settle(answer: "asyncio.Future[list[Any] | Exception]", found: list[Any] | Exception) -> None:
    if not answer.done():  # by its deadline
        answer.set_result(found)


def _look_up(
    host: str, port: int, running: threading.BoundedSemaphore, tell: Callable[[list[Any] | Exception], None]
) -> None:
    """`getaddrinfo` in a thread of its own, since it knows no timeout and may hang for half a minute."""

    def look_up() -> None:
        try:
            tell(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001  # raised again in the caller's thread
            tell(error)
        finally:
            running.release()

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
