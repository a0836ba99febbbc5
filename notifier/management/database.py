"""Commands that need the database, and what they say where it is not as they need it."""

from typing import Any

from django.core.management import BaseCommand, CommandError
from django.db import Error

from notifier.tables import missing_migrations


def check_migrations() -> None:
    """CommandError, with the command that helps, where the database is out or a migration is missing."""
    try:
        missing = missing_migrations()
    except Error as error:
        raise CommandError(f"The database does not answer ({type(error).__name__}). Check DATABASE_URL.") from None
    if missing:
        raise CommandError(f"{missing} migrations are missing. Run: python manage.py migrate")


class DatabaseCommand(BaseCommand):
    """Ends with a sentence where the database is out or not migrated; any other error of its is a bug, and shown."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        """As every command does."""
        try:
            return super().execute(*args, **options)
        except Error:
            check_migrations()
            raise
