"""Cron strings: read, told in words, and their next times."""

from __future__ import annotations

from datetime import datetime
from itertools import islice

import pytest

from dagorama.workflows.cron.parsing import parse_cron
from dagorama.workflows.cron.times import never_comes, next_times
from dagorama.workflows.cron.words import in_words, likely_meant

#: A Tuesday.
NOW = datetime(2025, 7, 1, 12, 30)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "* 0/20 0 ? * SUN,MON,TUE,WED,THU,FRI *",
            "every second of minutes 0, 20 and 40 of hour 0, except Saturdays",
        ),
        ("30 6 * * 1", "at 06:30 on Mondays"),
        ("15 30 6 ? * 2", "at 06:30:15 on Mondays"),
        ("*/15 * * * *", "minutes 0, 15, 30 and 45 of every hour"),
        ("* * * * *", "every minute"),
        ("0 0 1,15 * 5", "at 00:00 on days 1 and 15 of the month, or on Fridays"),
        ("0 0 1 1 ?", "at 00:00 on day 1 of the month, in January"),
        ("0 0 12 ? * MON-FRI 2026", "at 12:00, except Sundays and Saturdays, in year 2026"),
        ("@daily", "at 00:00"),
        ("@hourly", "minute 0 of every hour"),
        ("0 0 * * 7", "at 00:00 on Sundays"),
        ("0 0 * * FRI-SUN", "at 00:00 on Sundays, Fridays and Saturdays"),
        ("0 0 12 ? * FRI-MON", "at 12:00 on Sundays, Mondays, Fridays and Saturdays"),
        ("0 0 22-2/2 * NOV-JAN ?", "minute 0 of hours 0, 2 and 22, in January, November and December"),
        ("0 0 12 ? * L", "at 12:00 on Saturdays"),
        ("0 0 12 L * ?", "at 12:00 on the last day of the month"),
        ("0 0 12 L-3 * ?", "at 12:00 on the day 3 before the last of the month"),
        ("0 0 12 LW * ?", "at 12:00 on the last working day of the month"),
        ("0 0 12 15w * ? 2030", "at 12:00 on the working day nearest to day 15 of the month, in year 2030"),
        ("0 15 10 ? * 6L", "at 10:15 on the last Friday of the month"),
        ("0 15 10 ? * WEDL", "at 10:15 on the last Wednesday of the month"),
        ("0 15 10 ? JAN 6#3", "at 10:15 on the third Friday of the month, in January"),
    ],
)
def test_a_string_is_told_in_words(text: str, words: str) -> None:
    """Fields are told apart by their count: days of the week count from 0 for Sunday, with seconds from 1."""
    assert in_words(parse_cron(text)) == words


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("0 0 * * *", ["2025-07-02 00:00:00", "2025-07-03 00:00:00"]),
        ("29,31 12 * * *", ["2025-07-01 12:31:00", "2025-07-02 12:29:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00:00", "2032-02-29 00:00:00"]),
        ("0 0 13 * 5", ["2025-07-04 00:00:00", "2025-07-11 00:00:00"]),
        ("0 0 */13 * 5", ["2025-08-01 00:00:00", "2025-11-14 00:00:00"]),
        ("5/30 30 12 1 7 ?", ["2025-07-01 12:30:05", "2025-07-01 12:30:35"]),
        ("0 0 0 1 1 ? 2026", ["2026-01-01 00:00:00"]),
        ("0 0 0 L * ?", ["2025-07-31 00:00:00", "2025-08-31 00:00:00"]),
        ("0 0 0 L-30 * ?", ["2025-08-01 00:00:00", "2025-10-01 00:00:00"]),
        ("0 0 0 LW * ?", ["2025-07-31 00:00:00", "2025-08-29 00:00:00"]),
        ("0 0 0 1W 11 ?", ["2025-11-03 00:00:00", "2026-11-02 00:00:00"]),
        ("0 0 0 30W 11 ?", ["2025-11-28 00:00:00", "2026-11-30 00:00:00"]),
        ("0 0 0 5W 7 ?", ["2025-07-04 00:00:00", "2026-07-06 00:00:00"]),
        ("0 0 0 ? * 6L", ["2025-07-25 00:00:00", "2025-08-29 00:00:00"]),
        ("0 0 0 ? * SUN#5", ["2025-08-31 00:00:00", "2025-11-30 00:00:00"]),
        ("0 0 0 ? * 7#1", ["2025-07-05 00:00:00", "2025-08-02 00:00:00"]),
    ],
)
def test_the_next_times_come_in_order(text: str, times: list[str]) -> None:
    """Only later times count, leap days come when they do, and a string with years comes to its end."""
    assert [str(one) for one in islice(next_times(parse_cron(text), NOW), 2)] == times


def test_a_string_that_never_comes_is_found() -> None:
    """A day that is in no month is no time."""
    assert never_comes(parse_cron("0 0 30 2 *"), NOW)
    assert never_comes(parse_cron("0 0 0 1 1 ? 2020"), NOW)
    assert not never_comes(parse_cron("0 0 29 2 *"), NOW)


def test_a_job_of_every_second_is_likely_a_slip() -> None:
    """A star in the field of seconds is meant as a zero."""
    assert likely_meant(parse_cron("* 0/20 0 ? * SUN *")) == "0 0/20 0 ? * SUN *"
    assert likely_meant(parse_cron("0/20 0 * * *")) == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("* * *", "3 fields"),
        ("60 * * * *", "'minute'"),
        ("* 24 * * *", "'hour'"),
        ("* * 0 * *", "'day of month'"),
        ("* * * FOO *", "'month'"),
        ("* * * * 8", "'day of week'"),
        ("0 * * * * 0", "'day of week'"),
        ("5-1 * * * *", "smaller"),
        ("*/0 * * * *", "slash"),
        ("1,,2 * * * *", "'minute'"),
        ("0 0 L * *", "L, W and #"),
        ("0 0 0 1,L * ?", "L, W and #"),
        ("0 0 0 L * MON", "no day together"),
        ("0 0 0 32W * ?", "'day of month'"),
        ("0 0 0 ? * 8L", "'day of week'"),
        ("0 0 0 ? * MON#6", "'day of week'"),
        ("@often", "@daily"),
        ("* " * 1000, "characters"),
    ],
)
def test_a_wrong_string_says_what_is_wrong(text: str, problem: str) -> None:
    """The field is named, and the numbers that it takes."""
    with pytest.raises(ValueError, match=problem):
        parse_cron(text)
