"""`manage.py import_smtp_from_env`: the environment's SMTP account becomes an organization's own."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import CommandError

from channels.errors import MisconfiguredError
from notifier.management.database import DatabaseCommand
from notifier.models import DEFAULT_SLUG, EmailSettings, Organization
from notifier.organization_accounts import seal_secret, smtp_account


class Command(DatabaseCommand):
    """Copy it, sealed. The environment's own is left as it is."""

    help = "Copy SMTP_HOST, SMTP_PORT, … into an organization's e-mail settings, where the admin looks after them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", default=DEFAULT_SLUG, metavar="SLUG")
        parser.add_argument("--force", action="store_true", help="replace settings that are there already")

    def handle(self, *_args: Any, **options: Any) -> None:
        organization = Organization.objects.filter(slug=options["organization"]).first()
        if organization is None:
            raise CommandError(f"There is no organization {options['organization']!r}.")
        if not settings.SMTP_HOST:
            raise CommandError("There is nothing to copy: SMTP_HOST is not set.")
        known = EmailSettings.objects.filter(organization=organization).first()
        if known is not None and not options["force"]:
            raise CommandError(f"{organization.slug} has e-mail settings already; --force replaces them.")
        row = known or EmailSettings(organization=organization)
        row.host, row.port = settings.SMTP_HOST, settings.SMTP_PORT
        row.use_tls, row.use_ssl = settings.SMTP_USE_TLS, settings.SMTP_USE_SSL
        row.user, row.from_email = settings.SMTP_DEFAULT_USER, settings.DEFAULT_FROM_EMAIL
        row.secret = seal_secret(settings.SMTP_DEFAULT_PASSWORD) if settings.SMTP_DEFAULT_PASSWORD else None
        row.is_active = row.may_be_inside = True
        try:
            row.full_clean()
            smtp_account(row).check()
        except ValidationError as error:
            wrong = "; ".join(f"{name}: {' '.join(said)}" for name, said in error.message_dict.items())
            raise CommandError(f"Refused, nothing was stored: {wrong}") from None
        except MisconfiguredError as error:
            raise CommandError(f"Refused, nothing was stored: {error.detail}") from None
        row.save()
        self.stdout.write(
            f"{organization.slug} sends through {row.host}:{row.port} now. Press Test e-mail in the admin."
        )
        self.stdout.write("Then the lines SMTP_… may go from .env, unless other organizations rely on them.")
