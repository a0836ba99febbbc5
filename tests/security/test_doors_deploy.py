"""`manage.py check --deploy`: silent with the example's production values, and clear about everything unsafe."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.checks import CheckMessage, Error

from notifier import checks
from tests.servers.processes import PASSED_ON, ROOT

SECRET = "p3Qz8vL-m2Xn7Rb_t5Yc9Wd-k4Hf6Gj_s1AaZe0UoIi"
CANARY = "canary-in-a-value"


# --- The example's production values ---------------------------------------------------------------------------------
def filled_in(**more: str) -> str:
    """`.env.example` with what an operator fills in."""
    values = {
        "DJANGO_SECRET_KEY": SECRET + "0123456789",
        "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "JWT_SECRET_KEY": "j7Kq2xWz9LmB4vTn8RcY5pHs3dFg6aQe",
        "DJANGO_ALLOWED_HOSTS": "notifier.example.com,127.0.0.1",
        "PUBLIC_URL": "https://notifier.example.com",
        "TRUSTED_PROXIES": "127.0.0.1",
        "DATABASE_URL": "postgres://notifier:q7Tz0aLm4x@db.example.com:5432/notifier",
        "REDIS_URL": "redis://:q7Tz0aLm4x@redis.example.com:6379/0",
        "SMTP_HOST": "mail.example.com",
        "SMTP_DEFAULT_USER": "notifier@example.com",
        "SMTP_DEFAULT_PASSWORD": "q7Tz0aLm4x",
        **more,
    }
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    for name, value in values.items():
        text, found = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        assert found == 1, f"{name} stands in the example once"
    return text


def check(directory: Path, text: str) -> subprocess.CompletedProcess[str]:
    """The real command with these settings."""
    file = directory / "production.env"
    file.write_text(text, encoding="utf-8")
    base = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env={**base, "ENV_FILE": str(file)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_the_examples_production_values_are_safe(tmp_path: Path) -> None:
    done = check(tmp_path, filled_in())
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "no issues" in done.stdout


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("API_OPEN", "1", "notifier.E002"),
        ("DJANGO_DEBUG", "1", "notifier.E001"),
        ("PUBLIC_URL", "http://notifier.example.com", "notifier.E010"),
        ("TRUSTED_PROXIES", "", "notifier.W002"),
        ("DATABASE_URL", "postgres://notifier@db.example.com/notifier", "notifier.E014"),
        ("SMTP_USE_TLS", "0", "notifier.E012"),
    ],
)
def test_an_unsafe_one_fails_the_real_command(tmp_path: Path, name: str, value: str, found: str) -> None:
    done = check(tmp_path, filled_in(**{name: value}))
    assert done.returncode == 1
    assert found in done.stderr
    assert "HINT" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_only_the_check_refuses_works_on(tmp_path: Path) -> None:
    """An open API is the operator's own decision: the service starts."""
    (tmp_path / "open.env").write_text(filled_in(API_OPEN="1"), encoding="utf-8")
    base = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**base, "ENV_FILE": str(tmp_path / "open.env")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --- Each rule -------------------------------------------------------------------------------------------------------
@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Settings of which no rule complains."""
    safe: dict[str, Any] = {
        "DEBUG": False,
        "API_OPEN": False,
        "SECRET_KEY": SECRET,
        "ENCRYPTION_KEYS": (Fernet.generate_key().decode(),),
        "JWT_SECRET_KEY": "j7Kq2xWz9LmB4vTn8RcY5pHs3dFg6aQe",
        "ALLOWED_HOSTS": ["notifier.example.com"],
        "PUBLIC_URL": "https://notifier.example.com",
        "HTTPS": True,
        "TRUSTED_PROXIES": ("127.0.0.1",),
        "SMTP_HOST": "mail.example.com",
        "SMTP_USE_TLS": True,
        "SMTP_USE_SSL": False,
        "CALLBACK_HOSTS": (),
        "SMTP_OVERRIDE_HOSTS": (),
        "REDIS_URL": "redis://:q7Tz0aLm4x@redis.example.com/0",
        "AMQP_URL": "",
        "CELERY_BROKER_URL": "redis://:q7Tz0aLm4x@redis.example.com/0",
        "EMBEDDED": False,
        "WEB_CONCURRENCY": 4,
        "CELERY_TASK_ALWAYS_EAGER": False,
        "LOG_LEVEL": "INFO",
        "DATABASES": postgres(host="db.example.com", password="q7Tz0aLm4x"),
    }
    settings = SimpleNamespace(**dict.fromkeys(checks.PLAIN_HTTP, ""), **safe, SMTP_DEFAULT_PASSWORD="")
    monkeypatch.setattr(checks, "settings", settings)
    return settings


def postgres(host: str, password: str) -> dict[str, Any]:
    """Django's database settings, as far as the check reads them."""
    engine = "django.db.backends.postgresql"
    return {"default": {"ENGINE": engine, "HOST": host, "PASSWORD": password, "USER": "notifier", "NAME": "notifier"}}


def found() -> list[CheckMessage]:
    """What the rules say, each with a hint."""
    messages = checks.check_production()
    assert all(message.hint for message in messages)
    return messages


@pytest.mark.usefixtures("production")
def test_safe_settings_are_silent() -> None:
    assert found() == []


REMOTE, NEAR = "redis://redis.example.com/0", "redis://127.0.0.1/0"
UNSAFE: list[tuple[dict[str, Any], str]] = [
    ({"DEBUG": True}, "E001"),
    ({"API_OPEN": True}, "E002"),
    ({"ALLOWED_HOSTS": ["*"]}, "E003"),
    ({"ALLOWED_HOSTS": ["notifier.example.com", "*"]}, "E003"),
    ({"SECRET_KEY": "development-only-" + "0" * 40}, "E004"),
    ({"SECRET_KEY": "demo-only-on-this-machine"}, "E004"),
    ({"SECRET_KEY": "django-insecure-" + SECRET}, "E004"),
    ({"SECRET_KEY": SECRET[:31]}, "E005"),
    ({"SECRET_KEY": "x" * 60}, "E005"),
    ({"SECRET_KEY": "s" * 43 + "=", "ENCRYPTION_KEYS": ("s" * 43 + "=",)}, "E005 E006"),
    ({"ENCRYPTION_KEYS": ("xvEZk4IxpjtDTJtYNtFkRvVyY0jRcI0rYD4l9Zn0Bz4=", "short")}, "E007"),
    ({"ENCRYPTION_KEYS": ("eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg=",)}, "E007"),
    ({"JWT_SECRET_KEY": ""}, "W009"),
    ({"JWT_SECRET_KEY": "short"}, "E008"),
    ({"JWT_SECRET_KEY": "a-long-random-text-of-32-bytes-or-more"}, "E017"),
    ({"JWT_SECRET_KEY": SECRET}, "E009"),
    ({"PUBLIC_URL": "http://notifier.example.com", "HTTPS": False}, "E010"),
    ({"PUBLIC_URL": "http://127.0.0.1:8000", "HTTPS": False, "ALLOWED_HOSTS": ["127.0.0.1"]}, "W001"),
    ({"TRUSTED_PROXIES": ()}, "W002"),
    ({"TRUSTED_PROXIES": ("0.0.0.0/0",)}, "E011"),
    ({"TRUSTED_PROXIES": ("127.0.0.1", "::/0")}, "E011"),
    ({"ALLOWED_HOSTS": ["127.0.0.1"]}, "W003"),
    ({"SMTP_USE_TLS": False, "SMTP_DEFAULT_PASSWORD": CANARY}, "E012"),
    ({"SMTP_USE_TLS": False, "SMTP_DEFAULT_PASSWORD": ""}, "W004"),
    ({"SMTP_OVERRIDE_HOSTS": ("mail.example.com", "*")}, "W005"),
    ({"DATABASES": postgres(host="db.example.com", password="")}, "E014"),
    ({"DATABASES": postgres(host="db.example.com", password="postgres")}, "E015"),
    ({"REDIS_URL": REMOTE, "CELERY_BROKER_URL": REMOTE}, "E014"),
    ({"CELERY_BROKER_URL": "amqp://guest:guest@rabbit.example.com//"}, "E015"),
    ({"CELERY_BROKER_URL": "amqp://rabbit.example.com//"}, "E014"),
    ({"AMQP_URL": "amqp://guest:guest@rabbit.example.com//"}, "E015"),
    ({"TELEGRAM_API_URL": "http://telegram.example.com"}, "W006"),
    ({"SMS_HTTP_URL": "http://sms.example.com/send"}, "W006"),
    ({"EMBEDDED": True, "CELERY_BROKER_URL": "memory://localhost/"}, "E016"),
    ({"CELERY_TASK_ALWAYS_EAGER": True}, "W007"),
    ({"LOG_LEVEL": "DEBUG"}, "W008"),
]


@pytest.mark.parametrize(("changed", "wanted"), UNSAFE)
def test_what_is_unsafe_is_named_with_its_remedy(
    production: SimpleNamespace, changed: dict[str, Any], wanted: str
) -> None:
    for name, value in changed.items():
        setattr(production, name, value)
    messages = found()
    assert sorted(message.id or "" for message in messages) == [f"notifier.{one}" for one in wanted.split()]
    for message in messages:
        assert isinstance(message, Error) == ("notifier.E" in (message.id or ""))
        said = f"{message.msg} {message.hint}"
        assert any(
            name in said or name.replace("SECRET", "DJANGO_SECRET") in said for name in [*changed, "DATABASE_URL"]
        )
        assert CANARY not in said
        assert production.SECRET_KEY not in said


@pytest.mark.parametrize(
    "changed",
    [
        {"SMTP_HOST": "localhost", "SMTP_USE_TLS": False, "SMTP_DEFAULT_PASSWORD": CANARY},
        {"SMTP_HOST": "127.0.0.1", "SMTP_USE_TLS": False},
        {"SMTP_HOST": "", "SMTP_USE_TLS": False},
        {"SMTP_USE_TLS": False, "SMTP_USE_SSL": True},
        {"REDIS_URL": NEAR, "CELERY_BROKER_URL": NEAR},
        {"REDIS_URL": "", "CELERY_BROKER_URL": "memory://localhost/", "EMBEDDED": True, "WEB_CONCURRENCY": 1},
        {"DATABASES": postgres(host="", password="")},
        {"DATABASES": postgres(host="/var/run/postgresql", password="")},
        {"DATABASES": postgres(host="::1", password="")},
        {"DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}},
        {"CALLBACK_HOSTS": ("orders.internal:8080",)},
        {"TELEGRAM_API_URL": "http://127.0.0.1:8081"},
        {"ALLOWED_HOSTS": [".example.com"]},
        {"JWT_SECRET_KEY": "j" * 32},
    ],
)
def test_what_stays_on_this_machine_or_is_listed_by_name_is_fine(
    production: SimpleNamespace, changed: dict[str, Any]
) -> None:
    for name, value in changed.items():
        setattr(production, name, value)
    assert found() == []
