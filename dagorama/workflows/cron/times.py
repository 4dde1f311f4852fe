"""The next times of a cron string. Clocks are wall clocks here: time zones are the caller's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta

from dagorama.workflows.cron.parsing import Cron

#: A day that has not come in so many years, leap years and the turn of a century included, does not come.
_YEARS_MAX = 50


def next_times(cron: Cron, after: datetime) -> Iterator[datetime]:
    """Yield the times of a cron string after another, one by one; it ends where none comes any more."""
    day = _next_day(cron, after.date())
    while day is not None:
        for at in _times_of(cron):
            moment = datetime.combine(day, at)
            if moment > after:
                yield moment
        day = _next_day(cron, day + timedelta(days=1))


def never_comes(cron: Cron, after: datetime) -> bool:
    """Return whether a cron string has no time after another."""
    return next(next_times(cron, after), None) is None


def _times_of(cron: Cron) -> Iterator[time]:
    for hour in sorted(cron.hours):
        for minute in sorted(cron.minutes):
            for second in sorted(cron.seconds):
                yield time(hour, minute, second)


def _next_day(cron: Cron, day: date) -> date | None:
    """Return the first day from one on that a cron string is on; None for none in sight."""
    last_year = min(day.year + _YEARS_MAX, max(cron.years))
    while day.year <= last_year:
        if day.year not in cron.years:
            day = date(day.year + 1, 1, 1)
        elif day.month not in cron.months:
            day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        elif cron.is_on(day):
            return day
        else:
            day += timedelta(days=1)
    return None
