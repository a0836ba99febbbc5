"""A channel that ships for tests of everything above it: it takes each message, or fails as it is told."""

from collections import deque
from threading import Lock
from typing import Any, ClassVar

from channels.base import Account, Channel, Message, Receipt


class FakeChannel(Channel[Account]):
    """Keeps what it was given in `sent`; `fail_next` and `always` decide what happens instead.

    Raised as they are: the errors given, so `fake.fail_next(TemporaryError("busy"))` is the provider's "busy".
    """

    name: ClassVar[str] = "fake"

    def __init__(self, name: str = "fake") -> None:
        self.name = name  # type: ignore[misc]  # one class stands for several channels in a test
        self.sent: list[tuple[Message, Account]] = []
        self.always: Exception | None = None
        self._next: deque[Exception | Receipt] = deque()
        self._lock = Lock()

    def fail_next(self, *errors: Exception) -> None:
        """Fail the next sends with these errors, one each."""
        self._next.extend(errors)

    def answer_next(self, *receipts: Receipt) -> None:
        """Take the next messages with these receipts, one each."""
        self._next.extend(receipts)

    def send(self, message: Message, account: Account) -> Receipt:
        with self._lock:
            planned: Any = self._next.popleft() if self._next else self.always
            if isinstance(planned, Exception):
                raise planned
            self.sent.append((message, account))
            return planned or Receipt(provider_id=f"{self.name}-{len(self.sent)}")
