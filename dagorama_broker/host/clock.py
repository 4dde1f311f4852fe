"""The broker's clock.

It shows wall time as it was at the start, carried on by a clock that nobody sets: a correction of the wall clock moves
no lease, deadline or backoff. Where the system has such a clock (Linux: `CLOCK_BOOTTIME`), it also counts the time for
which the machine was suspended. The monotonic clock, and with it the timers of the event loop, leave that out.
"""

import time

from dagorama_broker.storage.uptime import uptime_s, wall_offset_s


class Clock:
    """Tells the time in seconds since the epoch; it never goes back."""

    def __init__(self) -> None:
        self._offset_s = wall_offset_s()
        self._suspended_s = uptime_s() - time.monotonic()

    def now(self) -> float:
        """Return the time."""
        return uptime_s() + self._offset_s

    def slept_s(self) -> float:
        """Return for how long the machine has been suspended since the last call, as far as the system tells."""
        before, self._suspended_s = self._suspended_s, uptime_s() - time.monotonic()
        return max(0.0, self._suspended_s - before)
