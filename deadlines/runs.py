"""Whose digest is due now, once a day for each organization, however many ask.

Nothing of REST framework is loaded here: a worker asks every few minutes, and mostly there is nothing to do.
"""

from datetime import date, datetime
from typing import NamedTuple

from django.db.models import Exists, OuterRef, Q

from deadlines.models import Deadline, DigestRun, DigestSettings
from notifier.models import Organization


class Due(NamedTuple):
    """An organization that is to be served, and the day that it is there."""

    organization_id: int
    day: date


def due(now: datetime) -> list[Due]:
    """The organizations whose hour has come and that were not served on their day. Two queries."""
    wanted = (
        Organization.objects.filter(Q(digest_settings=None) | Q(digest_settings__is_active=True))
        .filter(Exists(Deadline.objects.filter(organization=OuterRef("pk"))))
        .order_by("pk")
        .values_list("pk", "digest_settings__timezone", "digest_settings__hour")
    )
    default = DigestSettings()
    found = []
    for pk, zone, hour in wanted:
        local = DigestSettings(timezone=zone or default.timezone).local(now)
        if local.hour >= (default.hour if hour is None else hour):
            found.append(Due(pk, local.date()))
    days = {one.day for one in found}
    served = set(DigestRun.objects.filter(date__in=days).values_list("organization_id", "date")) if days else set()
    return [one for one in found if one not in served]


def note(organization: Organization, day: date, mails: int) -> None:
    """They were served on this day, by whomever."""
    DigestRun.objects.update_or_create(organization=organization, date=day, defaults={"mails": mails})
