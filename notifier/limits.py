"""How much a client may send: requests a minute, messages to one address an hour, messages a day.

Nobody can be refused for what others send: keys are counted each by themselves, addresses in each organization.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from notifier import counters
from notifier.counters import Count
from notifier.models import Organization, Recipient

HOUR, DAY = 3600, 24 * 3600


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit, and what is left of it."""

    most: int
    seconds: int
    left: int


class TooManyError(Exception):
    """Over a limit; nothing was stored. The text says which.

    `retry_after`: whole seconds until there is room, if nobody else takes it. `never`: there is none for so many.
    """

    def __init__(self, text: str, quota: Quota, wait: float, *, never: bool = False) -> None:
        super().__init__(text)
        self.quota = quota
        self.retry_after = max(1, ceil(wait))
        self.never = never


@dataclass(frozen=True, slots=True)
class Sender:
    """Who brings a notification to the door."""

    counted_as: str = ""
    """What its messages are counted under. "": not at all."""
    is_test: bool = False
    """Nothing of it leaves."""


OURSELVES = Sender()
"""The company's own code and operators."""

OPEN = Sender(counted_as="open")
"""Whoever comes without a key, where that is allowed."""


def admit_request(sender: Sender) -> Quota | None:
    """Count a request that sends; TooManyError over `API_THROTTLE_SEND`. None: it is not limited."""
    rate = settings.API_THROTTLE_SEND
    if rate is None or not sender.counted_as or (sender == OPEN and not settings.API_THROTTLE_OPEN):
        return None
    answer = counters.take([Count(f"send:{sender.counted_as}", 1, rate.count, rate.seconds)])
    quota = Quota(rate.count, rate.seconds, answer.left)
    if answer.refused is not None:
        raise TooManyError(_("Too many requests."), quota, answer.wait)
    return quota


def looks_at_addresses(sender: Sender) -> bool:
    """Whether `admitted` must know the chain that each message will have, and who the users are."""
    return bool(settings.API_THROTTLE_RECIPIENT and sender.counted_as and not sender.is_test)


@contextmanager
def admitted(organization: Organization, sender: Sender, rows: Iterable[Mapping[str, Any]]) -> Iterator[None]:
    """Count these messages, given by their columns, all of them or none, while they are stored; what was refused or
    failed meanwhile does not count. TooManyError over `API_THROTTLE_DAY`, or over `API_THROTTLE_RECIPIENT` for one of
    their addresses."""
    is_limited = sender.counted_as and (settings.API_THROTTLE_DAY or settings.API_THROTTLE_RECIPIENT)
    counts = _counts(organization, sender, list(rows)) if is_limited else []
    if not counts:
        yield
        return
    _take(counts)
    try:
        yield
    except BaseException:
        counters.give_back(counts)
        raise


def _counts(organization: Organization, sender: Sender, rows: Sequence[Mapping[str, Any]]) -> list[Count]:
    counts = []
    if settings.API_THROTTLE_DAY:
        counts.append(Count(f"day:{sender.counted_as}", len(rows), settings.API_THROTTLE_DAY, DAY))
    most = settings.API_THROTTLE_RECIPIENT
    if most and looks_at_addresses(sender):
        for address, number in Counter(_addresses(organization, rows)).items():
            counts.append(Count(f"to:{organization.pk}:{address}", number, most, HOUR))
    return counts


def _take(counts: Sequence[Count]) -> None:
    answer = counters.take(counts)
    count = answer.refused
    if count is None:
        return
    if count.seconds == DAY:
        text = _("At most {most} messages a day.")
    else:
        text = _("At most {most} messages to one address an hour.")
    quota = Quota(count.most, count.seconds, 0)
    raise TooManyError(text.format(most=count.most), quota, answer.wait, never=count.number > count.most)


def _addresses(organization: Organization, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Every address along the chains of these messages: each may be the one that gets it."""
    fields = Recipient.ADDRESS_FIELDS
    users = {row["recipient_id"] for row in rows if row.get("recipient_id") is not None}
    people: dict[Any, Mapping[str, Any]] = {}
    if users:
        known = Recipient.objects.filter(organization=organization, pk__among=users)
        people = {person["pk"]: person for person in known.values("pk", *fields.values())}
    for row in rows:
        to = people.get(row.get("recipient_id")) or row.get("to") or {}
        for step in row["steps"]:
            address = to.get(fields.get(step["channel"], ""))
            if address:
                yield f"{step['channel']}:{str(address).lower()}"
