"""Lanes for runs, so that runs in one lane follow each other."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

#: Ends are told when reports come, several together: short runs that overlap by less may have been one after the other.
REPORTED_S = 0.002


def lanes_of(runs: Iterable[tuple[float, float]], *, overlap_s: float = 0.0, lanes_max: int | None = None) -> list[int]:
    """Return a lane, from 0, for each run, given its begin and end in seconds, the earliest begin first.

    They are as few as can be: interval partitioning, by the first lane that is free (Kleinberg and Tardos, 2005, 4.1).
    Runs that overlap by no more than `overlap_s` count as one after the other. Where there would be more than
    `lanes_max` lanes, a run shares the one that is free next.
    """
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    found = []
    for began_at, ended_at in runs:
        while busy and busy[0][0] <= began_at + min(overlap_s, ended_at - began_at):
            heappush(free, heappop(busy)[1])
        if free:
            lane = heappop(free)
        elif lanes_max is None or len(busy) < lanes_max:
            lane = len(busy)
        else:
            lane = heappop(busy)[1]
        heappush(busy, (ended_at, lane))
        found.append(lane)
    return found
