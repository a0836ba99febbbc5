"""How the two wires end a stream whose caller may not listen any more."""

import asyncio
from typing import Any

import pytest

from notifier import hub as hubs
from notifier import live, streams
from notifier.bridge import Event, Handed
from notifier.hub import Hub
from notifier.streams import Stream


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Stream:
    """A stream that was allowed when it was opened, of an organization in which nothing happens."""
    monkeypatch.setattr(hubs, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(hubs, "_heard", lambda positions, wide: {})
    monkeypatch.setattr(live, "hub", Hub())
    streams._places.take(1)
    return Stream(1, None, 7, 7, still_allowed=lambda: False)


class Peer:
    """The other end, which stays, and says nothing."""

    def __init__(self, *says: str) -> None:
        self._says = list(says)
        self.heard: list[Event] = []

    async def receive(self) -> Event:
        """What it says."""
        if not self._says:
            await asyncio.Event().wait()
        return {"type": self._says.pop(0)}

    async def send(self, event: Event) -> None:
        """What it hears."""
        self.heard.append(event)


def test_an_answer_ends_as_every_answer_does(forbidden: Stream) -> None:
    peer = Peer()
    head: Event = {"type": "http.response.start", "status": 200, "headers": []}
    asyncio.run(live.sse(Handed(head, forbidden), peer.receive, peer.send))
    assert peer.heard == [
        head,
        {"type": "http.response.body", "body": b"retry: 3000\nid: 7\n\n", "more_body": True},
        {"type": "http.response.body", "body": b""},
    ]
    assert not streams._places._taken


def test_a_websocket_says_why_it_ends(forbidden: Stream) -> None:
    peer = Peer("websocket.connect")

    async def django(scope: Event, body: bytes, send: Any) -> Handed:
        assert (scope["method"], scope["path"], scope["scheme"]) == ("GET", "/api/events/", "https")
        return Handed({}, forbidden)

    scope: Event = {"type": "websocket", "path": "/ws/notifications/", "query_string": b"", "scheme": "wss"}
    asyncio.run(live.websocket(django, scope, peer.receive, peer.send))  # type: ignore[arg-type]
    assert peer.heard == [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 4401}]
    assert not streams._places._taken


def test_who_leaves_while_something_happens_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever step of its way the news has reached by then."""
    monkeypatch.setattr(hubs, "_heard", lambda positions, wide: {})

    async def leave(steps: int) -> None:
        hub, stream = Hub(), Stream(1, None, 7, 7)
        following = asyncio.ensure_future(hub.follow(stream, Peer().send))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        hub._rooms[1].ears[stream].set()
        for _ in range(steps):
            await asyncio.sleep(0)
        following.cancel()
        done, _ = await asyncio.wait([following], timeout=30)
        assert done, steps
        assert not hub._tasks

    for steps in range(6):
        asyncio.run(leave(steps))


def test_a_place_is_given_back_where_the_other_end_is_gone_before_it_begins(forbidden: Stream) -> None:
    peer = Peer("http.disconnect")
    asyncio.run(live.sse(Handed({"type": "http.response.start"}, forbidden), peer.receive, peer.send))
    assert not streams._places._taken
