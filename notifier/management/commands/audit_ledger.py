"""`manage.py audit_ledger`: proof that nothing that was accepted got lost."""

from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError

from notifier import ledger
from notifier.management.database import DatabaseCommand
from notifier.models import Organization

EXAMPLES = 10


class Command(DatabaseCommand):
    """Count every notification, and find those that nobody would ever come back to."""

    help = "Check that accepted = finished + live and due. Exit 1 if not."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", metavar="SLUG", help="only this organization's")

    def handle(self, *_args: Any, **options: Any) -> None:
        slug = options["organization"]
        if slug and not Organization.objects.filter(slug=slug).exists():
            raise CommandError(f"There is no organization {slug!r}.")
        audit = ledger.audit(slug)
        for status, count in sorted(audit.by_status.items()):
            self.stdout.write(f"{status:>14}  {count}")
        self.stdout.write(f"{'accepted':>14}  {audit.accepted} = {audit.finished} finished + {audit.live} live and due")
        if audit.astray:
            shown = ", ".join(str(pk) for pk in audit.astray[:EXAMPLES])
            raise CommandError(f"{len(audit.astray)} are open, and nobody will come back to them: {shown}")
