"""How long a head may take, where an answer is still under way before it."""

import asyncio
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from notifier import heads

HALF = b"GET /second HTTP/1.1\r\nHost: 127"


async def said(answers_after: float, sent: list[bytes]) -> bytes:
    """What a server that takes so long for its answer says to this, until it hangs up."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await asyncio.sleep(answers_after)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})

    config = Config(app, lifespan="off", log_config=None, timeout_keep_alive=1)
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: heads.BoundedHeads(config, state, {}), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for piece in sent:
            writer.write(piece)
            await writer.drain()
        try:
            return await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.3)


def test_half_a_head_does_not_cut_off_the_answer_before_it() -> None:
    whole = b"GET /first HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert asyncio.run(said(0.4, [whole + HALF])).endswith(b"done")
    assert asyncio.run(said(0.4, [whole, HALF])).endswith(b"done")


@pytest.mark.parametrize("sent", [[], [HALF]], ids=["nothing", "half a head"])
def test_who_never_says_what_he_wants_is_hung_up_on(sent: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.1)
    assert asyncio.run(said(0.5, sent)) == b""


def test_nor_does_he_wait_for_ever_who_has_said_it_once() -> None:
    whole = b"GET /first HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert asyncio.run(said(0.0, [whole, HALF])).endswith(b"done")
