"""Cron strings in words."""

from __future__ import annotations

from collections.abc import Collection

from dagorama.workflows.cron.parsing import YEAR_MAX, YEAR_MIN, Cron

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_WEEKDAYS = ("Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays")
#: So many days of the week are named by their absence.
_EXCEPT_MAX = 2


def in_words(cron: Cron) -> str:
    """Return the times of a cron string in words, such as "at 06:30 on Mondays"."""
    return f"{_time(cron)}{_days(cron)}{_months(cron)}{_years(cron)}"


def likely_meant(cron: Cron) -> str:
    """Return a likely cure for a string that starts something every second; empty for any other."""
    if not cron.is_quartz or len(cron.seconds) < 60:
        return ""
    return " ".join(["0", *cron.text.split()[1:]])


def _time(cron: Cron) -> str:
    if len(cron.seconds) == len(cron.minutes) == len(cron.hours) == 1:
        (second,), (minute,), (hour,) = cron.seconds, cron.minutes, cron.hours
        return f"at {hour:02}:{minute:02}" + (f":{second:02}" if second else "")
    minutes = "every minute" if len(cron.minutes) == 60 else _numbered("minute", cron.minutes)
    hours = "every hour" if len(cron.hours) == 24 else _numbered("hour", cron.hours)
    if len(cron.seconds) == 60:
        minutes = f"every second of {minutes}"
    elif cron.seconds != {0}:
        minutes = f"{_numbered('second', cron.seconds)} of {minutes}"
    return minutes if hours == "every hour" and "every minute" in minutes else f"{minutes} of {hours}"


def _days(cron: Cron) -> str:
    if cron.one_day is not None:
        return f" on {cron.one_day.in_words(_WEEKDAYS)} of the month"
    days = "" if cron.days is None else f"on {_numbered('day', cron.days)} of the month"
    if cron.weekdays is None or len(cron.weekdays) == 7:
        return f" {days}" if days else ""
    absent = set(range(7)) - cron.weekdays
    if days:
        joined = "or" if cron.fits_either else "if"
        return f" {days}, {joined} on {_listed([_WEEKDAYS[one] for one in sorted(cron.weekdays)])}"
    if len(absent) <= _EXCEPT_MAX:
        return f", except {_listed([_WEEKDAYS[one] for one in sorted(absent)])}"
    return f" on {_listed([_WEEKDAYS[one] for one in sorted(cron.weekdays)])}"


def _months(cron: Cron) -> str:
    return "" if len(cron.months) == 12 else f", in {_listed([_MONTHS[one - 1] for one in sorted(cron.months)])}"


def _years(cron: Cron) -> str:
    if len(cron.years) == YEAR_MAX - YEAR_MIN + 1:
        return ""
    return f", in {_numbered('year', cron.years)}"


def _numbered(name: str, numbers: Collection[int]) -> str:
    words = [str(number) for number in sorted(numbers)]
    return f"{name}{'s' if len(words) > 1 else ''} {_listed(words)}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
