"""The lanes of runs: as few as can be, without overlap but where that is asked for."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dagorama.analysis.lanes import lanes_of

SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=40)


@given(SPANS)
def test_lanes_are_as_few_as_runs_at_once(spans: list[tuple[int, int]]) -> None:
    """No two runs of a lane overlap, and there are as many lanes as runs at once, at most."""
    runs = sorted((float(begin), float(begin + length)) for begin, length in spans if length)
    lanes = lanes_of(runs)
    for lane in set(lanes):
        own = [run for run, of_run in zip(runs, lanes, strict=True) if of_run == lane]
        assert all(before[1] <= after[0] for before, after in pairwise(own))
    at_once = max((sum(begin <= at < end for begin, end in runs) for at, _ in runs), default=0)
    assert set(lanes) == set(range(at_once))


def test_runs_that_overlap_by_little_share_a_lane() -> None:
    """An overlap as long as is allowed is none; a longer one takes another lane."""
    assert lanes_of([(0.0, 1.0), (0.75, 2.0)], overlap_s=0.25) == [0, 0]
    assert lanes_of([(0.0, 1.0), (0.5, 2.0)], overlap_s=0.25) == [0, 1]


def test_more_runs_at_once_than_lanes_share_them() -> None:
    """A run takes the lane that is free next."""
    assert lanes_of([(0.0, 5.0), (0.0, 3.0), (1.0, 9.0)], lanes_max=2) == [0, 1, 1]
