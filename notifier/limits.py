"""How much a client may send: requests a minute, messages to one address an hour, messages a day.

Counted in windows that begin at round times, the same for all processes: what one window has left is known without a
look at single requests. The counters live in Redis, where there is one; see `counters`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from notifier import counters
from notifier.counters import Count
from notifier.models import Organization, Recipient

HOUR, DAY = 3600, 24 * 3600


class TooManyError(Exception):
    """Over a limit; nothing was stored. `retry_after`: seconds until it may go on."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"Over a limit for {retry_after:.0f} s.")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Sender:
    """Who brings a notification to the door."""

    counted_as: str = ""
    """What its messages are counted under. "": not at all."""
    is_test: bool = False
    """Nothing of it leaves."""


OURSELVES = Sender()
"""The company's own code and operators."""


def admit_request(sender: Sender) -> None:
    """Count a request that sends; TooManyError over `API_THROTTLE_SEND`."""
    rate = settings.API_THROTTLE_SEND
    if rate is not None and sender.counted_as:
        _take([Count(f"send:{sender.counted_as}", 1, rate.count, rate.seconds)])


def admit(organization: Organization, sender: Sender, rows: Sequence[Mapping[str, Any]]) -> None:
    """Count these messages, given by their columns, all of them or none. TooManyError over `API_THROTTLE_RECIPIENT`
    for one of their addresses, or over `API_THROTTLE_DAY`."""
    if not sender.counted_as:
        return
    counts = []
    if settings.API_THROTTLE_DAY:
        counts.append(Count(f"day:{sender.counted_as}", len(rows), settings.API_THROTTLE_DAY, DAY))
    if settings.API_THROTTLE_RECIPIENT and not sender.is_test:
        most = settings.API_THROTTLE_RECIPIENT
        for address, number in Counter(_addresses(organization, rows)).items():
            counts.append(Count(f"to:{organization.pk}:{address}", number, most, HOUR))
    if counts:
        _take(counts)


def _take(counts: Sequence[Count]) -> None:
    retry_after = counters.take(counts)
    if retry_after is not None:
        raise TooManyError(retry_after)


def _addresses(organization: Organization, rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Every address that these messages may go to, as often as it is meant."""
    fields = tuple(Recipient.ADDRESS_FIELDS.values())
    users = [row["recipient_id"] for row in rows if row.get("recipient_id") is not None]
    known = Recipient.objects.filter(organization=organization, pk__among=set(users)) if users else []
    people: dict[Any, dict[str, Any]] = {
        person.pk: {name: getattr(person, name) for name in fields} for person in known
    }
    for row in rows:
        addresses = people.get(row.get("recipient_id")) or row.get("to") or {}
        for name in fields:
            if addresses.get(name):
                yield f"{name}:{str(addresses[name]).lower()}"
