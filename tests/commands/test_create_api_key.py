"""`manage.py create_api_key`: prints the key once, alone on the last line."""

import io
import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier import api_keys
from notifier.models import ApiKey, Organization
from tests.servers.base import ServerError
from tests.servers.processes import manage

KEY = re.compile(r"ntf_(live|test)_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}")


def create(*arguments: str) -> str:
    """The last line that the command prints."""
    out = io.StringIO()
    call_command("create_api_key", *arguments, stdout=out)
    lines = out.getvalue().splitlines()
    assert not KEY.search("\n".join(lines[:-1]))
    return lines[-1]


@pytest.mark.parametrize(
    ("arguments", "kind", "scopes", "name"),
    [
        ([], "live", {"send", "read", "manage"}, ""),
        (["--test"], "test", {"send", "read", "manage"}, ""),
        (["--scope", "send"], "live", {"send"}, ""),
        (["--scope", "read", "--name", "Shop, день"], "live", {"read"}, "Shop, день"),
        (["--scope", "send", "--scope", "read", "--test"], "test", {"send", "read"}, ""),
        (["--scope", "manage"], "live", {"send", "read", "manage"}, ""),
        (["--name", "x" * 255], "live", {"send", "read", "manage"}, "x" * 255),
    ],
)
def test_it_prints_the_key_alone_on_the_last_line(
    organization: Organization, arguments: list[str], kind: str, scopes: set[str], name: str
) -> None:
    key = create(organization.slug, *arguments)
    assert KEY.fullmatch(key)
    row = api_keys.find(key)
    assert row is not None
    assert row == ApiKey.objects.get()
    assert (row.organization, row.kind, row.name, row.expires_at) == (organization, kind, name, None)
    assert api_keys.scopes_of(row) == scopes


def test_it_lets_a_program_in(organization: Organization, api: APIClient, settings: Settings) -> None:
    settings.API_OPEN = False
    key = create(organization.slug, "--scope", "read")
    assert api.get("/api/users/", HTTP_AUTHORIZATION=f"Bearer {key}").status_code == 200


@pytest.mark.parametrize("days", [1, 30, 36_500])
def test_it_may_end_by_itself(organization: Organization, days: int) -> None:
    create(organization.slug, "--days", str(days))
    expires = ApiKey.objects.get().expires_at
    assert expires is not None
    assert abs(expires - timezone.now() - timedelta(days=days)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nobody"], "There is no organization 'nobody'."),
        (["DEFAULT"], "There is no organization 'DEFAULT'."),
        ([""], "There is no organization ''."),
        (["default", "--scope", "everything"], "invalid choice: 'everything'"),
        (["default", "--scope", "send", "--scope", ""], "invalid choice: ''"),
        (["default", "--days", "0"], "--days must be a whole number from 1 to 36500."),
        (["default", "--days=-1"], "--days must be a whole number from 1 to 36500."),
        (["default", "--days", "36501"], "--days must be a whole number from 1 to 36500."),
        (["default", "--days", "soon"], "--days"),
        (["default", "--name", "x" * 256], "--name may have at most 255 characters."),
        ([], "SLUG"),
    ],
)
def test_what_is_refused_is_named_and_nothing_is_stored(
    organization: Organization, arguments: list[str], named: str
) -> None:
    with pytest.raises(CommandError) as refused:
        create(*arguments)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.returncode == 1
    assert not ApiKey.objects.exists()


def test_as_a_process(database: str) -> None:
    environment = {"DATABASE_URL": database, "LOG_LEVEL": "DEBUG"}
    printed = manage("create_api_key", "default", "--scope", "send", environment=environment)
    assert KEY.fullmatch(printed.splitlines()[-1])
    with pytest.raises(ServerError) as refused:
        manage("create_api_key", "nobody", environment=environment)
    said = str(refused.value)
    assert said.endswith("exit code 1:\nCommandError: There is no organization 'nobody'.\n")
