"""The thread in which all e-mail of a process leaves: one event loop, a lane for each account."""

import asyncio
import atexit
import threading
from importlib import import_module

from channels.email.account import SmtpAccount
from channels.email.compose import compose
from channels.email.job import Job
from channels.email.lane import Lane, Terms

_LARGE = 50_000  # characters and octets that take longer to compose than the others should wait: about a millisecond
_PATIENCE = 3.0  # seconds, for the goodbyes


class Office:
    """Takes messages from any thread until it is closed. A daemon thread: it never keeps a process alive.

    It closes by itself at the end of the process, before Python goes: uvloop's loop would not survive that (SIGSEGV).
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._loop = _new_loop()
        self._lock = threading.Lock()
        self._inbox: list[Job] = []
        self._is_closed = False
        self._lanes: dict[SmtpAccount, Lane] = {}
        self._last: tuple[SmtpAccount, Lane] | None = None
        self._composing: set[asyncio.Task[None]] = set()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="send-email", daemon=True)
        self._thread.start()
        atexit.register(self._end_with_the_process)

    def post(self, job: Job) -> bool:
        """Take a message over. False: this office is closed. Many messages in a row wake the loop only once."""
        with self._lock:
            if self._is_closed:
                return False
            self._inbox.append(job)
            if len(self._inbox) == 1:
                self._loop.call_soon_threadsafe(self._collect)
        return True

    def close(self) -> None:
        """Take no more; finish what is under way, say goodbye, end. Waits a moment for that."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._loop.call_soon_threadsafe(self._begin_to_end)
        if self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)

    def _end_with_the_process(self) -> None:
        """Close, whoever may not answer; where we are a forked child, the thread is the parent's and does not run."""
        if self._thread.is_alive():
            self.close()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_PATIENCE)

    def abandon(self) -> None:
        """In a forked child, where the thread does not run: drop our copies of the parent's connections, unheard. Two
        processes would talk in one dialogue."""
        for lane in self._lanes.values():
            for session in lane.sessions:
                session.abandon()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()
            atexit.unregister(self._end_with_the_process)

    def _collect(self) -> None:
        with self._lock:
            jobs, self._inbox = self._inbox, []
        for job in jobs:
            message = job.message
            if message.attachments or len(message.text) + len(message.html) > _LARGE:
                task = self._loop.create_task(self._compose_apart(job))
                self._composing.add(task)
                task.add_done_callback(self._composed_apart)
            else:
                self._forward(job, _compose(job))

    async def _compose_apart(self, job: Job) -> None:
        self._forward(job, await self._loop.run_in_executor(None, _compose, job))

    def _composed_apart(self, task: asyncio.Task[None]) -> None:
        self._composing.discard(task)
        self._end_if_done()

    def _forward(self, job: Job, problem: Exception | None) -> None:
        if problem is None:
            self._lane(job.account).add(job)
        else:
            job.land(problem)

    def _lane(self, account: SmtpAccount) -> Lane:
        if self._last is not None and self._last[0] is account:  # a burst comes with one account, whose hash costs
            return self._last[1]
        lane = self._lanes.get(account)
        if lane is None:
            lane = self._lanes[account] = Lane(account, self._terms, self._emptied)
            if self._is_ending:
                lane.close()
        self._last = account, lane
        return lane

    def _emptied(self, lane: Lane) -> None:
        self._lanes.pop(lane.account, None)
        self._last = None
        self._end_if_done()

    def _begin_to_end(self) -> None:
        self._is_ending = True
        for lane in self._lanes.values():
            lane.close()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._is_ending and not self._lanes and not self._composing:
            self._loop.stop()


def _compose(job: Job) -> Exception | None:
    """Why the message must not leave. None: `job.mail` is set."""
    try:
        job.account.check()
        job.mail = compose(job.message, from_email=job.account.from_email, user=job.account.user)
    except Exception as error:  # noqa: BLE001 - whoever is told decides what it means
        return error
    return None


def _new_loop() -> asyncio.AbstractEventLoop:
    """A loop that watches plain sockets; uvloop's where it is installed."""
    try:
        made: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    except ImportError:
        made = asyncio.SelectorEventLoop()
    return made
