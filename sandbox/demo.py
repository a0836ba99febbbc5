"""What `manage.py demo` does before Django reads its settings: start the sandbox and point the environment at it."""

import atexit
import os
import shutil
import tempfile
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from sandbox import servers

LOOPBACK = "127.0.0.1"
BASE = Path(__file__).resolve().parent.parent


def prepare(arguments: Sequence[str]) -> None:
    """Start the sandbox and set the environment of the embedded mode.

    The demo never sends anything to the outside and never touches a real service's database: `.env` is not read, and
    the sandbox's variables win over the process environment. Only a `DATABASE_URL` there is respected. `--check` works
    on a database that is gone afterwards.
    """
    if "--help" in arguments or "-h" in arguments:
        os.environ.setdefault("DJANGO_DEBUG", "1")
        return
    settings = {
        **servers.start_current().environment(),
        "ENV_FILE": "",
        "DJANGO_DEBUG": "1",
        "DJANGO_ALLOWED_HOSTS": "127.0.0.1,localhost",
        "HOST": LOOPBACK,
        **_port(arguments),
        "PUBLIC_URL": "",
        "API_OPEN": "1",
        "REDIS_URL": "",
        "CELERY_BROKER_URL": "",
        "CELERY_TASK_ALWAYS_EAGER": "0",
        "BACKUP_SCHEDULE": "off",
        "BACKUP_WEBHOOK_URL": "",
        "EMAIL_BACKUP_ENABLED": "0",
        "DATABASE_URL": os.environ.get("DATABASE_URL") or f"sqlite:///{BASE / 'demo.sqlite3'}",
    }
    if "--check" in arguments:
        folder = Path(tempfile.mkdtemp(prefix="notifier-check-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        settings |= {
            "DATABASE_URL": f"sqlite:///{folder / 'check.sqlite3'}",
            "LOG_LEVEL": "WARNING",
            "RETRY_DELAYS": "1,2,4",
        }
    for name in settings:
        os.environ.pop(f"{name}_FILE", None)  # it would win over the value
    os.environ.update(settings)


def _port(arguments: Sequence[str]) -> dict[str, str]:
    """The port of the command line as a setting: the links in mails name it."""
    parser = ArgumentParser(add_help=False)
    parser.add_argument("--port", nargs="?")
    port = parser.parse_known_args(arguments)[0].port or ""
    return {"PORT": port} if port.isdecimal() and int(port) else {}  # what is none is the command's business
