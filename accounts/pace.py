"""The same time for every answer that must not tell whether an address has an account."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

LEAST_SECONDS = 0.3
"""Many times what the longer of two ways takes. Whoever measures sees this, and not which way it was."""


@contextmanager
def same_for_all() -> Iterator[None]:
    """What is done inside takes at least `LEAST_SECONDS`, also where it fails.

    Hashing a password is left outside: it takes longer, and is done in any case.
    """
    end = time.monotonic() + LEAST_SECONDS
    try:
        yield
    finally:
        time.sleep(max(0.0, end - time.monotonic()))
