"""An organization's digest: what is without date, overdue and upcoming on a day, as a template's context."""

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import date
from html import escape
from itertools import accumulate
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Count
from django.urls import reverse
from django.utils import translation
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from deadlines.models import Deadline, DigestSettings
from deadlines.states import State, matching
from notifier.models import Organization

MOST_ROWS = 100
"""Of each group in the mail."""

MOST_BYTES, ROW_BYTES = 90_000, 400
"""Of all rows in the mail's HTML, and what a row has beside its words: at 102 KB mail programs begin to cut. A group
that needs less than its share leaves the rest to the others."""

NOTE_SIGNS = 120
NAME_SIGNS = 160
GROUPS = (State.OVERDUE, State.UPCOMING, State.WITHOUT_DATE)
TEMPLATE = "deadline_digest"
NAMELESS = "–"
"""Stands for a name that has no sign which can be shown."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Row(NamedTuple):
    """One deadline, in words."""

    person: str
    kind: str
    note: str
    due: str
    when: str


@dataclass(frozen=True)
class Group:
    """The deadlines in one state: how many there are, and the first of them."""

    state: State
    count: int
    rows: list[Row]
    url: str

    @property
    def more(self) -> int:
        """How many are not listed."""
        return self.count - len(self.rows)


@dataclass(frozen=True)
class Digest:
    """One organization on one day."""

    organization: Organization
    day: date
    days_ahead: int
    total: int
    groups: dict[State, Group] = field(default_factory=dict)

    def count(self, state: State) -> int:
        """How many are in this state."""
        return self.groups[state].count

    @property
    def has_news(self) -> bool:
        """Whether there is anything to do."""
        return any(group.count for group in self.groups.values())


def collect(organization: Organization, day: date, calendar: DigestSettings | None = None) -> Digest:
    """What is to be told on this day. Five queries, however many people there are."""
    calendar = calendar or DigestSettings.of(organization)
    horizon = calendar.horizon(day)
    own = Deadline.objects.filter(organization=organization).order_by()
    counts = own.aggregate(
        total=Count("pk"), **{state.value: Count("pk", filter=matching(state, day, horizon)) for state in GROUPS}
    )
    rows: dict[State, list[Row]] = {}
    with translation.override(settings.LANGUAGE_CODE):
        for state in GROUPS:
            order = ("person", "kind") if state is State.WITHOUT_DATE else ("due_date", "person", "kind")
            first = own.filter(matching(state, day, horizon)).order_by(*order)[:MOST_ROWS]
            rows[state] = [_row(one, day) for one in first]
    # One may have come since they were counted.
    count = {state: max(counts[state.value], len(rows[state])) for state in GROUPS}
    _fit(rows)
    groups = {state: Group(state, count[state], rows[state], _list_url(organization, state)) for state in GROUPS}
    return Digest(organization, day, calendar.days_ahead, counts["total"], groups)


def _fit(rows: dict[State, list[Row]]) -> None:
    """Leave out the last ones of groups that are too large together."""
    left = MOST_BYTES
    by_size = sorted(rows, key=lambda state: sum(map(_size, rows[state])))
    for others, state in zip(range(len(rows), 0, -1), by_size, strict=True):
        sizes = list(accumulate(map(_size, rows[state]), initial=0))
        fitting = bisect_right(sizes, left // others) - 1
        del rows[state][fitting:]
        left -= sizes[fitting]


def _size(row: Row) -> int:
    return ROW_BYTES + len(escape("".join(row)).encode())


def _row(one: Deadline, day: date) -> Row:
    due = when = ""
    if one.due_date is not None:
        due, days = _shown(one.due_date), (one.due_date - day).days
        if days < 0:
            when = _("days overdue: %(days)d") % {"days": -days}
        else:
            when = _("days left: %(days)d") % {"days": days} if days else _("today")
    note = one_line(one.note, NOTE_SIGNS)
    kind = one_line(str(one.get_kind_display()), NAME_SIGNS) or NAMELESS
    return Row(one_line(one.person, NAME_SIGNS) or NAMELESS, kind, note, due, when)


def one_line(text: str, most: int) -> str:
    """In one line, without control characters."""
    line = " ".join(_CONTROL.sub(" ", text).split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def _shown(day: date) -> str:
    # Translators: how a date is shown, in Django's letters. Russian: d.m.Y
    return date_format(day, _("j M Y"))


def _list_url(organization: Organization, state: State) -> str:
    """The whole list, for those who may log in."""
    wanted = urlencode({"organization__id__exact": organization.pk, "state": state.value})
    return f"{settings.PUBLIC_URL.rstrip('/')}{reverse('admin:deadlines_deadline_changelist')}?{wanted}"


TITLES = {
    State.OVERDUE: lambda: _("Overdue"),
    State.UPCOMING: lambda: _("Upcoming"),
    State.WITHOUT_DATE: lambda: _("Without date"),
}


def context_of(digest: Digest) -> dict[str, Any]:
    """What the template `deadline_digest` is given, in the service's language."""
    with translation.override(settings.LANGUAGE_CODE):
        return {
            "organization": one_line(digest.organization.name, 120) or NAMELESS,
            "day": _shown(digest.day),
            "days_ahead": digest.days_ahead,
            "groups": [_told(group) for group in digest.groups.values()],
        }


def _told(group: Group) -> dict[str, Any]:
    return {
        "state": group.state.value,
        "title": TITLES[group.state](),
        "count": group.count,
        "rows": [{name: value for name, value in row._asdict().items() if value} for row in group.rows],
        "more": group.more,
        "url": group.url,
    }
