"""The broker's clock: an argument of the host, as every wait of it is a timer of the event loop.

So a loop and a clock that agree on another time than the machine's take a broker through it: see decision 0019.
"""

import time
from typing import Protocol

from dagorama_broker.storage.uptime import uptime_s, wall_offset_s


class Clock(Protocol):
    """Tells the time in seconds."""

    def now(self) -> float:
        """Return the time since the epoch; it never goes back."""
        ...

    def slept_s(self) -> float:
        """Return for how long the machine has been suspended since the last call, as far as the system tells."""
        ...

    def counter(self) -> float:
        """Return seconds to be subtracted from each other, exact enough for spans of less than a millisecond."""
        ...


class SystemClock:
    """Tells the time of this machine.

    It shows wall time as it was at the start, carried on by a clock that nobody sets: a correction of the wall clock
    moves no lease, deadline or backoff. Where the system has such a clock (Linux: `CLOCK_BOOTTIME`), it also counts the
    time for which the machine was suspended. The monotonic clock, and with it the timers of the event loop, leave that
    out.
    """

    def __init__(self) -> None:
        self._offset_s = wall_offset_s()
        self._suspended_s = uptime_s() - time.monotonic()

    def now(self) -> float:
        """Return the time since the epoch; it never goes back."""
        return uptime_s() + self._offset_s

    def slept_s(self) -> float:
        """Return for how long the machine has been suspended since the last call, as far as the system tells."""
        before, self._suspended_s = self._suspended_s, uptime_s() - time.monotonic()
        return max(0.0, self._suspended_s - before)

    def counter(self) -> float:
        """Return the finest clock that there is."""
        return time.perf_counter()
