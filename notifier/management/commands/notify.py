"""`manage.py notify`: one notification from the command line."""

from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError
from rest_framework.exceptions import APIException

from notifier import delivery, intake
from notifier.management.database import DatabaseCommand
from notifier.management.output import forgiving
from notifier.models import DEFAULT_SLUG, Notification, Organization
from notifier.states import Status
from notifier.strict_json import strict_json


class Command(DatabaseCommand):
    """Accept it, deliver its first round at once, show every attempt."""

    help = "Send a notification and show what came of its first round."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--to", metavar="EMAIL", help="an e-mail address")
        parser.add_argument("--phone", help="a phone number, as in +12025550123")
        parser.add_argument("--telegram", metavar="CHAT", help="a Telegram chat's number or @name")
        parser.add_argument("--user", type=int, metavar="ID", help="a stored user, instead of the addresses")
        parser.add_argument("--message", help="the text; or a template:")
        parser.add_argument("--template", metavar="NAME", help="a message template, instead of a message")
        parser.add_argument("--context", metavar="JSON", help="the template's variables, as a JSON object")
        parser.add_argument("--subject")
        parser.add_argument("--channel", action="append", help="a channel of the chain; may be repeated, in order")
        parser.add_argument("--organization", default=DEFAULT_SLUG, metavar="SLUG")

    def handle(self, *_args: Any, **options: Any) -> None:
        forgiving(self.stdout)
        organization = Organization.objects.filter(slug=options["organization"]).first()
        if organization is None:
            raise CommandError(f"There is no organization {options['organization']!r}.")
        try:
            row = intake.accept(organization, _body(options), ring=False)
        except APIException as error:
            raise CommandError(f"Refused, nothing was stored: {_words(error.detail)}") from None
        self._report(delivery.first_round([row.pk])[row.pk])

    def _report(self, row: Notification) -> None:
        self.stdout.write(f"Notification {row.pk}: {row.status}")
        for attempt in row.attempts.all():
            what = attempt.code or attempt.outcome
            self.stdout.write(f"  {attempt.channel}: {what} in {attempt.duration_ms} ms {attempt.detail}".rstrip())
        if row.status == Status.FAILED:
            raise CommandError(f"It failed: {row.failure_code}")
        if row.due_at is not None:
            self.stdout.write(f"  next try at {row.due_at:%Y-%m-%d %H:%M:%S} UTC, by a worker")


def _body(options: dict[str, Any]) -> dict[str, Any]:
    addresses = {"email": options["to"], "phone": options["phone"], "telegram_chat_id": options["telegram"]}
    body = {
        "to": {name: value for name, value in addresses.items() if value} or None,
        "user_id": options["user"],
        "message": options["message"],
        "template": options["template"],
        "context": None if options["context"] is None else strict_json(options["context"].encode(errors="replace")),
        "subject": options["subject"],
        "channels": options["channel"],
    }
    return {name: value for name, value in body.items() if value is not None}


def _words(detail: Any, path: str = "") -> str:
    """An error's details in one line."""
    if isinstance(detail, dict):
        return "; ".join(_words(inner, f"{path}.{name}".strip(".")) for name, inner in detail.items())
    if isinstance(detail, list):
        return " ".join(_words(inner, path) if isinstance(inner, dict) else f"{path}: {inner}" for inner in detail)
    return str(detail)
