"""`manage.py runserver`: Django's development server, which works the ledger too where no broker is configured."""

from typing import Any

from django.contrib.staticfiles.management.commands.runserver import Command as StockCommand

from notifier.embedded import EmbeddedWork


class Command(StockCommand):
    """The stock command; worker and beat begin in the serving process, not in the one that watches the files."""

    def inner_run(self, *args: Any, **options: Any) -> None:
        work = EmbeddedWork()
        work.start()
        try:
            super().inner_run(*args, **options)
        finally:
            work.stop()
