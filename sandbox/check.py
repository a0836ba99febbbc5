"""`manage.py demo --check`: one round trip through the whole chain, over the same wires as everybody's."""

import time
from collections.abc import Callable
from typing import Any

import requests

from sandbox.servers import Sandbox

PATIENCE = 30.0
"""Seconds that one notification may take."""

PERSON = {"email": "user@example.com", "phone": "+12025550123", "telegram_chat_id": "123456"}
WALK: tuple[tuple[dict[str, str], str, list[str]], ...] = (
    ({}, "email", ["accepted"]),
    ({"email": "refused"}, "sms", ["unreachable", "accepted"]),
    ({"email": "refused", "sms": "error"}, "telegram", ["unreachable", "provider_error", "accepted"]),
)
"""Outages, the channel that must have it then, and what the attempts must say."""


def round_trip(page: str, sandbox: Sandbox, say: Callable[[str], Any]) -> list[str]:
    """Send one notification through each channel. Returns what went wrong, nothing where all arrived."""
    try:
        user_id = _post(f"{page}api/users/", PERSON)["id"]
        for outages, channel, story in WALK:
            sandbox.reset()
            sandbox.switches.update(outages)
            wrong = _one(page, sandbox, user_id, channel, story)
            say(f"{'FAILED' if wrong else 'ok'}  {channel}  {' → '.join(story)}")
            if wrong:
                return [wrong]
    except (requests.RequestException, KeyError, ValueError) as error:
        return [f"the API did not answer as it should: {error}"]
    return []


def _one(page: str, sandbox: Sandbox, user_id: int, channel: str, story: list[str]) -> str:
    text = f"Checking {channel}."
    location = (
        f"{page}api/notifications/{_post(f'{page}api/notifications/', {'user_id': user_id, 'message': text})['id']}/"
    )
    end = time.monotonic() + PATIENCE
    while (row := requests.get(location, timeout=10).json())["finished_at"] is None:
        if time.monotonic() > end:
            return f"{channel}: still {row['status']} after {PATIENCE:.0f} s"
        time.sleep(0.05)
    told = [attempt["code"] or attempt["outcome"] for attempt in row["attempts"]]
    if row["status"] != "sent" or told != story:
        return f"{channel}: {row['status']}, {told}"
    arrived = [message for message in sandbox.inbox.messages() if message.channel == channel and text in message.text]
    return "" if len(arrived) == 1 else f"{channel}: it arrived {len(arrived)} times"


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    reply = requests.post(url, json=body, timeout=10)
    reply.raise_for_status()
    answer: dict[str, Any] = reply.json()
    return answer
