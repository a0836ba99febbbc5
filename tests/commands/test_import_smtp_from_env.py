"""`manage.py import_smtp_from_env`: from `.env` into the database."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from notifier.models import EmailSettings, Organization
from notifier.organization_accounts import account_of, secret_of, smtp_account
from notifier.provider_accounts import default_account
from tests.servers.base import ServerError
from tests.servers.processes import manage

CANARY = "canary-of-a-secret"


def imported(*arguments: str) -> str:
    """What the command prints."""
    out = io.StringIO()
    call_command("import_smtp_from_env", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def environment(settings: Settings, organization: Organization) -> Settings:
    settings.SMTP_HOST, settings.SMTP_PORT = "smtp.acme.example", 465
    settings.SMTP_USE_TLS, settings.SMTP_USE_SSL = False, True
    settings.SMTP_DEFAULT_USER, settings.SMTP_DEFAULT_PASSWORD = "robot@acme.example", CANARY
    settings.DEFAULT_FROM_EMAIL = "Acme <robot@acme.example>"
    return settings


def without_origin(account: Any) -> dict[str, Any]:
    return {name: getattr(account, name) for name in ("host", "port", "security", "user", "password", "from_email")}


@pytest.mark.parametrize(
    "fields", [{}, {"SMTP_HOST": "127.0.0.1"}, {"SMTP_DEFAULT_USER": "", "SMTP_DEFAULT_PASSWORD": ""}]
)
def test_the_organization_sends_as_the_environment_did(environment: Settings, fields: dict[str, str]) -> None:
    for name, value in fields.items():
        setattr(environment, name, value)
    acme = Organization.objects.create(slug="acme", name="Acme")
    text = imported("--organization", "acme")
    row = EmailSettings.objects.get()
    assert (row.organization, row.is_active) == (acme, True)
    assert without_origin(smtp_account(row)) == without_origin(default_account("email"))
    assert account_of(acme.pk, "email") == smtp_account(row)
    assert CANARY not in text
    assert CANARY.encode() not in bytes(row.secret or b"")


def test_settings_that_are_there_stay_unless_forced(environment: Settings) -> None:
    imported()
    environment.SMTP_DEFAULT_PASSWORD = "newer"
    with pytest.raises(CommandError, match="--force"):
        imported()
    assert secret_of(EmailSettings.objects.get()) == CANARY
    EmailSettings.objects.update(recipients="a@acme.example")
    imported("--force")
    row = EmailSettings.objects.get()
    assert (secret_of(row), row.recipients) == ("newer", "a@acme.example")


@pytest.mark.parametrize(
    ("fields", "arguments", "words"),
    [
        ({"SMTP_HOST": ""}, [], "SMTP_HOST is not set"),
        ({}, ["--organization", "nobody"], "no organization 'nobody'"),
        ({"SMTP_DEFAULT_PASSWORD": ""}, [], "only one of user and password"),
        ({"DEFAULT_FROM_EMAIL": "nobody"}, [], "from_email: Give an address"),
        ({"SMTP_HOST": "https://smtp.acme.example"}, [], "host: Only the server's name"),
    ],
)
def test_what_is_refused_is_named_and_nothing_is_stored(
    environment: Settings, fields: dict[str, str], arguments: list[str], words: str
) -> None:
    for name, value in fields.items():
        setattr(environment, name, value)
    with pytest.raises(CommandError, match=words) as raised:
        imported(*arguments)
    assert CANARY not in str(raised.value)
    assert not EmailSettings.objects.exists()


def test_a_real_process(database: str) -> None:
    environment = {
        "DATABASE_URL": database,
        "EMAIL_HOST": "smtp.gmail.com",
        "EMAIL_HOST_USER": "me@gmail.com",
        "EMAIL_HOST_PASSWORD": CANARY,
    }
    text = manage("import_smtp_from_env", environment=environment)
    assert "default sends through smtp.gmail.com:587 now" in text
    assert CANARY not in text
    with pytest.raises(ServerError, match="exit code 1"):
        manage("import_smtp_from_env", environment=environment)
