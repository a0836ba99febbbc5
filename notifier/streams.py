"""Streams of events: opened by a request, read in threads; `hub.py` follows them, `live.py` writes them to the wire.

What a stream tells is read from the table of events and from the notifications as they are then: of several fast
changes the first may already show what the last one left.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any, NamedTuple

from notifier import events
from notifier.callers import always
from notifier.events import Change
from notifier.models import Notification
from notifier.outputs import Moment, NotificationDetail, NotificationOutput

if sys.platform != "win32":
    import resource

RETRY_MS = 3000
"""After how long a browser whose stream broke opens it again."""

MOST_OF_AN_ORGANIZATION, MOST = 100, 1000
"""Streams that one process keeps open; never more than half of what the system lets it open at all."""

PORTION = 64 * 1024
"""Signs after which a stream is told no more at once: what a slow reader has not taken yet is kept for him alone."""

LOOK_BACK = 1000
"""Events of its organization among which a notification's are looked for when its stream is opened again."""

_LINE_ENDS = {"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""No line ends in `text/event-stream`, but readers exist that take them for such."""

_moment = Moment()


class Told(NamedTuple):
    """One event as it is told: `text` is a JSON object with type, timestamp and data."""

    id: int
    type: str
    text: str

    def for_sse(self) -> bytes:
        """As an event of `text/event-stream`."""
        return f"id: {self.id}\nevent: {self.type}\ndata: {self.text}\n\n".encode()

    def for_websocket(self) -> str:
        """As a message. The id is a string: JavaScript's numbers end at 53 bits."""
        return f'{{"id": "{self.id}", {self.text[1:]}'


def sse_head(position: int) -> bytes:
    """What every stream begins with: an empty event, so that also who has heard nothing yet resumes without a gap."""
    return f"retry: {RETRY_MS}\nid: {position}\n\n".encode()


class TooManyError(Exception):
    """No more streams. `of_all`: of this process, and not only of this organization."""

    def __init__(self, *, of_all: bool) -> None:
        super().__init__("Too many streams are open.")
        self.of_all = of_all


def _open_files() -> int:
    """How many files and connections this process may have open."""
    if sys.platform == "win32":
        return 2 * MOST
    limit, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2 * MOST if limit == resource.RLIM_INFINITY else limit


class _Places:
    """How many streams are open in this process."""

    def __init__(self) -> None:
        self._taken: Counter[int] = Counter()
        self._turn = Lock()

    def take(self, organization_id: int) -> None:
        """One more, or TooManyError."""
        with self._turn:
            if self._taken.total() >= min(MOST, _open_files() // 2):
                raise TooManyError(of_all=True)
            if self._taken[organization_id] >= MOST_OF_AN_ORGANIZATION:
                raise TooManyError(of_all=False)
            self._taken[organization_id] += 1

    def leave(self, organization_id: int) -> None:
        """One less."""
        with self._turn:
            self._taken[organization_id] -= 1
            if not self._taken[organization_id]:
                del self._taken[organization_id]

    def forget(self) -> None:
        """Nobody is there."""
        with self._turn:
            self._taken.clear()


_places = _Places()


def forget() -> None:
    """Begin anew, in this process."""
    _places.forget()


@dataclass(eq=False)
class Stream:
    """What somebody listens to: one notification, or all of an organization.

    `position`: behind which event it goes on. `now`: behind which none had happened when it was opened. `first`: what
    it begins with.
    """

    organization_id: int
    notification_id: int | None
    position: int
    now: int
    first: Sequence[Told] = ()
    still_allowed: Callable[[], bool] = always
    _has_left: bool = field(default=False, init=False)

    def leave(self) -> None:
        """Give its place back; once more does no harm."""
        if not self._has_left:
            self._has_left = True
            _places.leave(self.organization_id)


def open_stream(
    organization_id: int,
    notification_id: int | None = None,
    *,
    last: int | None = None,
    still_allowed: Callable[[], bool] = always,
) -> Stream:
    """A stream that goes on behind the event `last`, or begins now. It is to be left. TooManyError.

    One of a notification begins with its present state, unless nothing has happened since `last`. An event that lies
    in the future is of another database than this one: that stream begins now.
    """
    _places.take(organization_id)
    try:
        now = events.position()
        if last is not None and last > now:
            last = None
        stream = Stream(organization_id, notification_id, now if last is None else last, now)
        stream.still_allowed = still_allowed
        if notification_id is not None:
            stream.position = now
            if last is None or _has_changed(organization_id, notification_id, last):
                stream.first = state(stream, now)
    except BaseException:
        _places.leave(organization_id)
        raise
    return stream


def _has_changed(organization_id: int, notification_id: int, last: int) -> bool:
    """Whether something happened to it since, as far as that can be told with little effort: else it is supposed."""
    since = events.after({organization_id: last}, LOOK_BACK).get(organization_id, [])
    return len(since) == LOOK_BACK or any(one.notification_id == notification_id for one in since)


def state(stream: Stream, position: int) -> list[Told]:
    """The stream's notification as it is; nothing where it is gone."""
    row = _detailed(stream)
    if row is None:
        return []
    moments = (row.created_at, row.sent_at, row.finished_at, row.acknowledged_at)
    return [_told(position, row.status, max(filter(None, moments)), NotificationDetail.shown(row))]


def told_of_one(stream: Stream, changes: Sequence[Change]) -> list[Told]:
    """These changes of the stream's notification."""
    row = _detailed(stream)
    if row is None:
        return []
    shown = NotificationDetail.shown(row)
    return [_told(one.id, one.status, one.at, shown) for one in changes]


def _detailed(stream: Stream) -> Notification | None:
    rows = Notification.objects.filter(organization=stream.organization_id, pk=stream.notification_id or 0)
    return rows.select_related("recipient").prefetch_related("attempts").first()


def told_of_all(organization_id: int, changes: Sequence[Change]) -> list[Told]:
    """These changes in an organization, without those of notifications that are gone."""
    ids = {one.notification_id for one in changes}
    rows = Notification.objects.filter(organization=organization_id, pk__among=list(ids)).select_related("recipient")
    shown = {row.pk: NotificationOutput.shown(row) for row in rows}
    return [
        _told(one.id, one.status, one.at, shown[one.notification_id]) for one in changes if one.notification_id in shown
    ]


def _told(number: int, status: str, at: datetime, shown: Mapping[str, Any]) -> Told:
    kind = f"notification.{status}"
    body = {"type": kind, "timestamp": _moment.to_representation(at), "data": shown}
    text = json.dumps(body, ensure_ascii=False)
    for sign, escaped in _LINE_ENDS.items():
        text = text.replace(sign, escaped)
    return Told(number, kind, text)


def portion(told: Sequence[Told], behind: int) -> tuple[Sequence[Told], int]:
    """As much of this as is told at once, and the position then: `behind` all of it."""
    size = 0
    for number, one in enumerate(told, 1):
        size += len(one.text)
        if size >= PORTION:
            return told[:number], one.id
    return told, behind


def read_on(stream: Stream) -> tuple[Sequence[Told], int]:
    """What an organization's stream has to tell next, from the table, and its position behind that."""
    changes = events.after({stream.organization_id: stream.position}).get(stream.organization_id)
    if changes is None:
        # Up to where it was opened everything could be read then.
        return [], max(stream.position, stream.now)
    return portion(told_of_all(stream.organization_id, changes), changes[-1].id)


def snapshot(stream: Stream) -> Iterator[bytes]:
    """All that there is to tell now, for servers that cannot keep a stream open without a thread of its own: the
    browser comes again after some seconds, and hears what happened since."""
    yield sse_head(stream.position)
    yield from (one.for_sse() for one in stream.first)
    if stream.notification_id is None:
        told, position = read_on(stream)
        yield from (one.for_sse() for one in told)
        yield sse_head(position)
