"""`manage.py create_organization`: a new tenant."""

import io

import pytest
from django.core.management import CommandError, call_command

from notifier import api_keys
from notifier.models import DEFAULT_SLUG, Organization
from tests.servers.base import ServerError
from tests.servers.processes import manage


def create(*arguments: str) -> str:
    """What the command prints."""
    out = io.StringIO()
    call_command("create_organization", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "slug", "name"),
    [
        (["acme"], "acme", "acme"),
        (["acme", "--name", "Acme Ltd"], "acme", "Acme Ltd"),
        (["acme_2-x", "--name", "Ромашка, ООО"], "acme_2-x", "Ромашка, ООО"),
        (["x" * 63], "x" * 63, "x" * 63),
        (["acme", "--name", "n" * 255], "acme", "n" * 255),
    ],
)
def test_it_is_created_and_the_next_command_is_named(
    organization: Organization, arguments: list[str], slug: str, name: str
) -> None:
    assert f"create_api_key {slug}" in create(*arguments)
    made = Organization.objects.exclude(slug=DEFAULT_SLUG).get()
    assert (made.slug, made.name) == (slug, name)
    assert not made.api_keys.exists()
    out = io.StringIO()
    call_command("create_api_key", slug, stdout=out)
    key = api_keys.find(out.getvalue().splitlines()[-1])
    assert key is not None
    assert key.organization == made


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["default"], "slug"),  # there is one already
        (["two words"], "slug"),
        (["ромашка"], "slug"),
        (["a/b"], "slug"),
        (["x" * 64], "slug"),
        ([""], "slug"),
        (["acme", "--name", "n" * 256], "name"),
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
    assert Organization.objects.get() == organization


def test_as_a_process(database: str) -> None:
    environment = {"DATABASE_URL": database}
    assert "acme" in manage("create_organization", "acme", environment=environment)
    with pytest.raises(ServerError) as refused:
        manage("create_organization", "acme", environment=environment)
    said = str(refused.value).split("exit code 1:\n")
    assert len(said) == 2
    assert said[1].startswith("CommandError: slug:")
    assert len(said[1].splitlines()) == 1
