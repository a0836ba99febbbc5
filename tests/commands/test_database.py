"""Commands on a database that is not as they need it end with a sentence that helps."""

from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from notifier.management.database import DatabaseCommand
from tests.servers.base import ServerError, free_port
from tests.servers.processes import manage

OTHERS = {
    "backup_database": "its own sentence for whatever is wrong",
    "consume_amqp": "waits until the database answers",
    "demo": "has just migrated its own",
    "doctor": "tells what is wrong",
    "runserver": "Django's own",
    "serve": "looks before it starts",
}
OURS = {"accounts", "api", "backup", "deadlines", "notifier", "sandbox"}


def test_every_command_of_ours_helps() -> None:
    ours = {name: str(app) for name, app in get_commands().items() if app in OURS}
    unhelpful = {name for name, app in ours.items() if not isinstance(load_command_class(app, name), DatabaseCommand)}
    assert unhelpful == set(OTHERS)


@pytest.mark.parametrize(
    "command", [("create_api_key", "default"), ("notify", "--to", "person@example.com", "--message", "Hello")]
)
def test_without_tables_it_names_the_command_that_makes_them(command: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ServerError) as told:
        manage(*command, environment={"DATABASE_URL": f"sqlite:///{tmp_path / 'empty.sqlite3'}"})
    assert " migrations are missing. Run: python manage.py migrate" in str(told.value)
    assert "Traceback" not in str(told.value)


def test_a_database_that_does_not_answer_is_named() -> None:
    environment = {"DATABASE_URL": f"postgres://nobody@127.0.0.1:{free_port()}/nothing"}
    with pytest.raises(ServerError) as told:
        manage("create_api_key", "default", environment=environment)
    assert "CommandError: The database does not answer (OperationalError). Check DATABASE_URL." in str(told.value)
    assert "Traceback" not in str(told.value)
