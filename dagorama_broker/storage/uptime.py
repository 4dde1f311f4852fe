"""Wall time as against a clock that nobody sets.

Times are stored as wall time. When the clock of a machine was wrong and is set right, times from before cannot be
compared with its present ones. But the machine also counts since its start, so for as long as it is not started again
it is known by how much the clock was set.
"""

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def uptime_s() -> float:
    """Return the seconds since the machine was started, with those of suspension where the system counts them."""
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)


def wall_offset_s() -> float:
    """Return the difference between wall time and the uptime."""
    return time.time() - uptime_s()


def boot_id() -> str | None:
    """Return an id of this start of the machine, None where the system has none."""
    try:
        return _BOOT_ID.read_text().strip() or None
    except OSError:
        return None
