"""How long things take, on machines that may be busy with something else."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

#: Waiting for anything ends after so long: a machine may be slow.
WAIT_S = 90.0


def least_s(measure: Callable[[], object], limit_s: float, *, tries: int = 5) -> float:
    """Return how long something takes at least, in seconds. It is tried again only where it takes the limit or longer.

    Whatever else the machine does is in the time of some tries, and what is wrong with the code in that of all. So what
    may be quick by chance, as what is polled for, has to be done several times in each try. What is measured may return
    a time of its own, as a float.
    """
    times_s: list[float] = []
    while not times_s or (min(times_s) >= limit_s and len(times_s) < tries):
        began_at = monotonic()
        measured = measure()
        times_s.append(measured if isinstance(measured, float) else monotonic() - began_at)
    return min(times_s)


def until(tells: Callable[[], object], *, within_s: float = WAIT_S) -> None:
    """Wait for what nothing announces until it is so. `AssertionError` where it is not within that time, in seconds."""
    give_up_at = monotonic() + within_s
    while not tells():
        assert monotonic() < give_up_at, f"it has not come to that within {within_s:g} s"
        sleep(0.01)
