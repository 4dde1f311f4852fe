"""A warning for long-lived programs: a file that they have loaded was edited since, so they start old code."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from weakref import WeakKeyDictionary

from dagorama.code.signature import changed_file
from dagorama.logging import get_logger

#: How often the files of a function are looked at, at most.
LOOK_INTERVAL_S = 1.0

#: By function, when its files are to be looked at again, by `time.monotonic()`; never once that was told.
_look_at: WeakKeyDictionary[Callable[..., object], float] = WeakKeyDictionary()


def tell_if_edited(function: Callable[..., object], owner: type, name: str) -> None:
    """Log, once for each function, that its files have changed since they were loaded."""
    now = monotonic()
    if now < _look_at.get(function, 0.0):
        return
    path = changed_file(function, owner=owner)
    _look_at[function] = now + LOOK_INTERVAL_S if path is None else inf
    if path is not None:
        get_logger().warning(
            "the file of %s has changed since this program loaded it: it starts the old code, which workers that were "
            "restarted since do not have; restart the program (%s)",
            name,
            path,
        )
