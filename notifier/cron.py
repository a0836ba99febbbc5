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
    """As Celery reads the fields: a day has to fit both its number and its weekday (0 or 7: Sunday)."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "Cron":
        """ValueError: these are not five fields, or there is no such day."""
        try:
            minute, hour, day, month, weekday = text.split()
            weekday = weekday.replace("7", "0") if weekday in {"7", "0,7", "7,0"} else weekday
            found = cls(
                *(
                    frozenset(crontab_parser(most, least).parse(field))
                    for field, most, least in (
                        (minute, 60, 0),
                        (hour, 24, 0),
                        (day, 31, 1),
                        (month, 12, 1),
                        (weekday, 7, 0),
                    )
                )
            )
        except (ParseException, KeyError, TypeError) as error:
            raise ValueError(text) from error
        if not any(min(found.days) <= _LENGTHS[month - 1] for month in found.months):
            raise ValueError(text)
        return found

    def last(self, now: datetime, zone: ZoneInfo) -> datetime:
        """The last of these moments that is not after `now`, by the clocks of that zone."""
        local = now.astimezone(zone)
        for back in range(_LONGEST):
            day = local.date() - timedelta(days=back)
            until = local.time() if back == 0 else time.max
            if self._is_on(day) and (found := self._last_on(day, until, zone)) is not None:
                return found
        raise ValueError("There is no such day.")

    def _is_on(self, day: date) -> bool:
        return day.day in self.days and day.month in self.months and day.isoweekday() % 7 in self.weekdays

    def _last_on(self, day: date, until: time, zone: ZoneInfo) -> datetime | None:
        moments = (time(hour, minute) for hour in self.hours for minute in self.minutes)
        last = max((moment for moment in moments if moment <= until), default=None)
        return None if last is None else datetime.combine(day, last, zone).astimezone(UTC)
