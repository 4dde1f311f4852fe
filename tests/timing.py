"""How long things take, on machines that may be busy with something else."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from warnings import catch_warnings, simplefilter, warn

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


def with_more_time(check: Callable[[int], None], *times_s: int) -> None:
    """Run a check with a time, in seconds; where it fails, again with the next, which is longer. The last has the say.

    It is for what holds only where something is done within that time, as a lease is renewed, and for which the check
    has to wait: a busy machine may be late for it. What is wrong with the code fails with all of them; pytest shows
    what failed with the shorter ones among the warnings, as it may have had another reason.
    """
    *shorter, longest = times_s
    for time_s in shorter:
        try:
            return check(time_s)
        except Exception as error:
            with catch_warnings():
                simplefilter("always")  # which fail a test otherwise
                warn(f"it is tried again, as it failed with {time_s} s: {error!r}", stacklevel=2)
    return check(longest)


def until(tells: Callable[[], object], *, within_s: float = WAIT_S) -> None:
    """Wait for what nothing announces until it is so. `AssertionError` where it is not within that time, in seconds."""
    give_up_at = monotonic() + within_s
    while not tells():
        assert monotonic() < give_up_at, f"it has not come to that within {within_s:g} s"
        sleep(0.01)
