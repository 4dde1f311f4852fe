"""The broker's counters, counted from what the core decides."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dagorama.metrics.counting import Histogram
from dagorama.metrics.labels import OTHER, Labels
from dagorama.metrics.measures import Kind, Metric
from dagorama_broker.core import events as e
from dagorama_broker.core.commands import Command
from dagorama_broker.core.model.entities import Function, Lane, Node, Timing
from dagorama_broker.core.model.values import FunctionSpec, NodeId
from dagorama_broker.metrics import catalog as m
from dagorama_broker.metrics.tally import Tally
from tests.unit.core.transcript import Bench


class CountedBench(Bench):
    """A scheduler whose events a tally counts."""

    def __init__(self) -> None:
        super().__init__()
        self.tally = Tally(Labels(m.QUEUES_MAX))

    def handle(self, command: Command) -> list[e.Event]:
        """Let the core decide, and count."""
        events = super().handle(command)
        self.tally.told(events)
        return events

    def value(self, metric: Metric, *labels: str) -> float:
        """Return what a counter stands at, or how many values a histogram has counted."""
        value = self.tally.read()[metric.name].get(labels, 0)
        return sum(value.counts) if isinstance(value, Histogram) else value


@pytest.fixture
def bench() -> CountedBench:
    """Give a bench with one worker for two nodes at a time."""
    bench = CountedBench()
    bench.replay("given\nconnect w1 slots=2 include=q\nfunction again attempts=2 interval=1")
    return bench


def run(bench: CountedBench, *lines: str) -> None:
    """Do what is said, whatever is decided."""
    for line in lines:
        bench._act(line)


def values(bench: CountedBench, metrics: Sequence[tuple[Metric, str]]) -> list[float]:
    """Return what counters stand at that have one label."""
    return [bench.value(metric, label) for metric, label in metrics]


def test_what_begins_and_ends_is_counted(bench: CountedBench) -> None:
    """Instances and nodes are counted as they come and as they end, by how they end."""
    run(bench, "submit i1 a b(a)", "grant", "fail w1 a", "submit i2 c d", "grant", "complete w1 c d", "submit i3 x")
    run(bench, "cancel i3")
    assert (bench.value(m.INSTANCES_CREATED), bench.value(m.NODES_CREATED)) == (3, 5)
    ends = ["completed", "failed", "dependency_failed", "cancelled"]
    assert values(bench, [(m.NODES_ENDED, end) for end in ends]) == [2, 1, 1, 1]
    assert values(bench, [(m.INSTANCES_ENDED, end) for end in ends[:2] + ends[3:]]) == [1, 1, 1]


def test_attempts_are_counted_by_function_and_outcome(bench: CountedBench) -> None:
    """A failed attempt that is followed by another counts, and so does how long each took."""
    run(bench, "at 1", "submit i1 a:again", "grant", "fail w1 a", "at 10", "tick", "grant")
    run(bench, "complete w1 a seconds=2")
    assert [bench.value(m.ATTEMPTS, "again", outcome) for outcome in ("failed", "completed")] == [1, 1]
    run_time = bench.tally.read()[m.RUN_TIME.name]["again",]
    assert isinstance(run_time, Histogram)
    assert (sum(run_time.counts), run_time.sum) == (2, 2.0)


def test_a_node_that_joins_is_one_attempt(bench: CountedBench) -> None:
    """Its attempt counts once, when its function has returned, though its node completes later."""
    run(bench, "submit i1 a", "grant", "complete w1 a value=[b] promises=b + b", "grant", "complete w1 b")
    assert (bench.value(m.ATTEMPTS, "f", "completed"), bench.value(m.NODES_ENDED, "completed")) == (2, 2)


def test_the_grant_latency_counts_from_when_a_node_was_ready(bench: CountedBench) -> None:
    """A node that waited for another, or backed off, was not ready meanwhile."""
    run(bench, "submit i1 a:again b(a)", "at 3", "grant", "at 4", "fail w1 a", "at 8", "tick", "at 10", "grant")
    run(bench, "at 12", "complete w1 a", "at 14", "grant")
    latency = bench.tally.read()[m.LATENCY.name]["q",]
    assert isinstance(latency, Histogram)
    assert (sum(latency.counts), latency.sum) == (3, 3.0 + 5.0 + 2.0)  # the backoff ended at 5


def test_lost_leases_and_refused_reports_are_counted(bench: CountedBench) -> None:
    """A silent worker's leases expire, a lost worker's end with it, and its late report is refused."""
    run(bench, "submit i1 a b", "grant", "disconnect w1", "connect w2 include=q", "grant", "at 100", "tick")
    assert values(bench, [(m.LEASES_LOST, "worker_lost"), (m.LEASES_LOST, "expired")]) == [2, 1]
    assert (bench.value(m.WORKERS_JOINED), bench.value(m.WORKERS_LOST)) == (2, 2)
    run(bench, "connect w3 slots=2 include=q", "grant", "complete w3 a#1")
    assert bench.value(m.REFUSED) == 1


def test_an_attempt_that_is_lost_and_not_repeated_is_no_failed_one(bench: CountedBench) -> None:
    """It is that of a function that is to run at most once. Nobody knows how long it took."""
    run(bench, "function single once", "submit i1 a:single", "grant", "disconnect w1", "at 100", "tick")
    assert [bench.value(m.ATTEMPTS, "single", outcome) for outcome in ("lost", "failed")] == [1, 0]
    assert (bench.value(m.RUN_TIME, "single"), bench.value(m.NODES_ENDED, "failed")) == (0, 1)


def test_a_quarantined_node_is_counted(bench: CountedBench) -> None:
    """A node that workers die of is counted once, and is no failed attempt of its function."""
    run(bench, "submit i1 a", "grant")
    for number in (1, 2, 3):
        run(bench, f"lost w{number} its process was killed by SIGSEGV", f"connect w{number + 1} include=q", "grant")
    run(bench, "at 100", "tick")
    assert (bench.value(m.QUARANTINED), bench.value(m.NODES_ENDED, "failed")) == (1, 1)
    assert [bench.value(m.ATTEMPTS, "f", outcome) for outcome in ("lost", "failed")] == [3, 0]


def test_bytes_of_values_and_arguments_are_counted(bench: CountedBench) -> None:
    """Each value counts once."""
    run(bench, "submit i1 a", "grant", "complete w1 a value=12345")
    assert bench.value(m.VALUE_BYTES) == 5


def test_ten_thousand_names_are_few_series(bench: CountedBench) -> None:
    """Of functions and queues that come in floods, the first ones are told apart, and nothing is left out."""
    run(bench, "submit i1 a")
    (instance,) = bench.scheduler.instances.values()
    (worker,) = bench.scheduler.workers.values()
    for number in range(10_000):
        spec = FunctionSpec(name=f"f{number}", queue=f"q{number}")
        function = Function(spec, lane=Lane(spec.queue, ""), timing=Timing())
        node = Node(
            seq=number,
            id=NodeId(b"%d" % number),
            instance=instance,
            function=function,
            arguments=b"",
            dependencies=(),
            parent_seq=0,
            created_at=0.0,
        )
        granted = e.WorkGranted(worker=worker, leases=[(node, number)])
        bench.tally.told([granted, e.NodeCompleted(node=node, payload=b"", at=2.0, run=("w1", 1.0, 2.0, 0.5))])
    read = bench.tally.read()
    assert len(read[m.RUN_TIME.name]) == m.FUNCTIONS_MAX + 1
    assert len(read[m.ATTEMPTS.name]) == 4 * (m.FUNCTIONS_MAX + 1)
    assert len(read[m.LATENCY.name]) == m.QUEUES_MAX + 1
    assert bench.value(m.ATTEMPTS, OTHER, "completed") == 10_000 - m.FUNCTIONS_MAX
    assert bench.value(m.LATENCY, OTHER) == 10_000 - m.QUEUES_MAX


def test_commits_are_timed() -> None:
    """A batch counts its events and its time; one without a sync counts no time of one."""
    tally = Tally(Labels(1))
    tally.committed(3, 0.02, 0.01)
    tally.committed(2, 0.001, 0.0)
    read = tally.read()
    times = [read[metric.name][()] for metric in (m.COMMIT_TIME, m.SYNC_TIME)]
    assert [(sum(time.counts), time.sum) for time in times if isinstance(time, Histogram)] == [(2, 0.021), (1, 0.01)]
    assert read[m.COMMITTED.name] == {(): 5}


def test_everything_that_is_counted_is_in_the_catalog() -> None:
    """A reading has a metric, with as many labels; and each counter and histogram has a reading."""
    read = Tally(Labels(1)).read()
    by_name = {metric.name: metric for metric in m.CATALOG}
    assert {
        labels: name for name, of in read.items() for labels in of if len(labels) != len(by_name[name].labels)
    } == {}
    counted = {metric.name for metric in m.CATALOG if metric.kind is not Kind.GAUGE}
    assert counted - read.keys() == {  # which the stores of logs and of values count
        *(m.LOG_BYTES.name, m.LOG_DROPPED.name, m.VALUES_PUT.name, m.VALUES_GOT.name)
    }
