"""The hub: reads the events of a process's streams once for all of them, and holds no thread while nothing happens.

It lives in the web process's event loop. Each organization that somebody listens to has a room; its newest events are
kept there for a while, and every stream goes through them at its own pace. One that falls behind, or comes back from
far, reads on from the table by itself. So nobody's slowness costs memory, or anybody else's time.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum
from typing import NamedTuple, TypeVar

from django.conf import settings
from django.db import close_old_connections, connection
from redis import asyncio as redis

from notifier import events, streams, wakes
from notifier.events import Change
from notifier.streams import Stream, Told

log = logging.getLogger(__name__)

T = TypeVar("T")
Tell = Callable[[Sequence[Told]], Awaitable[None]]
"""Takes what there is to tell; nothing where only a sign of life is due."""

LOOK_SECONDS = 1.0
"""Between two looks that nobody asked for."""

BEAT_SECONDS = 15.0
"""Between two signs of life, and two questions whether the caller may still listen."""

KEPT_EVENTS, KEPT_TEXT = 256, 512 * 1024
"""How much of the newest a room keeps."""


class End(Enum):
    """Why a stream ended that its reader did not leave."""

    STOPPING = "The process ends."
    NOT_ALLOWED = "The caller may not listen any more."


class Heard(NamedTuple):
    """An event, and how all who listen to the whole organization are told. `told` None: none did when it was read."""

    change: Change
    told: Sequence[Told] | None

    @property
    def size(self) -> int:
        """Of its text."""
        return sum(len(one.text) for one in self.told or ())


class Room:
    """An organization that somebody listens to. Everything up to `position` was heard."""

    def __init__(self, position: int) -> None:
        self.position = self._floor = position
        self._heard: deque[Heard] = deque()
        self._size = 0
        self.ears: dict[Stream, asyncio.Event] = {}

    @property
    def is_wide(self) -> bool:
        """Whether somebody listens to all of it."""
        return any(stream.notification_id is None for stream in self.ears)

    def add(self, heard: Sequence[Heard]) -> None:
        """What happened next."""
        self._heard.extend(heard)
        self._size += sum(one.size for one in heard)
        self.position = heard[-1].change.id
        while len(self._heard) > KEPT_EVENTS or self._size > KEPT_TEXT:
            oldest = self._heard.popleft()
            self._size -= oldest.size
            self._floor = oldest.change.id
        for ear in self.ears.values():
            ear.set()

    def since(self, position: int) -> list[Heard] | None:
        """What came behind this position. None: not everything is kept here any more."""
        if position < self._floor:
            return None
        return [one for one in self._heard if one.change.id > position]


class Hub:
    """All rooms of this process."""

    def __init__(self) -> None:
        self._rooms: dict[int, Room] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._wanted: asyncio.Event | None = None
        self._is_closing = False
        self._is_well = True
        # The rooms' own reading never stands in line behind streams that read on by themselves.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._helpers = ThreadPoolExecutor(2, thread_name_prefix="streams")

    def open(self) -> None:
        """Take streams, after an earlier end too."""
        self._is_closing = False

    def close(self) -> None:
        """End every stream, and each that is still to come."""
        self._is_closing = True
        for room in self._rooms.values():
            for ear in room.ears.values():
                ear.set()

    async def follow(self, stream: Stream, tell: Tell) -> End:
        """Tell what happens, until it has to end. Nothing more is read before what was told has been taken."""
        room, ear = self._join(stream)
        loop = asyncio.get_running_loop()
        try:
            if stream.first:
                await tell(stream.first)
            beat = loop.time() + BEAT_SECONDS
            while not self._is_closing:
                ear.clear()
                told = await self._next(room, stream)
                if told:
                    await tell(told)
                elif told is not None:
                    await _wait(ear, beat - loop.time())
                if loop.time() >= beat:
                    if not await self._ask(self._helpers, stream.still_allowed, otherwise=True):
                        return End.NOT_ALLOWED
                    await tell(())
                    beat = loop.time() + BEAT_SECONDS
            return End.STOPPING
        finally:
            self._leave(stream)

    async def _next(self, room: Room, stream: Stream) -> Sequence[Told] | None:
        """What there is to tell; the stream's position is behind it then. None: the database did not answer."""
        heard = room.since(stream.position)
        if stream.notification_id is None:
            # What was before it came is told as it is by now: a text kept here may be of somebody who was forgotten.
            if heard is None or stream.position < stream.now or any(one.told is None for one in heard):
                return await self._read_on(stream)
            everything = [one for entry in heard for one in entry.told or ()]
            told, stream.position = streams.portion(everything, room.position if heard else stream.position)
            return told
        if heard == []:
            return ()
        position = room.position
        if heard is None:
            found = await self._ask(self._helpers, lambda: streams.state(stream, position), otherwise=None)
        else:
            mine = [one.change for one in heard if one.change.notification_id == stream.notification_id]
            if not mine:
                stream.position = position
                return ()
            found = await self._ask(self._helpers, lambda: streams.told_of_one(stream, mine), otherwise=None)
        if found is not None:
            stream.position = position
        return found

    async def _read_on(self, stream: Stream) -> Sequence[Told] | None:
        """From the table. A batch of which nothing can be told any more is followed by the next one."""
        while True:
            before = stream.position
            found = await self._ask(self._helpers, lambda: streams.read_on(stream), otherwise=None)
            if found is None:
                return None
            told, stream.position = found
            if told or stream.position == before:
                return told

    def _join(self, stream: Stream) -> tuple[Room, asyncio.Event]:
        if not self._rooms:
            self._begin()
        room = self._rooms.setdefault(stream.organization_id, Room(stream.now))
        room.ears[stream] = ear = asyncio.Event()
        return room, ear

    def _leave(self, stream: Stream) -> None:
        room = self._rooms[stream.organization_id]
        del room.ears[stream]
        if not room.ears:
            del self._rooms[stream.organization_id]
        if not self._rooms:
            self._rest()

    # --- Reading while somebody listens ------------------------------------------------------------------------------
    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._wanted = wanted = asyncio.Event()

        def look() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(wanted.set)

        self._look = look
        wakes.listen(look)
        self._tasks = [loop.create_task(self._read(wanted))]
        if settings.REDIS_URL:
            self._tasks.append(loop.create_task(self._hear_redis(wanted)))

    def _rest(self) -> None:
        wakes.unlisten(self._look)
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    async def _read(self, wanted: asyncio.Event) -> None:
        while True:
            positions = {number: room.position for number, room in self._rooms.items()}
            wide = {number for number, room in self._rooms.items() if room.is_wide}
            heard = await self._ask(self._reader, lambda: _heard(positions, wide), otherwise=None)  # noqa: B023
            for number, news in (heard or {}).items():
                room = self._rooms.get(number)
                if room is not None and room.position == positions[number]:
                    room.add(news)
            if not any(len(news) == events.BATCH for news in (heard or {}).values()):
                await asyncio.sleep(wakes.GAP)  # however many processes wake this one
                await _wait(wanted, LOOK_SECONDS)
            wanted.clear()

    async def _hear_redis(self, wanted: asyncio.Event) -> None:
        """Let other processes wake this one. Without Redis it looks by itself."""
        was_well = True
        while True:
            client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_keepalive=True)
            try:
                async with client, client.pubsub() as heard:
                    await heard.subscribe(wakes.CHANNEL)
                    while True:
                        if await heard.get_message(ignore_subscribe_messages=True, timeout=30):
                            wanted.set()
                        was_well = True
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
                if was_well:
                    log.warning("Redis does not wake the streams; they look by themselves. %s", type(error).__name__)
                was_well = False
            await asyncio.sleep(wakes.SILENCE)

    async def _ask(self, pool: ThreadPoolExecutor, question: Callable[[], T], *, otherwise: T) -> T:
        """What a thread finds in the database. Where it does not answer: `otherwise`, after a pause."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(pool, _answered, question)
        except Exception:
            if self._is_well:
                log.exception("Events cannot be read; trying again.")
            self._is_well = False
            await asyncio.sleep(LOOK_SECONDS)
            return otherwise
        self._is_well = True
        return found


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, or the time is over. Not by `wait_for`: before Python 3.12 that forgets that it was cancelled
    where the event is set at the same moment, and the stream of a reader who left would go on for ever."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _answered(question: Callable[[], T]) -> T:
    """In a thread, with its own connection to the database, which may be dead."""
    close_old_connections()
    try:
        return question()
    except Exception:
        connection.close()
        raise


def _heard(positions: Mapping[int, int], wide: AbstractSet[int]) -> dict[int, list[Heard]]:
    """What happened next in each of these organizations, if anything."""
    found: dict[int, list[Heard]] = {}
    for number, changes in events.after(positions).items():
        if number not in wide:
            found[number] = [Heard(one, None) for one in changes]
            continue
        told = {one.id: one for one in streams.told_of_all(number, changes)}
        found[number] = [Heard(one, (told[one.id],) if one.id in told else ()) for one in changes]
    return found


hub = Hub()
