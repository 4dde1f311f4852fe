"""The bars of a timeline: lanes, compressed gaps, few bars for many, and the critical path of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dagorama.analysis.bars import Axis, timeline_of
from dagorama.analysis.columns import critical_places, facts_of, joined_at


@dataclass
class Nodes:
    """Nodes in columns, made of (worker, created, granted, started, returned, finished) from the begin at 100."""

    times: Sequence[tuple[str, float, float, float, float, float]]
    parents: Sequence[int]
    dependencies: Sequence[Sequence[int]]
    began_at: float = 100.0
    revived_at: Sequence[float] = ()
    attempts: Sequence[tuple[int, str, float, float, float]] = ()

    def __len__(self) -> int:
        return len(self.times)

    def _at(self, column: int) -> list[float]:
        return [float(one[column]) and self.began_at + float(one[column]) for one in self.times]

    @cached_property
    def functions(self) -> list[str]:
        return [f"m:E.f{place}" for place in range(len(self))]

    @cached_property
    def states(self) -> list[str]:
        return ["completed" if one[5] else "leased" for one in self.times]

    @cached_property
    def labels(self) -> list[str]:
        return [""] * len(self)

    @cached_property
    def workers(self) -> list[str]:
        return [one[0] for one in self.times]

    @cached_property
    def created_at(self) -> list[float]:
        return [self.began_at + one[1] for one in self.times]

    @cached_property
    def granted_at(self) -> list[float]:
        return self._at(2)

    @cached_property
    def started_at(self) -> list[float]:
        return self._at(3)

    @cached_property
    def returned_at(self) -> list[float]:
        return self._at(4)

    @cached_property
    def finished_at(self) -> list[float]:
        return self._at(5)


def plain(*times: tuple[str, float, float, float, float, float]) -> Nodes:
    """Return nodes that nobody made and that depend on nothing."""
    return Nodes(times, [-1] * len(times), [()] * len(times))


def test_runs_at_once_have_lanes_of_their_own() -> None:
    """Each worker has as many as it ran nodes at once, and a bar says when its node waited, was granted and ran."""
    timeline = timeline_of(
        plain(("b", 0, 1, 2, 5, 5), ("a", 0, 1, 2, 5, 5), ("a", 0, 3, 4, 7, 7), ("a", 0, 5, 6, 8, 8)), now=200.0
    )
    assert [tuple(row) for row in timeline.rows] == [("a", 0, 2, 3), ("b", 2, 1, 1)]
    assert [tuple(bar)[:7] for bar in timeline.reduced(0, 8, 800)] == [
        (0, 0, 1, 2, 5, 1, 1),
        (0, 0, 5, 6, 8, 3, 1),
        (1, 0, 3, 4, 7, 2, 1),
        (2, 0, 1, 2, 5, 0, 1),
    ]


def test_earlier_attempts_have_bars_of_their_own() -> None:
    """They stand where they ran, and the time after each is no wait from the begin of the node on."""
    nodes = plain(("a", 0, 4.25, 4.25, 5, 5))
    nodes.attempts = [(0, "b", 101.0, 101.5, 102.0), (0, "a", 102.5, 102.5, 103.5)]
    timeline = timeline_of(nodes, now=200.0)
    assert [(row.worker, row.nodes) for row in timeline.rows] == [("a", 2), ("b", 1)]
    assert [tuple(bar) for bar in timeline.reduced(0, 9, 900)] == [
        (0, 2, 2.5, 2.5, 3.5, 0, 1, True, True),
        (0, 3.5, 4.25, 4.25, 5, 0, 1, False, True),
        (1, 0, 1, 1.5, 2, 0, 1, True, False),
    ]


def test_an_attempt_after_a_revival_has_not_waited_since_before() -> None:
    """A node that began anew was ready from then on."""
    nodes = plain(("a", 0, 4.25, 4.25, 5, 5))
    nodes.attempts, nodes.revived_at = [(0, "a", 101.0, 101.0, 103.5)], [103.75]
    bars = timeline_of(nodes, now=200.0).reduced(0, 9, 900)
    assert [bar.granted - bar.ready for bar in bars] == [1, 0.5]


def test_a_running_node_goes_on_until_now_and_one_that_has_not_begun_has_no_bar() -> None:
    """The timeline of a running instance is that of the moment."""
    timeline = timeline_of(plain(("a", 0, 1, 1, 0, 0), ("", 0, 0, 0, 0, 0)), now=104.0)
    assert [tuple(bar)[:7] for bar in timeline.reduced(0, 9, 900)] == [(0, 0, 1, 1, 4, 0, 1)]
    assert timeline_of(plain(), now=104.0).reduced(0, 1, 100) == []


def test_long_gaps_are_compressed() -> None:
    """An hour in which nothing ran is narrow, its length is kept, and all that ran is as wide as before."""
    timeline = timeline_of(plain(("a", 0, 0.5, 0.5, 10, 10), ("a", 3600, 3610, 3610, 3620, 3620)), now=9999.0)
    (gap,) = timeline.axis.gaps
    assert (round(gap.ended_at - gap.began_at), gap.left) == (3600, 10)
    assert gap.right - gap.left < 1
    bars = timeline.reduced(0, timeline.axis.length, 1000)
    assert round(bars[1].ended - bars[1].started, 6) == 10
    assert timeline.axis.length < 25


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e4)), max_size=20))
def test_the_axis_keeps_the_order_of_times(spans: list[tuple[float, float]]) -> None:
    """However it is compressed, what was later stands no further left."""
    busy: list[tuple[float, float]] = []
    for begin, lasts in sorted(spans):
        if not busy or begin > busy[-1][1]:
            busy.append((begin, begin + lasts))
    axis = Axis(busy, 0.0, 2e6)
    times = sorted({0.0, 2e6, *[at for span in busy for at in span]})
    places = [axis.place(at) for at in times]
    assert all(before <= after + 1e-9 for before, after in pairwise(places))
    assert axis.length >= places[-1] - 1e-6


def test_many_bars_are_as_few_as_there_are_pixels() -> None:
    """All runs are in them, and of a part only that part."""
    times = [("a", 0.0, at / 1000, at / 1000, at / 1000 + 0.0005, at / 1000 + 0.0005) for at in range(1, 20_001)]
    timeline = timeline_of(plain(*times), now=200.0)
    bars = timeline.reduced(0, timeline.axis.length, 800)
    assert len(bars) <= 2 * 800
    assert sum(bar.nodes for bar in bars) == 20_000
    part = timeline.reduced(10.0, 10.02, 800)
    assert (len(part), {bar.nodes for bar in part}) == (len(part), {1})
    assert 15 < len(part) < 25


def test_the_critical_path_goes_by_calls_dependencies_and_joins() -> None:
    """From the node that ended last: what it joined, what that waited for longest, and who made it."""
    nodes = Nodes(
        [
            ("a", 0, 0.1, 0.2, 1, 9),  # entrypoint: returned a promise of 3
            ("a", 1, 1, 1, 3, 3),
            ("b", 1, 1, 1, 6, 6),  # the slower of two
            ("a", 1, 6, 6, 9, 9),  # needs both
        ],
        [-1, 0, 0, 0],
        [(), (), (), (1, 2)],
    )
    assert critical_places(nodes, now=200.0) == [0, 2, 3]
    assert critical_places(plain(), now=200.0) == []
    assert [fact.has_joined for fact in facts_of(nodes)] == [True, False, False, False]
    assert joined_at(nodes) == {0: 101.0}


def test_a_report_that_waited_is_no_join() -> None:
    """A node has ended later than its function where a broker was away; its calls came into being when it ended."""
    nodes = Nodes([("a", 0, 0, 0, 1, 9), ("a", 9, 9, 9, 12, 12)], [-1, 0], [(), ()])
    assert [fact.has_joined for fact in facts_of(nodes)] == [False, False]
    assert joined_at(nodes) == {}
    assert critical_places(nodes, now=200.0) == [0, 1]
