"""Settings of programs that make calls: whether nodes run inline, are traced, show their arguments, and who asks."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

INLINE_ENVIRONMENT_FLAG = "DAGORAMA_INLINE"
INPUTS_ENVIRONMENT_FLAG = "DAGORAMA_INPUTS"
TRACES_ENVIRONMENT_FLAG = "DAGORAMA_TRACES"
ACTOR_ENVIRONMENT_FLAG = "DAGORAMA_ACTOR"

#: The broker keeps names of this length, with what was done.
ACTOR_LENGTH_MAX = 200

_acting: ContextVar[str] = ContextVar("dagorama_acting", default="")

_YES = {"1", "true", "yes", "on"}
_NO = {"", "0", "false", "no", "off"}


def should_run_inline() -> bool:
    """Return whether `DAGORAMA_INLINE` has nodes run inline now; `ValueError` if it is neither true nor false."""
    return _is_set(INLINE_ENVIRONMENT_FLAG, "")


def should_show_inputs() -> bool:
    """Return whether the arguments of calls made here may be shown; `ValueError` if `DAGORAMA_INPUTS` is neither."""
    return _is_set(INPUTS_ENVIRONMENT_FLAG, "1")


def should_trace() -> bool:
    """Return whether `DAGORAMA_TRACES` has instances traced by OpenTelemetry; `ValueError` if it is neither."""
    return _is_set(TRACES_ENVIRONMENT_FLAG, "")


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Have what this block asks of the broker kept in its history as done by `name`, as long as the block lasts.

    It is what people are shown, and proves nothing. It holds in this thread or task. Without it `DAGORAMA_ACTOR` is the
    name, or else the user and the host. `ValueError` for what is no name of 1 to 200 characters.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= ACTOR_LENGTH_MAX or "\0" in name:
        raise ValueError(f"name must be a text of 1 to {ACTOR_LENGTH_MAX} characters, not {name!r}")
    token = _acting.set(name)
    try:
        yield
    finally:
        _acting.reset(token)


def actor() -> str:
    """Return who asks the broker for something now, as its history is to tell."""
    return _acting.get() or os.environ.get(ACTOR_ENVIRONMENT_FLAG, "").replace("\0", "")[:ACTOR_LENGTH_MAX] or user()


@cache
def user() -> str:
    """Return the user and the host of this process, as "user@host"."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # nobody has this user's number
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"[:ACTOR_LENGTH_MAX]


def _is_set(flag: str, default: str) -> bool:
    text = os.environ.get(flag, default)
    word = text.strip().lower()
    if word not in _YES | _NO:
        raise ValueError(f"{flag}={text!r} is neither true nor false: use 1 or 0")
    return word in _YES
