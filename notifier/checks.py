"""`manage.py check --deploy`: settings that are unsafe where others can reach the service, each with what to do.

Errors are unsafe, warnings doubtful. Nothing here is asked at run time. No message shows a secret's value.
"""

import base64
import hashlib
import ipaddress
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name for it
from django.http.request import validate_host
from django.utils.module_loading import import_string

from notifier.environment import SHORTEST_KEY

Rule = Callable[[], Iterator[CheckMessage]]

KNOWN_KEYS = (
    "development-only",
    "demo-only",
    "only-for-the-tests",
    "django-insecure",
    "a-long-random-text",
    "changeme",
)
KNOWN_PASSWORDS = {"password", "notifier", "postgres", "guest", "admin", "secret", "changeme", "redis"}
PLAIN_HTTP = ("TELEGRAM_API_URL", "SMS_HTTP_URL", "TWILIO_API_URL", "SMSRU_API_URL", "SMSC_API_URL")
RANDOM_TEXT = 'python -c "import secrets; print(secrets.token_urlsafe(50))"'
FERNET_KEY = 'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'


def check_templates(**_: Any) -> list[CheckMessage]:
    """Message templates that are declared wrongly. By its name: most processes have no use for what reads them."""
    found: list[CheckMessage] = import_string("notifier.message_templates.check_templates")()
    return found


def check_production(**_: Any) -> list[CheckMessage]:
    """What every rule finds."""
    rules: tuple[Rule, ...] = (_access, _keys, _addresses, _mail, _lists, _servers, _providers, _processes)
    return [message for rule in rules for message in rule()]


def _error(number: int, text: str, hint: str) -> Error:
    return Error(text, hint=hint, id=f"notifier.E{number:03}")


def _warning(number: int, text: str, hint: str) -> Warning:
    return Warning(text, hint=hint, id=f"notifier.W{number:03}")


def _access() -> Iterator[CheckMessage]:
    """Who may come in."""
    if settings.DEBUG:
        yield _error(1, "DJANGO_DEBUG is on: the demo page and error pages are shown to everybody.", "DJANGO_DEBUG=0")
    elif settings.API_OPEN:
        yield _error(
            2,
            "API_OPEN is on: whoever reaches the service sends messages without an API key.",
            "API_OPEN=0, and an API key for each client: python manage.py create_api_key default",
        )
    if any(host in {"*", "."} for host in settings.ALLOWED_HOSTS):
        yield _error(
            3,
            "DJANGO_ALLOWED_HOSTS holds *: links in mails can be made to lead elsewhere.",
            "Name the service's own hosts, as in DJANGO_ALLOWED_HOSTS=notifier.example.com",
        )


def _keys() -> Iterator[CheckMessage]:
    """What signs and what encrypts."""
    secret = settings.SECRET_KEY
    if secret.lower().startswith(KNOWN_KEYS):
        yield _error(4, "DJANGO_SECRET_KEY is a value that everybody knows.", RANDOM_TEXT)
    elif len(secret.encode()) < SHORTEST_KEY or len(set(secret)) < 5:
        yield _error(5, f"DJANGO_SECRET_KEY is guessable: it needs {SHORTEST_KEY} random characters.", RANDOM_TEXT)
    derived = base64.urlsafe_b64encode(hashlib.sha256(f"encryption:{secret}".encode()).digest()).decode()
    for key in settings.ENCRYPTION_KEYS:
        if key in {secret, derived}:
            yield _error(
                6,
                "ENCRYPTION_KEYS holds the secret key, or what is derived from it: who learns one has both.",
                FERNET_KEY,
            )
        elif not _is_random_key(key):
            yield _error(7, "ENCRYPTION_KEYS holds what is no random Fernet key.", FERNET_KEY)
    signing = settings.JWT_SECRET_KEY
    if signing and len(signing.encode()) < SHORTEST_KEY:
        yield _error(8, f"JWT_SECRET_KEY is guessable: it needs {SHORTEST_KEY} bytes.", RANDOM_TEXT)
    elif signing.lower().startswith(KNOWN_KEYS):
        yield _error(17, "JWT_SECRET_KEY is a value that everybody knows.", RANDOM_TEXT)
    if not signing:
        yield _warning(9, "JWT_SECRET_KEY is not set: the accounts are switched off.", f"JWT_SECRET_KEY: {RANDOM_TEXT}")
    if signing and signing in {secret, *settings.ENCRYPTION_KEYS}:
        yield _error(9, "JWT_SECRET_KEY is another secret's value too: who learns one has both.", RANDOM_TEXT)


def _is_random_key(key: str) -> bool:
    """Whether it is a Fernet key, and not made of a repeated letter."""
    try:
        Fernet(key)
    except ValueError:
        return False
    return len(set(base64.urlsafe_b64decode(key))) > 8


def _addresses() -> Iterator[CheckMessage]:
    """Where browsers and programs find the service."""
    host = urlsplit(settings.PUBLIC_URL).hostname or ""
    if not settings.HTTPS:
        text = "PUBLIC_URL is not https: API keys, passwords and messages can be read on their way."
        hint = "Put a proxy with a certificate in front, and PUBLIC_URL=https://notifier.example.com"
        yield _warning(1, text, hint) if _is_loopback(host) else _error(10, text, hint)
    elif not settings.TRUSTED_PROXIES:
        yield _warning(
            2,
            "PUBLIC_URL is https and TRUSTED_PROXIES names no proxy: http is not redirected to https, and failures to "
            "sign in are counted for all callers together.",
            "Name the proxy that sets X-Forwarded-For and X-Forwarded-Proto, as in TRUSTED_PROXIES=127.0.0.1",
        )
    if any(ipaddress.ip_network(network).prefixlen == 0 for network in settings.TRUSTED_PROXIES):
        yield _error(
            11,
            "TRUSTED_PROXIES holds every address: each caller may say where he comes from.",
            "Name the proxy alone, as in TRUSTED_PROXIES=127.0.0.1",
        )
    if not validate_host(host, settings.ALLOWED_HOSTS):
        hint = "Both must name the service: PUBLIC_URL=https://notifier.example.com and that host among the others."
        yield _warning(3, "DJANGO_ALLOWED_HOSTS does not name the host of PUBLIC_URL: links lead to an error.", hint)


def _mail() -> Iterator[CheckMessage]:
    """How mail leaves."""
    if settings.SMTP_HOST and not (settings.SMTP_USE_TLS or settings.SMTP_USE_SSL or _is_loopback(settings.SMTP_HOST)):
        hint = "SMTP_USE_TLS=1 (usually port 587), or SMTP_USE_SSL=1 and SMTP_USE_TLS=0 (usually port 465)"
        if settings.SMTP_DEFAULT_PASSWORD:
            yield _error(12, "SMTP_HOST is another machine, and the password goes to it unencrypted.", hint)
        else:
            yield _warning(4, "SMTP_HOST is another machine, and messages go to it unencrypted.", hint)


def _lists() -> Iterator[CheckMessage]:
    """What clients may make us call."""
    if "*" in settings.SMTP_OVERRIDE_HOSTS:
        yield _warning(
            5,
            "SMTP_OVERRIDE_HOSTS is *: clients make the service connect to every public mail server they name.",
            "Name those that they use, as in SMTP_OVERRIDE_HOSTS=smtp.gmail.com,mail.example.com",
        )


def _servers() -> Iterator[CheckMessage]:
    """Who may enter the database and the broker."""
    database = settings.DATABASES["default"]
    if not database["ENGINE"].endswith("sqlite3"):
        host, password = str(database.get("HOST") or ""), str(database.get("PASSWORD") or "")
        near = not host or host.startswith("/") or _is_loopback(host)  # empty, or a path: a socket file
        yield from _guarded("DATABASE_URL", near=near, password=password)
    brokers = {
        settings.AMQP_URL: "AMQP_URL",
        settings.CELERY_BROKER_URL: "CELERY_BROKER_URL",
        settings.REDIS_URL: "REDIS_URL",
    }
    for url, name in brokers.items():
        if url and not url.startswith("memory:"):
            parts = urlsplit(url)
            near = not parts.hostname or _is_loopback(parts.hostname)
            yield from _guarded(name, near=near, password=parts.password or "")


def _guarded(name: str, *, near: bool, password: str) -> Iterator[CheckMessage]:
    if near:
        return
    hint = f"Set a long password on the server, and name it: {name}=…://user:password@host/…"
    if not password:
        yield _error(14, f"{name} names another machine and no password: whoever reaches that may enter.", hint)
    elif password.lower() in KNOWN_PASSWORDS:
        yield _error(15, f"{name} has a password that everybody tries first.", hint)


def _providers() -> Iterator[CheckMessage]:
    """How tokens leave."""
    for name in PLAIN_HTTP:
        parts = urlsplit(getattr(settings, name))
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            yield _warning(
                6, f"{name} is http to another machine: its token goes there unencrypted.", f"{name}=https://…"
            )


def _processes() -> Iterator[CheckMessage]:
    """Who does the work."""
    if settings.EMBEDDED and settings.WEB_CONCURRENCY > 1:
        yield _error(
            16,
            f"WEB_CONCURRENCY is {settings.WEB_CONCURRENCY} without a broker: the web process works the ledger too.",
            "Set REDIS_URL or CELERY_BROKER_URL, or WEB_CONCURRENCY=1.",
        )
    if settings.CELERY_TASK_ALWAYS_EAGER:
        text = "CELERY_TASK_ALWAYS_EAGER is on: each request waits for mail servers."
        yield _warning(7, text, "CELERY_TASK_ALWAYS_EAGER=0")
    if settings.LOG_LEVEL == "DEBUG":
        yield _warning(8, "LOG_LEVEL is DEBUG: libraries write more than they should to a log.", "LOG_LEVEL=INFO")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
