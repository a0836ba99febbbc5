"""A long line to a server nearby: every answer takes its time, so that a fault always finds messages on their way."""

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

T = TypeVar("T")


class SlowLine:
    """A TCP proxy on a port of its own. What the server says arrives up to `slowest` seconds late; `cut` ends all."""

    def __init__(self, target: Callable[[], int], slowest: float = 0.25) -> None:
        self.port = 0
        self._target, self._slowest = target, slowest
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="slow-line", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._here(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._here(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Every connection breaks; new ones are welcome."""
        self._here(self._abort())

    def _here(self, wanted: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(wanted, self._loop).result(10)

    async def _end(self) -> None:
        self._server.close()
        await self._abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _abort(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends, carrying = {writer}, set[asyncio.Future[None]]()
        try:
            with contextlib.suppress(OSError):
                answers, asks = await asyncio.open_connection("127.0.0.1", self._target())
                ends.add(asks)
                self._open |= ends
                carrying |= {
                    asyncio.ensure_future(self._carry(reader, asks, 0)),
                    asyncio.ensure_future(self._carry(answers, writer, self._slowest)),
                }
                await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in carrying:
                way.cancel()
            for end in ends:
                end.transport.abort()
            self._open -= ends
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, slowest: float) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await asyncio.sleep(random.uniform(0, slowest))
                writer.write(data)
                await writer.drain()
