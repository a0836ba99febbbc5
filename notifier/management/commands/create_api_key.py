"""`manage.py create_api_key`: a key for an organization's programs."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management import CommandError
from django.utils import timezone

from notifier import api_keys
from notifier.api_keys import Scope
from notifier.management.database import DatabaseCommand
from notifier.models import ApiKey, Organization


class Command(DatabaseCommand):
    """Make it, and show it: never again."""

    help = "Create an API key and print it, alone on the last line. It is shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", metavar="SLUG", help="the organization")
        parser.add_argument("--test", action="store_true", help="the full life cycle, and nothing leaves the service")
        parser.add_argument(
            "--scope", action="append", choices=[str(scope) for scope in Scope], help="may be repeated; default: all"
        )
        parser.add_argument("--name", default="", help="who uses it")
        parser.add_argument("--days", type=int, help="how long it lives; default: until it is revoked")

    def handle(self, *_args: Any, **options: Any) -> None:
        organization = Organization.objects.filter(slug=options["slug"]).first()
        if organization is None:
            raise CommandError(f"There is no organization {options['slug']!r}.")
        days = options["days"]
        if days is not None and not 1 <= days <= 36_500:
            raise CommandError("--days must be a whole number from 1 to 36500.")
        if len(options["name"]) > 255:
            raise CommandError("--name may have at most 255 characters.")
        made = api_keys.make(
            organization,
            name=options["name"],
            kind=ApiKey.Kind.TEST if options["test"] else ApiKey.Kind.LIVE,
            scopes=options["scope"] or tuple(Scope),
            expires_at=timezone.now() + timedelta(days=days) if days else None,
        )
        scopes = ", ".join(sorted(api_keys.scopes_of(made.row)))
        self.stdout.write(f"A {made.row.kind} key of {organization.slug} ({scopes}). It is shown only now:")
        self.stdout.write(made.secret)
