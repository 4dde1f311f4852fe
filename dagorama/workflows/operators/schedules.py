"""The schedules that DAGs name, which are checked, and registered by nobody as yet."""

from __future__ import annotations

from datetime import datetime, timedelta

from dagorama.workflows.cron.parsing import parse_cron
from dagorama.workflows.cron.times import never_comes
from dagorama.workflows.cron.words import in_words
from dagorama.workflows.operators.collecting import told


def in_words_of(schedule: object) -> str:
    """Return when a DAG of this schedule would run; `ValueError` for what is none."""
    if isinstance(schedule, timedelta):
        if schedule <= timedelta():
            raise ValueError(f"an interval must be longer than 0, unlike {schedule}")
        return f"every {str(schedule).removesuffix(', 0:00:00')}"
    if not isinstance(schedule, str):
        raise ValueError(f"it must be a cron string or a timedelta, not {told(schedule)}")
    cron = parse_cron(schedule)
    if never_comes(cron, datetime.now()):
        raise ValueError(f"{told(schedule)} names no time that comes")
    return in_words(cron)
