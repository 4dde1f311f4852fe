"""Days that a month has once at most, wherever they fall: the L, W and # of Quartz."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date

_SATURDAY, _SUNDAY = 6, 7
_NTH = ("last", "first", "second", "third", "fourth", "fifth")


@dataclass(frozen=True, kw_only=True)
class DayOfMonth:
    """A day by its number: "L", "L-3", "15W", "LW"."""

    #: From 1; 0 for the last of a month, and -1 for the one before.
    day: int
    #: Whether the working day is meant that is nearest to it in its month, where it is none itself.
    is_working_day: bool

    def in_month(self, year: int, month: int) -> int | None:
        """Return its number in a month; None where that is too short for it."""
        length = monthrange(year, month)[1]
        day = self.day if self.day > 0 else length + self.day
        if not 1 <= day <= length:
            return None
        weekday = date(year, month, day).isoweekday()
        if self.is_working_day and weekday == _SATURDAY:
            return day - 1 if day > 1 else day + 2
        if self.is_working_day and weekday == _SUNDAY:
            return day + 1 if day < length else day - 2
        return day

    def in_words(self, weekdays: tuple[str, ...]) -> str:
        """Return it in words."""
        which = f"day {self.day}" if self.day > 0 else f"the day {-self.day} before the last"
        if self.is_working_day:
            return f"the working day nearest to {which}" if self.day else "the last working day"
        return which if self.day else "the last day"


@dataclass(frozen=True, kw_only=True)
class NthWeekday:
    """A day by its place among those of one day of the week: "6#3", "FRIL"."""

    #: From 0 for Sunday.
    weekday: int
    #: From 1; 0 for the last of a month.
    nth: int

    def in_month(self, year: int, month: int) -> int | None:
        """Return its number in a month; None where there is no fifth."""
        first = 1 + (self.weekday - date(year, month, 1).isoweekday()) % 7
        days = range(first, monthrange(year, month)[1] + 1, 7)
        return days[self.nth - 1] if self.nth <= len(days) else None

    def in_words(self, weekdays: tuple[str, ...]) -> str:
        """Return it in words, with the names of the days of the week."""
        return f"the {_NTH[self.nth]} {weekdays[self.weekday].removesuffix('s')}"
