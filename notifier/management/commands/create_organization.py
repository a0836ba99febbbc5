"""`manage.py create_organization`: a new tenant."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management import CommandError

from notifier.management.database import DatabaseCommand
from notifier.models import Organization


class Command(DatabaseCommand):
    """Store it."""

    help = "Create an organization."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", metavar="SLUG", help="letters, digits, hyphens and underscores; cannot be changed")
        parser.add_argument("--name", default="", help="as people call it; the slug where it is not given")

    def handle(self, *_args: Any, **options: Any) -> None:
        slug = options["slug"]
        organization = Organization(slug=slug, name=options["name"] or slug)
        try:
            organization.full_clean()
        except ValidationError as error:
            raise CommandError(
                " ".join(f"{name}: {' '.join(said)}" for name, said in error.message_dict.items())
            ) from None
        organization.save(force_insert=True)
        self.stdout.write(f"Organization {slug} is created. Its first key: manage.py create_api_key {slug}")
