"""The bars of a timeline: a row for each worker, in it a lane for each node that it ran at once, in them the runs.

Long times in which nothing ran are compressed. Of a hundred thousand bars a page shows no more than it has pixels, so
bars that are narrower than one are put together where they stand.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dagorama.analysis.columns import Columns, revived_at
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


@dataclass(slots=True, kw_only=True)
class Timeline:
    """All bars of an instance, in columns, by lane and then by time."""

    axis: Axis
    rows: list[Row]
    nodes: array[int] = field(default_factory=lambda: array("q"))
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
                found.append(
                    Bar(of_lane, self.ready[number], self.granted[number], started, end, self.nodes[number], 1)
                )
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

    def _several(self, lane: int, first: int, count: int, begin: float, end: float) -> Bar:
        if count == 1:
            return Bar(lane, self.ready[first], self.granted[first], begin, end, self.nodes[first], 1)
        return Bar(lane, begin, begin, begin, end, self.nodes[first], count)


def timeline_of(nodes: Columns, *, now: float) -> Timeline:
    """Return the timeline of an instance as it stands now."""
    runs = sorted(
        (nodes.started_at[place], max(nodes.returned_at[place] or now, nodes.started_at[place]), place)
        for place in range(len(nodes))
        if nodes.workers[place] and nodes.started_at[place]
    )
    axis = Axis(
        _merged(sorted((nodes.granted_at[place] or started, end) for started, end, place in runs)),
        nodes.began_at,
        max([nodes.began_at, *[end for _, end, _ in runs]]),
    )
    by_worker: dict[str, list[tuple[float, float, int]]] = {}
    for run in runs:
        by_worker.setdefault(nodes.workers[run[2]], []).append(run)
    timeline = Timeline(axis=axis, rows=[])
    lanes = 0
    for worker in sorted(by_worker):
        of_worker = by_worker[worker]
        numbers = lanes_of([(started, end) for started, end, _ in of_worker], overlap_s=REPORTED_S, lanes_max=LANES_MAX)
        count = max(numbers) + 1
        timeline.rows.append(Row(worker, lanes, count, len(of_worker)))
        for number, (started, end, place) in sorted(zip(numbers, of_worker, strict=True)):
            granted = min(nodes.granted_at[place] or started, started)
            timeline.nodes.append(place)
            timeline.lanes.append(lanes + number)
            timeline.ready.append(axis.place(min(_ready_at(nodes, place), granted)))
            timeline.granted.append(axis.place(granted))
            timeline.started.append(axis.place(started))
            timeline.ended.append(axis.place(end))
        lanes += count
    return timeline


def _ready_at(nodes: Columns, place: int) -> float:
    """Return when all that a node depends on was there, and it had begun anew where it has."""
    since = revived_at(nodes, place) if nodes.revived_at else 0.0
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
