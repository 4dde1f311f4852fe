"""Cron strings are read into sets of numbers: by their number of fields those of crontab(5), or of Quartz."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import NamedTuple

from dagorama.workflows.cron.days import DayOfMonth, NthWeekday

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
YEAR_MIN, YEAR_MAX = 1970, 2199

#: The names that stand for five fields.
NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

#: A longer one is none.
CRON_CHARS_MAX = 1000


class _Field(NamedTuple):
    name: str
    least: int
    most: int
    names: Mapping[str, int] = {}
    #: How many there are until they begin anew, where a range may go beyond the largest; 0 where it may not.
    around: int = 0


_SECOND, _MINUTE, _HOUR = _Field("second", 0, 59), _Field("minute", 0, 59), _Field("hour", 0, 23)
_DAY = _Field("day of month", 1, 31)
_MONTH = _Field("month", 1, 12, {name: number for number, name in enumerate(MONTHS, 1)})
_YEAR = _Field("year", YEAR_MIN, YEAR_MAX)
_WEEKDAY = _Field("day of week", 0, 7, {name: number for number, name in enumerate(DAYS)}, 7)
_QUARTZ_WEEKDAY = _Field("day of week", 1, 7, {**{name: number for number, name in enumerate(DAYS, 1)}, "L": 7}, 7)
#: Days that Quartz tells by where they fall.
_DAY_OF_MONTH = re.compile(r"(?:L(?:-(?P<before>[0-9]{1,2}))?|(?P<day>[0-9]{1,2})(?=W))(?P<near>W?)", re.IGNORECASE)
_NTH_WEEKDAY = re.compile(r"(?P<weekday>[0-9A-Z]+?)(?:L|#(?P<nth>[1-5]))", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Cron:
    """The times that a cron string names."""

    text: str
    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    #: Days of the month; None where the string leaves them open.
    days: frozenset[int] | None
    months: frozenset[int]
    #: Days of the week, from 0 for Sunday; None where the string leaves them open.
    weekdays: frozenset[int] | None
    years: frozenset[int]
    #: Whether a day is meant that fits one of both kinds, where both are given; else it fits both.
    fits_either: bool
    #: Whether it has a field for seconds, as those of Quartz have.
    is_quartz: bool
    #: The one day of a month that is meant; then both `days` and `weekdays` are open.
    one_day: DayOfMonth | NthWeekday | None = None

    def is_on(self, day: date) -> bool:
        """Return whether it is on a day of its months and years."""
        if self.one_day is not None:
            return day.day == self.one_day.in_month(day.year, day.month)
        fits_day = self.days is None or day.day in self.days
        fits_weekday = self.weekdays is None or day.isoweekday() % 7 in self.weekdays
        return fits_day or fits_weekday if self.fits_either else fits_day and fits_weekday


def parse_cron(text: str) -> Cron:
    """Read a cron string; `ValueError` says which field is wrong, and what may stand there."""
    if len(text) > CRON_CHARS_MAX:
        raise ValueError(f"a cron string has at most {CRON_CHARS_MAX} characters")
    word = text.strip()
    if word.startswith("@"):
        if word.lower() not in NAMED:
            raise ValueError(f"there is no {word!r}; there are {', '.join(NAMED)}")
        return replace(parse_cron(NAMED[word.lower()]), text=word)
    fields = word.split()
    if len(fields) not in (5, 6, 7):
        raise ValueError(
            f"{word!r} has {len(fields)} fields: 5 are minute, hour, day, month, day of week (crontab), 6 or 7 are "
            "second, minute, hour, day, month, day of week, year (Quartz)"
        )
    is_quartz = len(fields) > 5
    if not is_quartz:
        fields = ["0", *fields]
    second, minute, hour, day, month, weekday, year = [*fields, "*"][:7]
    one_day = _one_day(day, weekday) if is_quartz else None
    if one_day is not None:
        day = weekday = "?"
    found = _numbers(weekday, _QUARTZ_WEEKDAY if is_quartz else _WEEKDAY)
    around = 1 if is_quartz else 0  # ranges of Quartz may go around in all fields but that of years
    return Cron(
        text=word,
        seconds=_numbers(second, _SECOND._replace(around=60 * around)),
        minutes=_numbers(minute, _MINUTE._replace(around=60 * around)),
        hours=_numbers(hour, _HOUR._replace(around=24 * around)),
        days=None if day in ("*", "?") else _numbers(day, _DAY._replace(around=31 * around)),
        months=_numbers(month, _MONTH._replace(around=12 * around)),
        weekdays=None if weekday in ("*", "?") else frozenset((one - is_quartz) % 7 for one in found),
        years=_numbers(year, _YEAR),
        # As crontab(5) has it: a field that begins with a star restricts nothing by itself.
        fits_either=not day.startswith(("*", "?")) and not weekday.startswith(("*", "?")),
        is_quartz=is_quartz,
        one_day=one_day,
    )


def _one_day(day: str, weekday: str) -> DayOfMonth | NthWeekday | None:
    """Return the one day of a month that one of two fields names; None where neither does."""
    by_number, by_weekday = _DAY_OF_MONTH.fullmatch(day), _NTH_WEEKDAY.fullmatch(weekday)
    if by_number is None and by_weekday is None:
        return None
    if (weekday if by_number else day) not in ("*", "?"):
        raise ValueError(f"{day!r} and {weekday!r} are no day together: beside L, W and # the other field is ?")
    if by_number:
        number = _number(by_number["day"], day, day, _DAY) if by_number["day"] else -int(by_number["before"] or 0)
        return DayOfMonth(day=number, is_working_day=bool(by_number["near"]))
    assert by_weekday is not None
    number = _number(by_weekday["weekday"], weekday, weekday, _QUARTZ_WEEKDAY)
    return NthWeekday(weekday=number - 1, nth=int(by_weekday["nth"] or 0))


def _numbers(text: str, field: _Field) -> frozenset[int]:
    """Return the numbers that a field names."""
    found: set[int] = set()
    for part in text.split(","):
        found.update(_range(part, text, field))
    return frozenset(found)


def _range(part: str, text: str, field: _Field) -> Iterable[int]:
    """Return the numbers of one part of a field: "*", "?", "5", "1-5", each perhaps with "/2" after it."""
    span, slash, step_text = part.partition("/")
    if slash and not re.fullmatch(r"[1-9][0-9]{0,3}", step_text):
        raise _wrong(part, text, field, "after a slash stands a number from 1")
    step = int(step_text) if slash else 1
    if span in ("*", "?"):
        return range(field.least, field.most + 1, step)
    first_text, dash, last_text = span.partition("-")
    first = _number(first_text, part, text, field)
    last = _number(last_text, part, text, field) if dash else (field.most if slash else first)
    if first <= last:
        return range(first, last + 1, step)
    if not field.around:
        raise _wrong(part, text, field, "a range goes from the smaller to the larger number")
    beyond = range(first, last + field.around + 1, step)
    return [field.least + (number - field.least) % field.around for number in beyond]


def _number(word: str, part: str, text: str, field: _Field) -> int:
    number = field.names.get(word.upper())
    if number is None and re.fullmatch(r"[0-9]{1,4}", word):
        number = int(word)
    if number is None or not field.least <= number <= field.most:
        what = f"from {field.least} to {field.most}"
        names = f", or a name from {min(field.names, key=field.names.__getitem__)} on" if field.names else ""
        raise _wrong(part, text, field, f"numbers are {what}{names}; L, W and # stand alone, in strings with seconds")
    return number


def _wrong(part: str, text: str, field: _Field, problem: str) -> ValueError:
    where = f" of {text!r}" if part != text else ""
    return ValueError(f"the field {field.name!r} has {part!r}{where}: {problem}")
