"""What arrived: the last messages that the sandbox's servers took, in order of arrival."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sandbox.switches import Channel

KEPT = 1000
"""How many entries an inbox keeps; the oldest goes first."""


@dataclass(frozen=True, slots=True)
class InboxAttachment:
    """A file that came with an e-mail, without its content."""

    filename: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One message that a server took, as its reader would see it. `raw`: the bytes on the wire, of an e-mail only."""

    seq: int
    channel: Channel
    to: str
    sender: str = ""
    subject: str = ""
    text: str = ""
    html: str = ""
    reference: str = ""
    attachments: tuple[InboxAttachment, ...] = ()
    received_at: datetime
    provider_id: str = ""
    raw: bytes = field(default=b"", repr=False)


class Inbox:
    """Entries numbered 1, 2, 3 … in the order of their arrival; safe to use from several threads.

    Numbers are never given twice, not even after `clear`: a reader that remembers the last one misses nothing and sees
    nothing again. `on_arrival`: told of each in the thread that brings it.
    """

    def __init__(self, on_arrival: Callable[[Entry], None] = lambda _entry: None) -> None:
        self._on_arrival = on_arrival
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._last = 0
        self._arrived = threading.Condition()

    def add(
        self,
        channel: Channel,
        to: str,
        *,
        sender: str = "",
        subject: str = "",
        text: str = "",
        html: str = "",
        reference: str = "",
        attachments: tuple[InboxAttachment, ...] = (),
        provider_id: str = "",
        raw: bytes = b"",
    ) -> Entry:
        """Keep one message, wake who waits for it, and return its entry."""
        with self._arrived:
            self._last += 1
            entry = Entry(
                seq=self._last,
                channel=channel,
                to=to,
                sender=sender,
                subject=subject,
                text=text,
                html=html,
                reference=reference,
                attachments=attachments,
                received_at=datetime.now(UTC),
                provider_id=provider_id,
                raw=raw,
            )
            self._entries.append(entry)
            self._arrived.notify_all()
        self._on_arrival(entry)
        return entry

    def messages(self, after: int = 0) -> list[Entry]:
        """The kept entries with a number above `after`, newest last."""
        with self._arrived:
            return [entry for entry in self._entries if entry.seq > after]

    def clear(self) -> None:
        """Forget every entry; the numbers go on."""
        with self._arrived:
            self._entries.clear()

    def wait_for(self, predicate: Callable[[Entry], bool], timeout: float = 5.0) -> Entry:
        """The oldest kept entry for which `predicate` is true, waiting up to `timeout` seconds for it to arrive.

        Raises TimeoutError when none came.
        """

        def found() -> Entry | None:
            return next((entry for entry in self._entries if predicate(entry)), None)

        with self._arrived:
            entry = self._arrived.wait_for(found, timeout)
            if entry is None:
                raise TimeoutError(f"no such message within {timeout} s; the inbox holds {len(self._entries)}")
            return entry
