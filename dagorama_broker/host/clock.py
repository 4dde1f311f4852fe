"""The broker's clock.

It shows wall time as it was at the start, carried on by a clock that nobody sets: a correction of the wall clock moves
no lease, deadline or backoff. Where the system has such a clock (Linux: `CLOCK_BOOTTIME`), it also counts the time for
which the machine was suspended. The monotonic clock, and with it the timers of the event loop, leave that out.
"""

import time

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Clock:
    """Tells the time in seconds since the epoch; it never goes back."""

    def __init__(self) -> None:
        self.offset_s = time.time() - self.uptime_s()  #: what is added to the uptime
        self._suspended_s = self.suspended_s()

    @staticmethod
    def uptime_s() -> float:
        """Return the seconds since the machine was started, or since some other fixed moment."""
        return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)

    def now(self) -> float:
        """Return the time."""
        return self.uptime_s() + self.offset_s

    def suspended_s(self) -> float:
        """Return for how long the machine has been suspended since a fixed moment; 0 where that is not known."""
        return self.uptime_s() - time.monotonic() if _BOOTTIME is not None else 0.0

    def slept_s(self) -> float:
        """Return for how long the machine has been suspended since the last call."""
        before, self._suspended_s = self._suspended_s, self.suspended_s()
        return max(0.0, self._suspended_s - before)
