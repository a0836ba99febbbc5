"""`manage.py backup_database`: the database as one file, now."""

import signal
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management import BaseCommand, CommandError
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TimeElapsedColumn

from backup import making, reporting
from backup.errors import BackupError
from backup.models import Backup, Status, Trigger
from notifier.management.output import forgiving


class Command(BaseCommand):
    """Make it, and say where it lies."""

    help = (
        "Write the database to LOCAL_BACKUP_DIR as packed SQL, in the place of the one before, and mail it where "
        "EMAIL_BACKUP_ENABLED says so. Exit 1: it failed, and the file of the one before is as it was."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-mail", action="store_true", help="tell nobody: no mail, no webhook")

    def handle(self, *_args: Any, **options: Any) -> None:
        forgiving(self.stdout)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what has begun is cleared away
        report = (lambda _row: None) if options["no_mail"] else reporting.report
        with Progress(
            BarColumn(), DownloadColumn(), TimeElapsedColumn(), console=Console(stderr=True), transient=True
        ) as bar:
            task = bar.add_task("", total=_expected())
            try:
                row = making.make(Trigger.COMMAND, told=lambda size: bar.update(task, completed=size), report=report)
            except BackupError as error:
                raise CommandError(str(error)) from None
        if row is not None:
            self._tell(row)

    def _tell(self, row: Backup) -> None:
        self.stdout.write(f"path      {row.path}")
        self.stdout.write(f"size      {row.size} bytes ({decimal(row.size or 0)})")
        self.stdout.write(f"sha256    {row.sha256}")
        self.stdout.write(f"duration  {making.shown(row.duration)}")
        self.stdout.write(f"contents  {row.rows} rows in {len(row.tables)} tables")
        if row.notification_id:
            self.stdout.write(f"mail      notification {row.notification_id}")


def _expected() -> int | None:
    """The size of the last one, for the bar."""
    last = Backup.objects.filter(status=Status.OK).order_by("-pk").values_list("sql_size", flat=True)
    try:
        return last.first()
    except Exception:  # noqa: BLE001 - what is wrong with the database is told by the backup itself
        return None
