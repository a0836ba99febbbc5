"""Work that many ask for and that is done once for all of them."""

import os
import threading
import time
from collections.abc import Callable


class Coalesced:
    """Does `work` in a thread of its own as long as somebody has asked since it last began.

    Asking returns at once. What was done while the work was under way may have come too late for it: it is always
    followed by another. `work` returns the seconds until it may begin again. A forked process has a thread of its own,
    and nothing asked for.
    """

    def __init__(self, work: Callable[[], float], name: str) -> None:
        self._work, self._name = work, name
        self._begin_anew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        """Nothing asked for, no thread: after a fork it is the parent's, and so may the lock be."""
        self._changed = threading.Condition()
        self._asked = self._working = self._runs = False

    def ask(self) -> None:
        """Have it done; returns at once."""
        with self._changed:
            self._asked = True
            if self._runs:
                self._changed.notify_all()
            else:
                self._runs = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def rest(self, seconds: float) -> bool:
        """Wait until all that was asked for is done. False: it took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._asked or self._working), seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked)
                self._asked, self._working = False, True
            pause = self._work()
            with self._changed:
                self._working = False
                self._changed.notify_all()
            time.sleep(pause)
