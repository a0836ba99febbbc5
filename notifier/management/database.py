"""Commands that need the database, and what they say where it is not as they need it."""

from typing import Any

from django.core.management import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.migrations.executor import MigrationExecutor


def check_migrations() -> None:
    """CommandError, with the command that helps, where the database is out or a migration is missing."""
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error as error:
        raise CommandError(f"The database does not answer ({type(error).__name__}). Check DATABASE_URL.") from None
    if missing:
        raise CommandError(f"{len(missing)} migrations are missing. Run: python manage.py migrate")


class DatabaseCommand(BaseCommand):
    """Ends with a sentence where the database is out or not migrated; any other error of its is a bug, and shown."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        """As every command does."""
        try:
            return super().execute(*args, **options)
        except Error:
            check_migrations()
            raise
