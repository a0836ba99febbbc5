"""A pytest plugin that is loaded before Django's settings: the tests' own environment, and the database they run on.

PostgreSQL is started for the run; `TEST_DATABASE=sqlite` takes SQLite instead, `TEST_DATABASE_URL` a server that runs
already. A developer's `.env` is left out. With `-n` the processes side by side share the one server, which the process
above them starts and stops; each has a database of its own there, to whose name pytest-django adds `_gw0`, `_gw1`.
"""

import atexit
import os
import sys
from pathlib import Path

from cryptography.fernet import Fernet

from tests.servers.postgres import PostgresServer

_started: list[PostgresServer] = []


def _database() -> str:
    if "PYTEST_XDIST_WORKER" in os.environ and (inherited := os.environ.get("DATABASE_URL")):
        return inherited
    if url := os.environ.get("TEST_DATABASE_URL"):
        return url
    reason = PostgresServer.missing()
    if os.environ.get("TEST_DATABASE") == "sqlite" or reason:
        if reason:
            sys.stderr.write(f"\nNOT ON POSTGRESQL, BUT ON SQLITE: {reason}\n\n")
        return "sqlite:///:memory:"
    server = PostgresServer().start()
    _started.append(server)
    return server.url


for _name in list(os.environ):
    if _name.startswith(("SMTP_", "EMAIL_", "SMS_", "SMSC_", "SMSRU_", "TWILIO_", "TELEGRAM_", "CELERY_", "REDIS_")):
        del os.environ[_name]
os.environ.update(
    ENV_FILE="",
    DJANGO_SETTINGS_MODULE="notifier.settings",
    DJANGO_DEBUG="0",
    DJANGO_SECRET_KEY="only-for-the-tests-" + "x" * 32,
    DJANGO_ALLOWED_HOSTS="testserver,127.0.0.1,localhost",
    ENCRYPTION_KEYS=Fernet.generate_key().decode(),
    API_OPEN="1",
    JWT_SECRET_KEY="only-for-the-tests-of-accounts-" + "x" * 32,
    LOG_LEVEL="WARNING",
)
(Path(__file__).resolve().parent.parent / "staticfiles").mkdir(exist_ok=True)  # WhiteNoise warns where it is missing
if not {"--help", "--version"} & set(sys.argv):
    os.environ["DATABASE_URL"] = _database()


@atexit.register  # not a hook of pytest: a conftest that fails to load ends the run without any
def _stop() -> None:
    """Stop what this run started."""
    while _started:
        _started.pop().stop()


def pytest_report_header() -> str:
    """Which database."""
    return f"database: {os.environ.get('DATABASE_URL', 'none').split('@')[-1]}"
