"""`manage.py send_medical_notifications`: tell organizations of their deadlines, now."""

import logging
import re
import sys
from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.conf import settings
from django.core.management import CommandError
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import translation
from django.utils.translation import gettext as _

from deadlines import digest, runs, sending
from deadlines.models import Deadline, DigestSettings
from deadlines.recipients import NoRecipientsError, recipients_of
from notifier.management.database import DatabaseCommand
from notifier.models import EmailSettings, Organization

log = logging.getLogger(__name__)

MANY = 10
"""From so many organizations on it is said how far it is."""


class Command(DatabaseCommand):
    """Each organization by itself: one that fails costs the others nothing."""

    help = "Send each organization the digest of its deadlines: without date, overdue, upcoming."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", metavar="ID|SLUG", help="only this one")
        parser.add_argument(
            "--date", metavar="YYYY-MM-DD", help="as of this day; default: today, where each of them is"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        with translation.override(settings.LANGUAGE_CODE):
            self._handle(options["organization"], options["date"])

    def _handle(self, named: str | None, day: str | None) -> None:
        wanted_day = _day(day) if day is not None else None
        wanted = [_organization(named)] if named is not None else _all()
        self._say(_("Preparing the report on medical examinations and other deadlines…"))
        sent = errors = 0
        for number, organization in enumerate(wanted, 1):
            if len(wanted) >= MANY:
                self._say(_("Organization %(number)d of %(count)d") % {"number": number, "count": len(wanted)})
            done = self._served(organization, wanted_day)
            sent, errors = sent + (done is True), errors + (done is False)
        self._say("\n" + "=" * 60)
        self._say(_("Done! Sent: %(sent)d, errors: %(errors)d") % {"sent": sent, "errors": errors}, good=not errors)
        if errors:
            sys.exit(1)

    def _served(self, organization: Organization, day: date | None) -> bool | None:
        """Whether it was told. None: there is nothing to tell it."""
        self._say("\n" + _("--- Processing organization: %(name)s ---") % {"name": _name(organization)})
        try:
            return self._serve(organization, day)
        except NoRecipientsError as error:
            self._say(str(error), good=False)
        except Exception:
            log.exception("An organization's digest failed.", extra={"organization_id": organization.pk})
            self._say(_("The digest could not be made. The service's log says why."), good=False)
        return False

    def _serve(self, organization: Organization, day: date | None) -> bool | None:
        calendar = DigestSettings.of(organization)
        told = digest.collect(organization, day or calendar.today(), calendar)
        if not told.total:
            self._say(_("It has no deadlines: nothing to send."))
            return None
        recipients = recipients_of(organization)
        if EmailSettings.objects.filter(organization=organization, is_active=False).exists():
            self._say(_("Its e-mail settings are switched off, and as good as none."))
        with transaction.atomic():  # noted before anything leaves, so that beat does not send it a second time
            accepted = sending.accept(told, recipients, ring=False)
            if told.day == calendar.today() and accepted.rows:  # what fails now, workers try again
                runs.note(organization, told.day, len(accepted.rows))
        failed = sending.deliver(accepted)
        self._report(told, recipients, failed)
        return not failed

    def _report(self, told: digest.Digest, recipients: list[str], failed: dict[str, str]) -> None:
        name = {"name": _name(told.organization)}
        if failed:
            self._say(_("The notification was not sent for %(name)s!") % name, good=False)
            for recipient, reason in failed.items():
                self._say(f"   {recipient}: {reason}")
        else:
            self._say(_("The notification was sent for %(name)s!") % name, good=True)
        self._say("   " + _("Recipients: %(recipients)s") % {"recipients": ", ".join(recipients)})
        counts = {state.value: told.count(state) for state in digest.GROUPS}
        line = _("Without date: %(without_date)d, Overdue: %(overdue)d, Upcoming: %(upcoming)d")
        self._say("   " + line % counts)

    def _say(self, line: str, *, good: bool | None = None) -> None:
        """Print it, in what letters the terminal has; `good` puts a mark before it."""
        encoding = getattr(self.stdout._out, "encoding", None) or "utf-8"
        mark = {None: "", True: "✅ ", False: "❌ "}[good]
        try:
            mark.encode(encoding)
        except UnicodeEncodeError:
            mark = ""
        self.stdout.write((mark + line).encode(encoding, "replace").decode(encoding))
        self.stdout.flush()


def _name(organization: Organization) -> str:
    return digest.one_line(organization.name, 255)


def _day(text: str) -> date:
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise CommandError(_("%(text)r is no date, as in 2026-11-21.") % {"text": text})


def _organization(named: str) -> Organization:
    """By its id, else by its slug."""
    found = None
    if named.isascii() and named.isdigit() and len(named) <= 18:
        found = Organization.objects.filter(pk=int(named)).first()
    found = found or Organization.objects.filter(slug=named).first()
    if found is None:
        raise CommandError(_("There is no organization %(name)r.") % {"name": named})
    return found


def _all() -> list[Organization]:
    return list(
        Organization.objects.filter(Exists(Deadline.objects.filter(organization=OuterRef("pk")))).order_by("pk")
    )
