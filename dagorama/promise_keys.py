"""Mappings with promises as keys: two keys that turn out to have the same value may not become one in silence.

Pickle fills a dictionary item by item, and of two equal keys the later takes the place of the earlier. So what has been
filled is followed, in the payload itself, by a call of `distinct_keys` with the number of its keys.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sized
from typing import Any

from dagorama.models.promise import distinct_keys

#: Keys of these types hold no promises.
_PLAIN = frozenset({str, int, bool, float, bytes, type(None)})

#: Python's own pickler in Python: the one in C does not show a `dict` to anybody.
_Pickler: Any = pickle._Pickler


class KeysPickler(_Pickler):  # type: ignore[misc]
    """Writes mappings with their check."""

    def check(self, mapping: object, keys: Iterable[object], count: int) -> None:
        """Writes the check of a mapping, which is on top of the stack, and stays there."""
        if any(type(key) not in _PLAIN for key in keys):
            self.save(distinct_keys)
            self.write(self.get(self.memo[id(mapping)][0]))
            self.save(count)
            self.write(pickle.TUPLE2 + pickle.REDUCE + pickle.POP)

    def save_dict(self, mapping: dict[object, object]) -> None:
        """Writes a plain dictionary."""
        super().save_dict(mapping)
        self.check(mapping, mapping, len(mapping))

    def save_reduce(
        self,
        func: Any,
        args: Any,
        state: Any = None,
        listitems: Any = None,
        dictitems: Any = None,
        state_setter: Any = None,
        *,
        obj: Any = None,
    ) -> None:
        """Writes an object of another kind; one with items, such as a `defaultdict`, has keys."""
        items = None if dictitems is None else list(dictitems)
        super().save_reduce(func, args, state, listitems, None if items is None else iter(items), state_setter, obj=obj)
        if items and isinstance(obj, Sized):
            self.check(obj, [key for key, _ in items], len(items))

    dispatch = {**_Pickler.dispatch, dict: save_dict}  # noqa: RUF012 - as its base has it
