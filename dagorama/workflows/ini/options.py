"""The options of control files: each with the types of tasks that it is for, and the readers of their values."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable
from typing import NamedTuple, TypeVar

T = TypeVar("T")

RUN, SCHEDULED, MODEL, APP = "run", "scheduled", "model", "app"
#: The values of `type`. A task of type run that has a `cron_string` is a scheduled one.
TYPES = (RUN, MODEL, APP)
_TASKS = frozenset({RUN, SCHEDULED})
_ALL = frozenset({RUN, SCHEDULED, MODEL, APP})

_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
#: The longest timeout: 100 years.
_SECONDS_MAX = 100 * 365 * 86400
_RETRIES_MAX = 10_000


class Known(NamedTuple):
    """An option that there is."""

    #: For which types of tasks it means something.
    types: frozenset[str]
    #: For which it must be there.
    needed: frozenset[str] = frozenset()


#: The options of tasks, by name.
OPTIONS: dict[str, Known] = {
    "type": Known(_ALL),
    "depends": Known(_ALL),
    "tier": Known(_ALL),
    "command": Known(frozenset({RUN, SCHEDULED, APP}), _TASKS),
    "direct": Known(_TASKS),
    "max_retries": Known(frozenset({RUN})),
    "timeout": Known(frozenset({RUN})),
    "title": Known(_TASKS),
    "cron_string": Known(_TASKS),
    "submit_as_running_user": Known(frozenset({SCHEDULED})),
    "deploy_by_name": Known(frozenset({SCHEDULED, MODEL})),
    "file": Known(frozenset({MODEL}), frozenset({MODEL})),
    "function": Known(frozenset({MODEL}), frozenset({MODEL})),
    "model_id": Known(frozenset({MODEL})),
    "environment": Known(frozenset({MODEL})),
    "name": Known(frozenset({MODEL, APP})),
    "description": Known(frozenset({MODEL, APP})),
}

#: The options that stand in the section of defaults alone.
OF_WORKFLOW = frozenset({"allow_partial_failure"})

#: The parts of a command that a shell would leave as they are, and those in which it would look for variables alone.
_LITERAL, _DOUBLY_QUOTED = r"\\.|'[^']*'", r'"(?:\\.|[^"\\])*"'
_QUOTED = re.compile(f"{_LITERAL}|{_DOUBLY_QUOTED}", re.DOTALL)
_SINGLY_QUOTED = re.compile(_LITERAL, re.DOTALL)
#: Words that are operators of a shell, begin its comments, or are its own; and its variables.
_OPERATOR = re.compile(
    r"(?<!\S)(?:\|\|?(?!\S)|&&?(?!\S)|[0-9&]?[<>]\S*|#\S*|~/\S*|\S*;(?!\S))"
    r"|\A(?:cd|export|source|[A-Za-z_]\w*=\S*)(?=\s)"
)
_VARIABLE = re.compile(r"\$(?:\w+|[{(])|`")

#: Reads a value, or raises `ValueError` that says what may stand there.
Reader = Callable[[str], T]


def boolean(text: str) -> bool:
    """Read true or false, in small or capital letters."""
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("it must be true or false")
    return word in _TRUE


def retries(text: str) -> int:
    """Read a number of retries."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= _RETRIES_MAX):
        raise ValueError(f"it must be a whole number from 0 to {_RETRIES_MAX}")
    return int(text)


def seconds(text: str) -> float:
    """Read a time in seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= _SECONDS_MAX:  # NaN neither
        raise ValueError(f"it must be a number of seconds, more than 0 and at most {_SECONDS_MAX}")
    return value


def kind(text: str) -> str:
    """Read a type of tasks."""
    word = text.strip().lower()
    if word not in TYPES:
        raise ValueError(f"it must be one of {', '.join(TYPES)}")
    return word


def words(text: str) -> tuple[str, ...]:
    """Split a command as a POSIX shell does."""
    try:
        found = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(
            f"it cannot be split into words: {str(error).lower()}; direct = true hands it to a shell"
        ) from None
    if not found or not found[0]:
        raise ValueError("it has no word in it")
    return found


def for_shells(text: str) -> str:
    """Return the first part of a command that means something to a shell alone; empty for none."""
    found = _OPERATOR.search(_QUOTED.sub("_", text)) or _VARIABLE.search(_SINGLY_QUOTED.sub("_", text))
    return found[0] if found else ""
