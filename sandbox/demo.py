"""What `manage.py demo` does before Django reads its settings: start the sandbox and point the environment at it."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sandbox import servers

LOOPBACK = "127.0.0.1"


def prepare(arguments: Sequence[str]) -> None:
    """Start the sandbox and set the environment of the embedded mode.

    The demo never sends anything to the outside, whatever `.env` says: the sandbox's variables win over it, also the
    empty ones. A database of its own keeps its messages away from a real service; a `DATABASE_URL` in the process
    environment is respected. `--check` works on a database that is gone afterwards.
    """
    if "--help" in arguments or "-h" in arguments:
        os.environ.setdefault("DJANGO_DEBUG", "1")
        return
    sandbox = servers.start_current()
    os.environ.update(sandbox.environment())
    os.environ.update(
        DJANGO_DEBUG="1", HOST=LOOPBACK, REDIS_URL="", CELERY_BROKER_URL="", API_OPEN="1", CELERY_TASK_ALWAYS_EAGER="0"
    )
    if "--check" in arguments:
        folder = Path(tempfile.mkdtemp(prefix="notifier-check-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["DATABASE_URL"] = f"sqlite:///{folder / 'check.sqlite3'}"
        os.environ.update(LOG_LEVEL="WARNING", RETRY_DELAYS="1,2,4")
    else:
        base = Path(__file__).resolve().parent.parent
        os.environ.setdefault("DATABASE_URL", f"sqlite:///{base / 'demo.sqlite3'}")
