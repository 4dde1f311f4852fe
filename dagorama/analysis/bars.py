"""The bars of a timeline: a row for each worker, in it a lane for each node that it ran at once, in them the runs.

Long times in which nothing ran are compressed. Of a hundred thousand bars a page shows no more than it has pixels, so
bars that are narrower than one are put together where they stand.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dagorama.analysis.columns import Columns
from dagorama.analysis.lanes import REPORTED_S, lanes_of

#: A gap is compressed where it is longer than this part of the time in which something ran, and than so many seconds.
GAP_PART, GAP_S = 0.08, 1.0
#: A compressed gap is as wide as this part of the time in which something ran.
GAP_WIDTH = 0.03

#: A worker has so many lanes at most; where it ran more nodes at once, they overlap.
LANES_MAX = 32


class Gap(NamedTuple):
    """A time in which nothing ran."""

    began_at: float
    ended_at: float
    #: Where it stands on the axis.
    left: float
    right: float


class Axis:
    """The time of a timeline, in seconds from its begin, in which long gaps are shorter than they were."""

    def __init__(self, busy: Sequence[tuple[float, float]], began_at: float, ended_at: float) -> None:
        """Take the times in which something ran, sorted, without overlap."""
        total = sum(end - begin for begin, end in busy)
        least = max(total * GAP_PART, GAP_S)
        width = max(total * GAP_WIDTH, 1e-6)
        self.gaps: list[Gap] = []
        #: Where pieces begin: as times, and on the axis; and how fast the axis goes in each.
        self._times, self._places, self._speeds = [began_at], [0.0], [1.0]
        cursor = began_at
        for begin, end in [*busy, (ended_at, ended_at)]:
            if begin - cursor > least and total > 0:
                left = self._piece(cursor, width / (begin - cursor))
                right = self._piece(begin, 1.0)
                self.gaps.append(Gap(cursor, begin, left, right))
            cursor = max(cursor, end)
        self.length = max(self.place(max(ended_at, cursor)), 1e-6)

    def place(self, at: float) -> float:
        """Return where a time stands."""
        piece = max(bisect_right(self._times, at) - 1, 0)
        return self._places[piece] + max(at - self._times[piece], 0.0) * self._speeds[piece]

    def pieces(self) -> list[tuple[float, float, float]]:
        """Return the pieces of the axis: where each begins, at which time, and how fast it goes."""
        return list(zip(self._places, self._times, self._speeds, strict=True))

    def _piece(self, at: float, speed: float) -> float:
        place = self.place(at)
        if at > self._times[-1]:
            self._times.append(at)
            self._places.append(place)
            self._speeds.append(speed)
        else:
            self._speeds[-1] = speed
        return place


class Row(NamedTuple):
    """A worker, and the lanes that are its."""

    worker: str
    first_lane: int
    lanes: int
    nodes: int


class Bar(NamedTuple):
    """A run, or several that are too narrow to be told apart. All but the lane and the numbers are on the axis."""

    lane: int
    #: When it was ready, when it was granted, when its function began, and when that ended.
    ready: float
    granted: float
    started: float
    ended: float
    #: The place of the node; of several the first.
    node: int
    nodes: int
    #: Whether it is an attempt before the last, which gave no value.
    is_earlier: bool = False
    #: Whether it came after another attempt: then it is ready from the end of that on.
    is_again: bool = False


@dataclass(slots=True, kw_only=True)
class Timeline:
    """All bars of an instance, in columns, by lane and then by time."""

    axis: Axis
    rows: list[Row]
    nodes: array[int] = field(default_factory=lambda: array("q"))
    earlier: array[int] = field(default_factory=lambda: array("b"))
    again: array[int] = field(default_factory=lambda: array("b"))
    lanes: array[int] = field(default_factory=lambda: array("q"))
    ready: array[float] = field(default_factory=lambda: array("d"))
    granted: array[float] = field(default_factory=lambda: array("d"))
    started: array[float] = field(default_factory=lambda: array("d"))
    ended: array[float] = field(default_factory=lambda: array("d"))

    def reduced(self, left: float, right: float, pixels: int) -> list[Bar]:
        """Return the bars of a part of the axis for a picture of this width."""
        pixel = max(right - left, 1e-9) / max(pixels, 1)
        found: list[Bar] = []
        lane = first = count = -1
        begin = begun = 0.0
        for number, of_lane in enumerate(self.lanes):
            end, started = self.ended[number], self.started[number]
            if end < left or self.granted[number] > right:
                continue
            if end - started >= 1.5 * pixel:
                if count > 0:
                    found.append(self._several(lane, first, count, begin, begun))
                    count = -1
                found.append(self._one(number))
            elif count > 0 and of_lane == lane and started - begun <= pixel and end - begin <= 24 * pixel:
                count += 1
                begun = max(begun, end)
            else:
                if count > 0:
                    found.append(self._several(lane, first, count, begin, begun))
                lane, first, count, begin, begun = of_lane, number, 1, started, end
        if count > 0:
            found.append(self._several(lane, first, count, begin, begun))
        return found

    def _one(self, number: int) -> Bar:
        return Bar(
            self.lanes[number],
            self.ready[number],
            self.granted[number],
            self.started[number],
            self.ended[number],
            self.nodes[number],
            1,
            bool(self.earlier[number]),
            bool(self.again[number]),
        )

    def _several(self, lane: int, first: int, count: int, begin: float, end: float) -> Bar:
        if count == 1:
            return self._one(first)
        return Bar(lane, begin, begin, begin, end, self.nodes[first], count)


class _Run(NamedTuple):
    """An attempt of a node, as it is drawn."""

    started: float
    ended: float
    place: int
    worker: str
    granted: float
    ready: float
    is_earlier: bool
    is_again: bool


def timeline_of(nodes: Columns, *, now: float) -> Timeline:
    """Return the timeline of an instance as it stands now."""
    runs = sorted(_runs(nodes, now))
    axis = Axis(
        _merged(sorted((run.granted, run.ended) for run in runs)),
        nodes.began_at,
        max([nodes.began_at, *[run.ended for run in runs]]),
    )
    by_worker: dict[str, list[_Run]] = {}
    for run in runs:
        by_worker.setdefault(run.worker, []).append(run)
    timeline = Timeline(axis=axis, rows=[])
    lanes = 0
    for worker in sorted(by_worker):
        of_worker = by_worker[worker]
        numbers = lanes_of([(run.started, run.ended) for run in of_worker], overlap_s=REPORTED_S, lanes_max=LANES_MAX)
        count = max(numbers) + 1
        timeline.rows.append(Row(worker, lanes, count, len(of_worker)))
        for number, run in sorted(zip(numbers, of_worker, strict=True)):
            timeline.nodes.append(run.place)
            timeline.earlier.append(run.is_earlier)
            timeline.again.append(run.is_again)
            timeline.lanes.append(lanes + number)
            timeline.ready.append(axis.place(run.ready))
            timeline.granted.append(axis.place(run.granted))
            timeline.started.append(axis.place(run.started))
            timeline.ended.append(axis.place(run.ended))
        lanes += count
    return timeline


def _runs(nodes: Columns, now: float) -> Iterator[_Run]:
    """Yield all attempts that were granted to a worker. Each was ready no sooner than the one before had ended."""
    over_at: dict[int, float] = {}
    for place, worker, granted_at, started_at, ended_at in nodes.attempts:
        granted = min(granted_at, started_at)
        before = over_at.get(place, 0.0)
        ready = min(max(_ready_at(nodes, place, granted), before), granted)
        yield _Run(started_at, max(ended_at, started_at), place, worker, granted, ready, True, before > 0)
        over_at[place] = max(ended_at, before)
    for place, started in enumerate(nodes.started_at):
        if nodes.workers[place] and started:
            ended = max(nodes.returned_at[place] or now, started)
            granted = min(nodes.granted_at[place] or started, started)
            before = over_at.get(place, 0.0)
            ready = min(max(_ready_at(nodes, place, granted), before), granted)
            yield _Run(started, ended, place, nodes.workers[place], granted, ready, False, before > 0)


def _ready_at(nodes: Columns, place: int, granted_at: float) -> float:
    """Return when all that a node depends on was there, and it had begun anew where it has before it was granted."""
    since = max([at for at in nodes.revived_at if nodes.created_at[place] < at <= granted_at], default=0.0)
    return max([since, nodes.created_at[place], *[nodes.finished_at[one] for one in nodes.dependencies[place]]])


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return spans, which are sorted, with those as one that overlap."""
    found: list[tuple[float, float]] = []
    for begin, end in spans:
        if found and begin <= found[-1][1]:
            if end > found[-1][1]:
                found[-1] = found[-1][0], end
        else:
            found.append((begin, max(begin, end)))
    return found
