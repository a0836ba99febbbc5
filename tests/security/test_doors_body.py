"""A body that never ends is not waited for."""

import asyncio
import json
from typing import Any

import pytest

from notifier import asgi


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "BODY_SECONDS", 0.2)
    pieces, sent = iter([b"{", b'"a"']), []

    async def receive() -> dict[str, Any]:
        piece = next(pieces, None)
        if piece is None:
            await asyncio.sleep(60)  # longer than the test would wait
        return {"type": "http.request", "body": piece or b"", "more_body": True}

    async def send(event: Any) -> None:
        sent.append(event)

    asyncio.run(asgi.application({"type": "http", "headers": []}, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["errors"][0]["code"] == "too_slow"
