"""The marks that promises leave in payloads, and the part of them that no promise is needed for.

A payload names each function that stands in it for a promise, or looks after some, as one of `dagorama.models.promise`.
All payloads that are stored have those names, so they must stay what they are.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterable, Sized
from itertools import islice
from typing import cast

from dagorama.calls.references import Reference, is_referring, read_references
from dagorama.errors import PayloadError

#: The module by which payloads name placeholders, and what a payload has where it names it.
MODULE = "dagorama.models.promise"
MARK = MODULE.encode()

#: Stands among the ids of promises that were met where some of them may be keys.
SOME_ARE_KEYS = b""
#: Stands among them where values were met that were put, with the references of these.
SOME_ARE_STORED = b"\0"
#: A payload has this where a value was met that was put, however small.
STORED = b"stored_value"

#: How many keys are shown of a mapping that has lost some, and how much of them.
KEYS_SHOWN_MAX = 5
KEY_CHARS_MAX = 200


class Exchange(threading.local):
    """The work of promises and placeholders in this thread at present: neither unless a payload is in the works."""

    #: While encoding: the ids of the promises met so far, in order, and the marks above.
    recorded: dict[bytes, object] | None = None
    #: While decoding: gives the value for an id.
    value_of: Callable[[bytes], object] | None = None
    #: While decoding what refers to stored values: gives that of a payload within.
    stored: Callable[[bytes], object] | None = None


exchange = Exchange()


def note_stored(payload: bytes) -> None:
    """Have what is being encoded refer to the values that a payload within it refers to: only so they are kept."""
    recorded = exchange.recorded
    if recorded is not None and is_referring(payload):
        met = cast("dict[Reference, None]", recorded.setdefault(SOME_ARE_STORED, {}))
        met.update(dict.fromkeys(read_references(payload).references))


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


def stored_value(payload: bytes) -> object:
    """Stand for a value that was put, which is encoded by itself: return it, each time another object."""
    if not is_referring(payload):
        return pickle.loads(payload)
    if exchange.stored is None:
        raise PayloadError(
            what="a value that was put",
            problem="it is stored by a broker, and none is asked here",
            way_out="Ask for it by an instance, as with resolve().",
        )
    return exchange.stored(payload)


stored_value.__module__ = MODULE
