"""The options that all operators have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypedDict

from dagorama.options import SECONDS_MAX, checked_name, real_number, whole_number
from dagorama.workflows.model import Task
from dagorama.workflows.operators.collecting import told
from dagorama.workflows.problems import did_you_mean

#: So often a task may be tried again.
RETRIES_MAX = 1000

#: Notes a problem, given a message and the way out.
Wrong = Callable[[str, str], None]


class Options(TypedDict, total=False):
    """The options of an operator, and of all operators of a DAG as its `default_args`. Times are seconds or timedeltas.

    A task that fails is tried again `retries` times, `retry_delay` after each failure. An attempt takes
    `execution_timeout` at most. Workers take it from `queue`, if they tolerate its `taint`. The variables in `env` are
    in its environment, and `title` is its name for people. `when` is for branches, which there are not as yet.
    """

    retries: int
    retry_delay: float | timedelta
    execution_timeout: float | timedelta
    queue: str
    taint: str
    env: Mapping[str, str]
    title: str
    when: object


def read_options(task: Task, defaults: Mapping[str, object], own: Mapping[str, object], wrong: Wrong) -> Task:
    """Return a task with the options of a DAG and its own; `wrong` is told of each that cannot be."""
    fields: dict[str, Any] = {}
    for name, value in {**defaults, **own}.items():
        if name == "when":
            wrong("when= is for branches that are chosen at run time, which there are not as yet", "leave it out")
        elif name not in _FIELDS:
            way_out = did_you_mean(name, _FIELDS) or f"there are {', '.join(_FIELDS)}"
            wrong(f"there is no option {told(name)}", way_out)
        else:
            field, reader = _FIELDS[name]
            try:
                fields[field] = reader(value)
            except ValueError as error:
                wrong(f"{name} {error}", "")
    return replace(task, **fields)


def seconds(value: object) -> float:
    """Return a length of time in seconds; `ValueError` for what is none."""
    number = value.total_seconds() if isinstance(value, timedelta) else real_number(value)
    if number is None or not 0 <= number < math.inf or number > SECONDS_MAX:
        raise ValueError(f"must be a timedelta or a number of seconds from 0, not {told(value)}")
    return number


def _retries(value: object) -> int:
    number = whole_number(value)
    if number is None or not 0 <= number <= RETRIES_MAX:
        raise ValueError(f"must be from 0 to {RETRIES_MAX}, not {told(value)}")
    return number


def _variables(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping of names to texts")
    for name, text in value.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise ValueError(f"names {told(name)}, which is no name of a variable")
        if not isinstance(text, str) or "\0" in text:  # it may be secret
            raise ValueError(f"must have a text without NUL for {name}")
    return tuple(value.items())


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {told(value)}")
    return value


#: The field of a task for each option, and how that is read.
_FIELDS: dict[str, tuple[str, Callable[[object], object]]] = {
    "retries": ("retries", _retries),
    "retry_delay": ("retry_interval_s", seconds),
    "execution_timeout": ("timeout_s", seconds),
    "queue": ("queue", lambda value: checked_name("queue", value)),
    "taint": ("taint", lambda value: checked_name("taint", value)),
    "env": ("env", _variables),
    "title": ("title", _text),
}
