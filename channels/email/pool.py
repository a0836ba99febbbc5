"""Kept connections: a login costs several round trips, a message on an open connection one or two."""

import os
import threading
import time
from collections import defaultdict
from datetime import timedelta

from channels.email.account import SmtpAccount
from channels.email.session import Session


class Pool:
    """Idle sessions by account, the password included: no message goes out under another's login.

    Safe to use from several threads; a session that was taken belongs to its thread until it is given back.
    """

    def __init__(self, *, most_idle: int, idle: timedelta, most_messages: int) -> None:
        self._most_idle = most_idle
        self._idle = idle.total_seconds()
        self._most_messages = most_messages
        self._lock = threading.Lock()
        self._kept: dict[SmtpAccount, list[Session]] = defaultdict(list)
        self._owner = os.getpid()
        self._sweeper: threading.Timer | None = None

    def take(self, account: SmtpAccount) -> Session | None:
        """The session of this account that was used last. None: none is kept."""
        self._forget_after_fork()
        self._close(self._stale())
        with self._lock:
            kept = self._kept.get(account)
            return kept.pop() if kept else None

    def give_back(self, account: SmtpAccount, session: Session) -> None:
        """Keep a session for the next message, or close it: out of step, worn out, or one too many."""
        self._forget_after_fork()
        session.used_at = time.monotonic()
        with self._lock:
            kept = self._kept[account]
            if session.is_usable and session.sent < self._most_messages and len(kept) < self._most_idle:
                kept.append(session)
                self._sweep_later()
                return
        session.close()

    def close(self) -> None:
        """Close all that is kept."""
        self._forget_after_fork()
        with self._lock:
            sessions = [session for kept in self._kept.values() for session in kept]
            self._kept.clear()
            if self._sweeper is not None:
                self._sweeper.cancel()
                self._sweeper = None
        self._close(sessions)

    def _stale(self) -> list[Session]:
        """Take out what nobody has used for too long."""
        oldest = time.monotonic() - self._idle
        with self._lock:
            stale = [session for kept in self._kept.values() for session in kept if session.used_at <= oldest]
            for account, kept in list(self._kept.items()):
                kept[:] = [session for session in kept if session.used_at > oldest]
                if not kept:
                    del self._kept[account]
        return stale

    def _sweep_later(self) -> None:
        if self._sweeper is None or not self._sweeper.is_alive():
            self._sweeper = threading.Timer(self._idle / 4, self._sweep)
            self._sweeper.daemon = True
            self._sweeper.start()

    def _sweep(self) -> None:
        self._close(self._stale())
        with self._lock:
            self._sweeper = None
            if self._kept:
                self._sweep_later()

    def _forget_after_fork(self) -> None:
        """A child process shares its parent's sockets: two would talk in one dialogue. It drops its copies, unheard."""
        if self._owner == os.getpid():
            return
        inherited, self._kept, self._lock = self._kept, defaultdict(list), threading.Lock()
        self._owner, self._sweeper = os.getpid(), None
        for kept in inherited.values():
            for session in kept:
                session.drop()

    @staticmethod
    def _close(sessions: list[Session]) -> None:
        for session in sessions:
            session.close()
