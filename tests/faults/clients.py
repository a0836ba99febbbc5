"""Clients who do not give up: each repeats its POST, with its Idempotency-Key, until it has a 202."""

import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

ACCEPTED = 202
TIMEOUT = 30
CHAINS: tuple[list[Any], ...] = (["email"], ["email", "sms"], ["sms", "email"])
ON_UNKNOWN = ("next", "retry", "stop")
REPEATED = 0.1
"""The share of requests that a client sends again although it was answered."""


def address(number: int) -> str:
    """Each wish has a person of its own, so that a double is seen even under another Message-ID."""
    return f"p{number}@example.com"


def phone(number: int) -> str:
    """As `address`."""
    return f"+1202{2000000 + number}"


def wish(seed: int, number: int) -> dict[str, Any]:
    """The body of the request with this number: the same for the same seed."""
    chance = random.Random(f"{seed}/{number}")
    return {
        "to": {"email": address(number), "phone": phone(number)},
        "message": f"Hello, {number}",
        "reference": f"wish-{number}",
        "channels": chance.choice(CHAINS),
        "on_unknown": chance.choice(ON_UNKNOWN),
        "priority": chance.choice(["high", "normal", "low"]),
    }


@dataclass
class Answers:
    """What the clients were told."""

    accepted: dict[int, int] = field(default_factory=dict)  # wish -> id of its notification
    contradictions: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


class Clients:
    """Some threads that POST at about `rate` a second together, from `with` to its end."""

    def __init__(self, port: int, *, seed: int, rate: float, threads: int = 4) -> None:
        self.answers = Answers()
        self._port, self._seed, self._pause = port, seed, threads / rate
        self._numbers = itertools.count()
        self._enough = threading.Event()
        self._turn = threading.Lock()
        self._threads = [threading.Thread(target=self._work, name=f"client-{nth}") for nth in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """No new wish; those under way are brought to their 202."""
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._enough.wait(self._pause):
            with self._turn:
                number = next(self._numbers)
            give_up = time.monotonic() + 2 * TIMEOUT
            while not self._wished(number):
                if time.monotonic() > give_up:
                    self._object(f"wish {number} was not accepted for {2 * TIMEOUT} s")
                    break
                threading.Event().wait(0.2)
            if random.Random(f"again/{self._seed}/{number}").random() < REPEATED:
                self._wished(number)

    def _wished(self, number: int) -> bool:
        """One try; whether it was accepted. A second 202 must tell of the same notification."""
        began = time.monotonic()
        try:
            status, body = post(self._port, wish(self._seed, number), key=f"wish-{number}")[:2]
        except (OSError, http.client.HTTPException, ValueError) as error:
            status, body = type(error).__name__, {}
        with self._turn:
            if status != ACCEPTED:
                self.answers.refusals[str(status)] += 1
                return False
            self.answers.slowest = max(self.answers.slowest, time.monotonic() - began)
            before = self.answers.accepted.setdefault(number, body["id"])
        if before != body["id"]:
            self._object(f"wish {number} was promised twice, as {before} and as {body['id']}")
        return True

    def _object(self, text: str) -> None:
        with self._turn:
            self.answers.contradictions.append(text)


def post(port: int, body: Any, *, key: str = "", path: str = "") -> tuple[int | str, Any, dict[str, str], float]:
    """POST to /api/notifications/: the status, the JSON, the headers in lower case, and the seconds that it took."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
    began = time.monotonic()
    try:
        line.request("POST", f"/api/notifications/{path}", json.dumps(body), headers)
        answer = line.getresponse()
        content = json.loads(answer.read())
    finally:
        line.close()
    named = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, content, named, time.monotonic() - began
