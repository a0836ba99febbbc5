"""Moments that come again and again, as cron's five fields name them: minute, hour, day, month, weekday."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from celery.schedules import ParseException, crontab_parser

_LONGEST = 366 * 41
"""Days after which every day has come by on every weekday, 29 February too."""
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True)
class Cron:
    """Where both day and weekday are named, either will do, as with cron. Weekday 0 or 7: Sunday."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    @classmethod
    def parse(cls, text: str) -> "Cron":
        """ValueError: these are not five fields, or there is no such day."""
        fields = text.split()
        try:
            minutes, hours, days, months, weekdays = (
                frozenset(crontab_parser(most, least).parse(field))
                for field, (most, least) in zip(fields, ((60, 0), (24, 0), (31, 1), (12, 1), (8, 0)), strict=True)
            )
        except (ParseException, KeyError, TypeError) as error:
            raise ValueError(text) from error
        either = not any(fields[at].startswith("*") for at in (2, 4))
        if not either and not any(min(days) <= _LENGTHS[month - 1] for month in months):
            raise ValueError(text)
        return cls(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either)

    def last(self, now: datetime, zone: ZoneInfo) -> datetime:
        """The last of these moments that is not after `now`, by the clocks of that zone."""
        today = now.astimezone(zone).date()
        for back in range(_LONGEST):
            day = today - timedelta(days=back)
            if self._is_on(day) and (found := self._last_on(day, now, zone)) is not None:
                return found
        raise ValueError("There is no such day.")

    def _is_on(self, day: date) -> bool:
        fits = (day.day in self.days, day.isoweekday() % 7 in self.weekdays)
        return day.month in self.months and (any(fits) if self.either else all(fits))

    def _last_on(self, day: date, now: datetime, zone: ZoneInfo) -> datetime | None:
        """In UTC: only there each moment comes once, and in order, also when the clocks are changed."""
        moments = (
            datetime.combine(day, time(hour, minute), zone).astimezone(UTC)
            for hour in self.hours
            for minute in self.minutes
        )
        return max((moment for moment in moments if moment <= now), default=None)
