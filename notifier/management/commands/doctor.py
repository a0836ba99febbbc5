"""`manage.py doctor`: is everything there that the service needs?"""

from argparse import ArgumentParser
from typing import Any

from django.core.management import BaseCommand, CommandError
from django.utils.translation import gettext as _

from notifier import doctor
from notifier.doctor import State
from notifier.management.output import bears, forgiving

_SIGNS = {State.WELL: "✓", State.BROKEN: "✗", State.ABSENT: "–"}
_PLAIN = {State.WELL: "+", State.BROKEN: "x", State.ABSENT: "-"}


class Command(BaseCommand):
    """Ask each, and say what to do."""

    help = "Check database, broker and every account, and say what to do. Exit 1: something is broken."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--to", action="append", default=[], metavar="EMAIL", help="send a test mail there by each SMTP account"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        forgiving(self.stdout)
        signs = _SIGNS if bears(self.stdout, "".join(_SIGNS.values())) else _PLAIN
        broken = 0
        for finding in doctor.findings(options["to"]):
            style = self.style.ERROR if finding.state is State.BROKEN else str
            self.stdout.write(style(f"{signs[finding.state]} {finding.name}: {finding.detail}".rstrip(": ")))
            for remedy in finding.remedies:
                self.stdout.write(f"    {remedy}")
            self.stdout.flush()
            broken += finding.state is State.BROKEN
        if broken:
            raise CommandError(_("Broken: {count}.").format(count=broken))
        self.stdout.write(_("All is well."))
