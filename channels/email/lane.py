"""The connections of one account and the messages that wait for them. All of it runs in one event loop."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from channels.base import Receipt
from channels.email.account import SmtpAccount
from channels.email.job import Job
from channels.email.opening import tls_context
from channels.email.replies import Phase
from channels.email.session import Session
from channels.errors import ChannelError, MisconfiguredError

_NARROW_SECONDS = 60.0  # how long we believe a server that it takes no more connections than it has


@dataclass(frozen=True)
class Terms:
    """How connections are used; the channel's options."""

    local_hostname: str
    connections: int
    idle: timedelta
    most_messages: int

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Made when it is first needed: it takes 20 ms."""
        return tls_context()


class Lane:
    """At most `connections` at a time, each with a task of its own; the password is part of the account, so no message
    goes out under another's login.

    Messages wait only while every allowed connection is busy, first come first served. `sessions` are the connections
    that exist now; `emptied` is called when the last one ends and nothing waits.
    """

    def __init__(self, account: SmtpAccount, terms: Terms, emptied: Callable[["Lane"], None]) -> None:
        self.account = account
        self.sessions: set[Session] = set()
        self._terms = terms
        self._emptied = emptied
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: deque[Job] = deque()
        self._idle: list[asyncio.Future[Job | None]] = []  # connections without work; the one used last is the last
        self._is_closing = False
        self._narrow, self._narrow_until = terms.connections, 0.0

    def add(self, job: Job) -> None:
        """Send the message as soon as there is a connection for it."""
        self._waiting.append(job)
        self._assign()

    def close(self) -> None:
        """Finish what is there, then say goodbye on every connection."""
        self._is_closing = True
        while self._idle:
            self._idle.pop().set_result(None)

    def _room(self) -> int:
        return self._narrow if self._loop.time() < self._narrow_until else self._terms.connections

    def _assign(self) -> None:
        while self._waiting:
            has_room = len(self.sessions) < self._room()
            if self._idle and not (self._waiting[0].was_given_up and has_room):
                self._idle.pop().set_result(self._waiting.popleft())
            elif has_room:
                self._begin(self._waiting.popleft())
            else:
                return

    def _begin(self, job: Job) -> None:
        session = Session(self.account)
        self.sessions.add(session)
        task = self._loop.create_task(self._connection(session, job))
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._assign()
        if not self._tasks:
            self._emptied(self)

    async def _connection(self, session: Session, first: Job) -> None:
        """The life of one connection: opened for a message, used as long as there are others, closed with a goodbye."""
        try:
            if not await self._opened(session, first):
                return
            job: Job | None = first
            while job is not None:
                behind = await self._carry(session, job)
                if not session.is_usable or self._is_worn(session):
                    if behind is not None:
                        self._waiting.appendleft(behind)  # its content never left
                        self._assign()
                    break
                job = behind or await self._next(session)
            await session.close()
        finally:
            self.sessions.discard(session)

    async def _opened(self, session: Session, job: Job) -> bool:
        try:
            await session.open(lambda: self._terms.tls, self._terms.local_hostname)
        except Exception as error:  # noqa: BLE001 - whoever is told decides what it means
            self.sessions.discard(session)
            if not session.is_turned_away:
                job.land(error)
            elif job.was_turned_away or not self.sessions:
                self._narrow_until = 0.0  # there is no other connection: it is not their number that is too high
                job.land(error)
            else:
                job.was_turned_away = True
                self._narrow, self._narrow_until = len(self.sessions), self._loop.time() + _NARROW_SECONDS
                self._waiting.appendleft(job)
            return False
        return True

    async def _carry(self, session: Session, job: Job) -> Job | None:
        """Send a message. Returns the one whose envelope rode behind it, None for none."""
        was_kept, behind = session.tried > 0, None
        try:
            await session.announce(job.mail)
            behind = self._rider(session)
            await session.hand_over(job.mail, behind.mail if behind else None)
        except (ChannelError, MisconfiguredError) as error:
            given_up = was_kept and session.phase is Phase.MAIL and error.code == "unreachable"
            if given_up and not job.was_given_up:
                job.was_given_up = True
                self._waiting.appendleft(job)
            else:
                job.land(error)
        except Exception as bug:  # noqa: BLE001 - whoever is told decides what it means
            session.drop()
            job.land(bug)
        else:
            job.land(Receipt(provider_id=job.mail.message_id))
        return behind

    def _rider(self, session: Session) -> Job | None:
        """The message whose envelope may leave with the content of the one before: only where no connection is free."""
        if not self._waiting or not session.can_pipeline or session.sent + 1 >= self._terms.most_messages:
            return None
        job = self._waiting[0]
        return None if job.was_given_up or session.misfit(job.mail) else self._waiting.popleft()

    async def _next(self, session: Session) -> Job | None:
        """The next message for a free connection. None: it is time to close it."""
        if self._waiting:
            return self._waiting.popleft()
        if self._is_closing or not session.wire.is_quiet:
            return None
        seat: asyncio.Future[Job | None] = self._loop.create_future()

        def leave() -> None:
            if seat in self._idle:
                self._idle.remove(seat)
                seat.set_result(None)

        self._idle.append(seat)
        session.wire.watch = leave  # the server gave it up
        alarm = self._loop.call_later(self._terms.idle.total_seconds(), leave)
        try:
            return await seat
        finally:
            session.wire.watch = None
            alarm.cancel()

    def _is_worn(self, session: Session) -> bool:
        return session.sent >= self._terms.most_messages
