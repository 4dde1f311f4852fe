"""The line of text for the time of an instance."""

from __future__ import annotations

from math import isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagorama.analysis.phases import History
from dagorama.analysis.timeline import ASCII, bar, busy_spans, most_at_once, running_at_once
from tests.unit.analysis.histories import history, instances, node


def ladder() -> History:
    """Makes an instance in which one node runs, then two, then none, then one."""
    return history(
        node("a", ended=2.0, started_at=0.0),
        node("b", ended=2.0, started_at=1.0),
        node("c", created=3.0, ended=4.0, started_at=3.0),
    )


def test_nodes_that_run_at_once_are_counted_in_each_part() -> None:
    """A part has the average of the nodes that ran in it."""
    spans = busy_spans(ladder())
    assert running_at_once(spans, began_at=0.0, ended_at=4.0, parts=4) == [1.0, 2.0, 0.0, 1.0]
    assert running_at_once(spans, began_at=0.0, ended_at=4.0, parts=2) == [1.5, 0.5]
    assert bar([1.0, 2.0, 0.0, 1.0]) == "▄█ ▄"
    assert most_at_once(spans) == 2


def test_earlier_attempts_ran_too() -> None:
    """A node that was tried again is in each part in which an attempt of it ran, on whatever worker."""
    tried = node("a", ended=4.0, started_at=3.0, worker="w1", attempts=(("w2", 0.0, 1.0), ("w1", 1.0, 2.0)))
    spans = busy_spans(history(tried))
    assert running_at_once(spans, began_at=0.0, ended_at=4.0, parts=4) == [1.0, 1.0, 0.0, 1.0]
    assert sorted((span.node.worker, span.began_at) for span in spans) == [("w1", 1.0), ("w1", 3.0), ("w2", 0.0)]


def test_one_function_has_a_line_of_its_own() -> None:
    """Only its nodes are counted."""
    spans = busy_spans(ladder(), "m:D.b")
    assert running_at_once(spans, began_at=0.0, ended_at=4.0, parts=4) == [0.0, 1.0, 0.0, 0.0]


def test_little_is_more_than_nothing() -> None:
    """A value that would be drawn as nothing is drawn as the least there is, in ASCII too."""
    assert bar([0.0, 0.001, 8.0]) == " ▁█"
    assert bar([0.0, 0.001, 8.0], blocks=ASCII) == " .%"
    assert bar([0.0, 0.0]) == "  "


@pytest.mark.parametrize("parts", [0, 1, 7])
def test_no_time_has_no_line(parts: int) -> None:
    """An instance that took no time has nothing to draw, and no division by it."""
    assert running_at_once([], began_at=3.0, ended_at=3.0, parts=parts) == [0.0] * parts


@settings(max_examples=40)
@given(instances(), st.integers(1, 50))
def test_a_line_has_all_the_time_of_the_nodes_in_it(found: History, parts: int) -> None:
    """The area under the line is the sum of all runs, however many parts it has."""
    spans = busy_spans(found)
    values = running_at_once(spans, began_at=found.began_at, ended_at=found.ended_at, parts=parts)
    area = sum(values) * found.makespan_s / parts
    assert isclose(area, sum(span.duration_s for span in spans), abs_tol=1e-6)
    assert max(values) <= most_at_once(spans) + 1e-9


def test_short_runs_that_one_worker_told_of_together_were_one_after_the_other() -> None:
    """All of a report end when it comes; on two workers, and where they are long, they were at once."""

    def most(*runs: tuple[str, float, float]) -> int:
        nodes = [
            node(f"n{place}", ended=ended, started_at=began, worker=worker)
            for place, (worker, began, ended) in enumerate(runs)
        ]
        return most_at_once(busy_spans(history(*nodes, now=9.0)))

    short = [("w1", 5.0 - place * 1e-5, 5.0) for place in range(1, 100)]
    assert most(*short) == 1
    assert most(*short, ("w2", 4.9, 5.0)) == 2
    assert most(("w1", 3.0, 5.0), ("w1", 4.0, 5.0)) == 2
