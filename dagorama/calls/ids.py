"""Ids: 16 bytes each, laid out as a UUID of version 7 (RFC 9562), so that they sort by the time they were made.

Within a process a later id is always the greater one, whatever the wall clock does: the time part comes from the
monotonic clock, set by the wall clock once, and a counter follows it. The counter starts at a random place in each
process, and again in a forked child, so two processes don't meet.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from itertools import count
from time import monotonic_ns, time_ns

#: The first half: 48 bits of milliseconds, 4 of version, 12 of the fraction of a millisecond.
VERSION = 0x7000
#: The second half: 2 bits of variant, then the counter, whose first bit starts at 0 so that it never runs over.
VARIANT = 0b10 << 62
COUNTER_START_MAX = 1 << 61

_pack = struct.Struct(">QQ").pack


#: The clock. A simulation has another.
_clock_ns: Callable[[], int] = monotonic_ns


def _seed() -> None:
    """Set the clock and the counter of this process."""
    global _offset_ns, _next
    _offset_ns = time_ns() - _clock_ns()
    _next = count(VARIANT | int.from_bytes(os.urandom(8), "big") % COUNTER_START_MAX).__next__


_offset_ns: int
_next: Callable[[], int]
_seed()
os.register_at_fork(after_in_child=_seed)


def new_id() -> bytes:
    """Return an id that is greater than all that this process made before. `UUID(bytes=...)` shows it to people."""
    milliseconds, rest_ns = divmod(_clock_ns() + _offset_ns, 1_000_000)
    return _pack(milliseconds << 16 | VERSION | (rest_ns << 12) // 1_000_000, _next())
