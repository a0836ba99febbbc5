"""`manage.py doctor`: asks everything, says what to do, and its exit code tells."""

import email
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import translation
from pytest_django.fixtures import Settings

from notifier.doctor import Finding, State
from notifier.models import EmailSettings, Organization, SmsSettings, TelegramSettings
from notifier.organization_accounts import seal_secret
from tests.channels.http_peer import HttpPeer, answer, closed_port, http_peer
from tests.channels.smtp_peer import SmtpPeer
from tests.servers.processes import DEVELOPMENT, PASSED_ON, ROOT

CANARY = "canary-of-a-secret"


def doctor(*arguments: str) -> tuple[bool, str]:
    """Whether all is well, and what is printed."""
    out = io.StringIO()
    try:
        call_command("doctor", *arguments, stdout=out)
    except CommandError as error:
        return False, out.getvalue() + str(error)
    return True, out.getvalue()


def printed(encoding: str) -> str:
    """What is written where output is redirected to this encoding."""
    written = io.BytesIO()
    with io.TextIOWrapper(written, encoding) as out:
        call_command("doctor", stdout=out)
        out.flush()
        return written.getvalue().decode(encoding)


@pytest.fixture
def smtp(settings: Settings) -> Iterator[SmtpPeer]:
    """The environment's server."""
    with SmtpPeer(user="u", password=CANARY) as peer:
        settings.SMTP_HOST, settings.SMTP_PORT, settings.SMTP_USE_TLS = "127.0.0.1", peer.port, False
        settings.SMTP_DEFAULT_USER, settings.SMTP_DEFAULT_PASSWORD = "u", CANARY
        settings.DEFAULT_FROM_EMAIL = "sender@example.com"
        yield peer


@pytest.fixture
def http(settings: Settings) -> Iterator[HttpPeer]:
    with http_peer() as peer:
        settings.TELEGRAM_API_URL = settings.SMSC_API_URL = peer.url
        yield peer


@pytest.mark.django_db
def test_nothing_is_configured_and_nothing_is_broken() -> None:
    is_well, text = doctor()
    assert is_well
    assert "✓ database" in text
    for channel in ("email", "sms", "telegram"):
        assert f"– {channel}: " in text


@pytest.mark.django_db
def test_the_environments_accounts(smtp: SmtpPeer, http: HttpPeer, settings: Settings) -> None:
    settings.TELEGRAM_BOT_TOKEN = f"1:{CANARY}"
    http.plan(answer(200, {"ok": True, "result": {"username": "acme_bot"}}))
    is_well, text = doctor("--to", "user@example.com")
    assert is_well
    assert f"✓ SMTP 127.0.0.1:{smtp.port}: dns " in text
    assert "@acme_bot" in text
    assert [mail.recipient for mail in smtp.taken] == ["user@example.com"]
    assert CANARY not in text
    assert doctor()[0] is False  # the plan is over: Telegram answers no more
    assert len(smtp.taken) == 1  # without --to it ends with the login


@pytest.mark.django_db
def test_what_is_broken_is_named_with_a_remedy(smtp: SmtpPeer, settings: Settings) -> None:
    settings.SMTP_DEFAULT_PASSWORD = "wrong"
    is_well, text = doctor()
    assert not is_well
    assert f"✗ SMTP 127.0.0.1:{smtp.port}: login: The server refused the login (535 5.7.8)." in text
    assert "    Check user and password" in text
    assert "Broken: 1." in text


@pytest.mark.django_db
def test_an_sms_provider_that_is_named_in_vain_is_broken(http: HttpPeer, settings: Settings) -> None:
    settings.SMS_PROVIDER = ("twilio", "http")
    is_well, text = doctor()
    assert not is_well
    assert "✗ SMS twilio: It has no credentials, and is left out." in text
    assert "Set TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, or take it out of SMS_PROVIDER." in text
    assert "Set SMS_HTTP_URL, or" in text
    assert "– sms" not in text
    settings.SMS_PROVIDER, settings.SMSC_LOGIN, settings.SMSC_PASSWORD = ("twilio", "smsc"), "me", CANARY
    http.plan(answer(200, {"balance": "12.50"}))
    is_well, text = doctor()
    assert (is_well, "✓ SMS smsc" in text, "✗ SMS twilio" in text) == (False, True, True)


@pytest.mark.django_db
def test_each_organizations_accounts_are_asked(smtp: SmtpPeer, http: HttpPeer) -> None:
    acme = Organization.objects.create(slug="acme", name="Acme")
    wrong: dict[str, Any] = {"host": "127.0.0.1", "port": smtp.port, "use_tls": False, "user": "u"}
    EmailSettings.objects.create(organization=acme, secret=seal_secret("wrong"), **wrong)
    SmsSettings.objects.create(organization=acme, provider="smsc", login="me", secret=seal_secret(CANARY))
    TelegramSettings.objects.create(organization=acme, secret=seal_secret(f"1:{CANARY}"), is_active=False)
    rose = Organization.objects.create(slug="rose", name="Rose")
    TelegramSettings.objects.create(organization=rose, secret=b"not sealed")
    http.plan(answer(200, {"balance": "12.50"}))
    is_well, text = doctor()
    assert not is_well
    assert f"✗ acme: SMTP 127.0.0.1:{smtp.port}: login: " in text
    assert "✓ acme: SMS smsc: " in text
    assert "balance 12.50" in text
    assert "– acme: Telegram settings: These settings are not active" in text
    assert "✗ rose: Telegram settings: The stored password or token cannot be read any more." in text
    assert CANARY not in text


@pytest.mark.django_db
def test_every_test_mail_is_another_one(smtp: SmtpPeer) -> None:
    for _ in range(2):
        assert doctor("--to", "user@example.com", "--to", "other@example.com")[0]
    ids = [email.message_from_bytes(mail.content)["Message-ID"] for mail in smtp.taken]
    assert len(set(ids)) == len(ids) == 4


@pytest.mark.django_db
def test_redis_is_asked_where_it_is_not_the_broker(settings: Settings, redis_url: str) -> None:
    settings.REDIS_URL, settings.CELERY_BROKER_URL = "", redis_url
    assert "Redis" not in doctor()[1]
    settings.REDIS_URL = redis_url
    settings.EMBEDDED = False
    is_well, text = doctor()
    assert (is_well, "Redis" in text, "✓ broker: redis" in text) == (True, False, True)
    settings.CELERY_BROKER_URL, settings.EMBEDDED = "memory://localhost/", True
    assert "✓ Redis: redis" in doctor()[1]
    with closed_port() as port:
        settings.REDIS_URL = f"redis://:{CANARY}@127.0.0.1:{port}/0"
        is_well, text = doctor()
    assert not is_well
    assert "✗ Redis: It does not answer (ConnectionError)." in text
    assert "    Check REDIS_URL" in text
    assert CANARY not in text


@pytest.mark.django_db
def test_a_redis_that_says_nothing_is_not_waited_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.doctor.BROKER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.REDIS_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        began = time.monotonic()
        assert "✗ Redis: It does not answer (TimeoutError)." in doctor()[1]
    assert time.monotonic() - began < 30


@pytest.mark.django_db
@pytest.mark.parametrize(("encoding", "sign"), [("cp1252", "+"), ("cp866", "+"), ("ascii", "+"), ("utf-8", "✓")])
def test_signs_are_those_that_the_stream_has(encoding: str, sign: str) -> None:
    Organization.objects.create(slug="acme", name="Acme")
    with translation.override("ru"):
        lines = printed(encoding).splitlines()
    assert lines[0].startswith(f"{sign} ")
    assert {line[0] for line in lines[:-1]} == {sign, "-" if sign == "+" else "–"}


@pytest.mark.django_db
def test_what_a_provider_said_is_shown_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Finding("SMTP", State.WELL, "Ответ ✓ 中", [])
    monkeypatch.setattr("notifier.doctor.findings", lambda _to: [found])
    assert printed("cp866").startswith("+ SMTP: Ответ ? ?")


def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    base = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        cwd=ROOT,
        env={**base, **DEVELOPMENT, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_exit_code_of_a_real_process(database: str) -> None:
    well = run({"DATABASE_URL": database})
    assert well.returncode == 0, well.stdout + well.stderr
    assert "All is well." in well.stdout
    with closed_port() as port:
        nobody = f"redis://127.0.0.1:{port}/0"
        broken = run({"DATABASE_URL": "sqlite:////nowhere/at/all.sqlite3", "REDIS_URL": nobody, "LANGUAGE_CODE": "ru"})
    assert broken.returncode == 1
    assert broken.stdout.count("✗ ") == 2, broken.stdout
    assert "Traceback" not in broken.stdout + broken.stderr
    redirected = run({"DATABASE_URL": database, "LANGUAGE_CODE": "ru", "PYTHONIOENCODING": "cp1252"})
    assert redirected.returncode == 0, redirected.stdout + redirected.stderr
    assert redirected.stdout.startswith("+ ")
