"""Mappings with promises as keys: two keys that turn out to have the same value may not become one in silence.

Pickle fills a dictionary item by item, and of two equal keys the later takes the place of the earlier. So a value is
followed, in the payload itself, by a call of `distinct_keys` for each such mapping in it, with the number of its keys.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from io import BytesIO
from operator import getitem
from typing import Any

from dagorama.calls.misuse import has_promise
from dagorama.calls.placeholders import distinct_keys


def dumps_with_keys(value: object, protocol: int) -> bytes:
    """Pickle a value with the checks of its mappings."""
    file = BytesIO()
    dump_with_keys(value, protocol, file)
    return file.getvalue()


def dump_with_keys(
    value: object, protocol: int, file: Any, buffer_callback: Callable[[pickle.PickleBuffer], bool] | None = None
) -> None:
    """Write such a pickle to a file. `buffer_callback` is pickle's own: it tells whether a buffer stays in it."""
    pickler = _Pickler(file, protocol, buffer_callback)
    pickler.dump(_Checked(value, pickler.checks))


class _Pickler(pickle.Pickler):
    """Collects the mappings to check while it writes: it asks for the persistent id of every object that it meets."""

    def __init__(self, file: Any, protocol: int, buffer_callback: Callable[[pickle.PickleBuffer], bool] | None) -> None:
        super().__init__(file, protocol, buffer_callback=buffer_callback)
        self.checks: list[_Check] = []
        self._met: set[int] = set()

    def persistent_id(self, obj: Any) -> None:
        """Return no id for any object."""
        if issubclass(type(obj), dict) and id(obj) not in self._met:
            self._met.add(id(obj))
            if any(map(has_promise, dict.keys(obj))):
                self.checks.append(_Check(obj))


class _Check:
    """Pickles as the check of a mapping."""

    def __init__(self, mapping: dict[object, object]) -> None:
        self._mapping = mapping

    def __reduce__(self) -> tuple[object, ...]:
        return distinct_keys, (self._mapping, dict.__len__(self._mapping))


class _Checked:
    """Pickles as a call that gives a value once its checks are done."""

    def __init__(self, value: object, checks: list[_Check]) -> None:
        self._value = value
        self._checks = checks

    def __reduce__(self) -> tuple[object, ...]:
        # The checks are written when all of the value is, and they are known.
        return getitem, ((self._value, self._checks), 0)
