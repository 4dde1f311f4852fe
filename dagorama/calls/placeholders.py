"""The marks that promises leave in payloads, and the part of them that no promise is needed for.

A payload names each function that stands in it for a promise, or looks after some, as one of `dagorama.models.promise`.
All payloads that are stored have those names, so they must stay what they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sized
from itertools import islice
from typing import cast

from dagorama.errors import PayloadError

#: The module by which payloads name placeholders, and what a payload has where it names it.
MODULE = "dagorama.models.promise"
MARK = MODULE.encode()

#: Stands among the ids of promises that were met where some of them may be keys.
SOME_ARE_KEYS = b""

#: How many keys are shown of a mapping that has lost some, and how much of them.
KEYS_SHOWN_MAX = 5
KEY_CHARS_MAX = 200


class Exchange(threading.local):
    """The work of promises and placeholders in this thread at present: neither unless a payload is in the works."""

    #: While encoding: the ids of the promises met so far, in order.
    recorded: dict[bytes, None] | None = None
    #: While decoding: gives the value for an id.
    value_of: Callable[[bytes], object] | None = None


exchange = Exchange()


def distinct_keys(mapping: Sized, count: int) -> None:
    """Check a mapping that had `count` keys before the promises among them became values."""
    kept = dict.__len__(mapping) if isinstance(mapping, dict) else len(mapping)
    if kept < count:
        left = ", ".join(map(repr, islice(cast(Iterable[object], mapping), KEYS_SHOWN_MAX)))[:KEY_CHARS_MAX]
        raise PayloadError(
            what=f"a {type(mapping).__qualname__} with promises as keys",
            problem=f"two promises used as keys have the same value: of {count} keys it would keep {kept} ({left})",
            way_out="Count or group inside a decorated method, which gets values: pass it a list, or a list of pairs.",
            is_everywhere=True,
        )


distinct_keys.__module__ = MODULE
