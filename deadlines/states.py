"""Where a due date stands on a day: not known, overdue, upcoming or later."""

from datetime import date

from django.db.models import Q, TextChoices
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deadlines.models import DigestSettings


class State(TextChoices):
    """Each deadline is in one of them."""

    WITHOUT_DATE = "without_date", _("without date")
    OVERDUE = "overdue", _("overdue")
    UPCOMING = "upcoming", _("upcoming")
    LATER = "later", _("later")


def state_of(due: date | None, today: date, horizon: date) -> State:
    """Today still counts as upcoming, and so does the horizon."""
    if due is None:
        return State.WITHOUT_DATE
    if due < today:
        return State.OVERDUE
    return State.UPCOMING if due <= horizon else State.LATER


def matching(state: str, today: date, horizon: date) -> Q:
    """The condition for deadlines in this state."""
    return {
        State.WITHOUT_DATE: Q(due_date=None),
        State.OVERDUE: Q(due_date__lt=today),
        State.UPCOMING: Q(due_date__gte=today, due_date__lte=horizon),
        State.LATER: Q(due_date__gt=horizon),
    }[State(state)]


def matching_everywhere(state: str) -> Q:
    """The same for deadlines of many organizations, each by its own calendar. One small query tells how many differ."""
    now = timezone.now()
    kept = DigestSettings.objects.order_by().values_list("timezone", "days_ahead").distinct()
    default = DigestSettings()
    today = default.local(now).date()
    found = Q(organization__digest_settings=None) & matching(state, today, default.horizon(today))
    for name, days in kept:
        one = DigestSettings(timezone=name, days_ahead=days)
        today = one.local(now).date()
        theirs = Q(organization__digest_settings__timezone=name, organization__digest_settings__days_ahead=days)
        found |= theirs & matching(state, today, one.horizon(today))
    return found
