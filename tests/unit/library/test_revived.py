"""Instances that are retried or rerun after they had ended: the attempts of their nodes, and all times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dagorama import DAGDefinition, Instance, Node, context, dagorama, instances
from dagorama.analysis.bars import timeline_of
from dagorama.analysis.columns import revived_at
from dagorama.analysis.summary import analyze
from dagorama.cli.overview import took_in_words
from dagorama.cli.snapshots import history_of, snapshots_of
from dagorama.testing import in_process_broker

#: What nodes of `Ratio` divide by; a test changes it.
DIVISOR = {"by": 0}
#: Lets the broker's clock go on by so many seconds, which stands still while nodes run.
PASS: dict[str, Callable[[float], None]] = {}


class Ratio(DAGDefinition):
    """Divides."""

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        """Divide a number, and show it."""
        return self.show(self.divide(8), self.left())

    @dagorama().syncfn
    def left(self) -> int:
        """Give what no retry and no rerun touches."""
        PASS["s"](1)
        return 1

    @dagorama().syncfn
    def divide(self, number: int) -> float:
        """Divide, and print which attempt this is."""
        PASS["s"](1)
        print(f"this is attempt {context().attempt}")
        return number / DIVISOR["by"]

    @dagorama().syncfn
    def show(self, number: float, left: int) -> str:
        """Show."""
        PASS["s"](1)
        return str(number + left)


@pytest.fixture(autouse=True)
def broker() -> Iterator[None]:
    """Give a broker in this process."""
    with in_process_broker() as found:
        core = found._core
        PASS["s"] = lambda seconds: core.advance(core.now() + seconds)
        yield


def ended() -> Instance:
    """Give an instance that has failed by a node, was retried with success, and had that node run again then."""
    DIVISOR["by"] = 0
    instance, _ = Ratio()()
    with pytest.raises(Exception, match="division by zero"):
        instance.wait()
    PASS["s"](480)
    DIVISOR["by"] = 2
    instance.retry()
    assert instance.result() == "5.0"
    PASS["s"](60)
    node(instance, "divide").rerun({"number": 4})
    assert instance.result() == "3.0"
    (found,) = instances(limit=1)
    return found


def node(instance: Any, function: str) -> Node:
    """Give the only node of a function."""
    (found,) = instance.nodes(function=function)
    return found  # type: ignore[no-any-return]


def test_attempts_count_on_over_retries_and_reruns() -> None:
    """Each has a number of its own, with its lines, also one whose value is no more; what was not touched has one."""
    instance = ended()
    divided = node(instance, "divide")
    told = [(one.number, one.error is None, one.is_undone, bool(one.worker)) for one in divided.attempts]
    assert told == [(1, False, False, True), (2, True, True, True), (3, True, False, True)]
    for number in (1, 2, 3):
        assert [line.text for line in divided.logs(attempt=number)] == [f"this is attempt {number}"]
    assert [one.number for one in node(instance, "show").attempts] == [1, 2]
    assert [one.number for one in node(instance, "left").attempts] == [1]
    assert divided.status.attempts == 3


def test_a_node_that_begins_anew_is_ready_anew() -> None:
    """Its wait for a worker counts from then on, in each look at it; that of another node from before."""
    instance = ended()
    first, second = instance.status.pauses
    assert first.ended_at <= first.revived_at <= second.ended_at <= second.revived_at
    divided, left = node(instance, "divide"), node(instance, "left")
    assert divided.ready_at is not None
    assert divided.granted_at is not None
    assert left.ready_at is not None
    assert second.revived_at <= divided.ready_at <= divided.granted_at
    assert left.ready_at <= first.ended_at
    times = instance.times()
    places = {function.rpartition(".")[2]: place for place, function in enumerate(times.functions)}
    last = second.revived_at.timestamp()
    assert abs(revived_at(times, places["divide"]) - last) < 1e-3
    assert revived_at(times, places["left"]) == 0
    timeline = timeline_of(times, now=times.began_at)
    of_divide = max(bar for bar, place in enumerate(timeline.nodes) if place == places["divide"])
    assert [one.place for one in times.attempts] == [places["divide"]]
    assert timeline.ready[of_divide] >= timeline.axis.place(times.revived_at[-1])


def test_the_time_in_which_an_instance_was_over_is_not_taken() -> None:
    """Neither by the whole, nor by the phases of its nodes, nor by its critical path."""
    instance = ended()
    status = instance.status
    assert status.finished_at is not None
    assert [round(pause.duration_s) for pause in status.pauses] == [480, 60]
    history = history_of(status, snapshots_of(instance))
    analysis = analyze(history)
    assert round((status.finished_at - status.created_at).total_seconds()) == 546
    assert round((status.finished_at - status.counted_from).total_seconds(), 3) == 6
    assert round(analysis.makespan_s, 3) == 6
    assert round(sum(analysis.critical_s.values()), 3) == 6
    assert round(analysis.critical_s["earlier"], 3) == 4
    assert "retrying" not in analysis.phases_s
    assert took_in_words(analysis, history) == "6 s, revived after 8 min 0 s and 60 s"
