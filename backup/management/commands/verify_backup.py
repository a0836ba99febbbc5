"""`manage.py verify_backup`: does it restore?"""

import signal
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import CommandError
from rich.console import Console

from backup import verifying
from backup.errors import BackupError
from notifier.management.database import DatabaseCommand
from notifier.management.output import forgiving


class Command(DatabaseCommand):
    """Restore it elsewhere, and compare."""

    help = (
        "Restore a backup into a database of its own, compare its rows and migrations with what was recorded, and "
        "remove that database. Exit 1: it is not what was backed up, and the sentence says why."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: the latest backup")

    def handle(self, *_args: Any, **options: Any) -> None:
        forgiving(self.stdout)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the scratch database is dropped
        try:
            with Console(stderr=True).status("…"):
                verdict = verifying.verify(options["file"])
        except BackupError as error:
            raise CommandError(str(error)) from None
        facts = verdict.facts
        self.stdout.write(
            f"restores  {facts.rows} rows in {len(facts.tables)} tables, {len(facts.migrations)} migrations"
        )
        self.stdout.write(f"made at   {facts.made_at}, {facts.database} {facts.server}")
        self.stdout.write(f"sha256    {verdict.sha256} {'' if verdict.row else '(not on record here)'}".rstrip())
