"""What a worker counts, where metrics are asked for."""

from __future__ import annotations

import pytest

from dagorama.metrics.counting import Histogram
from dagorama.worker import measures as m
from dagorama.worker.kernel.node import Rejected
from dagorama.worker.kernel.states import State
from dagorama.worker.options import WorkerOptions
from dagorama.worker.shell.held import Failure, Function, Held, Report
from dagorama.worker.shell.tally import Tally
from dagorama.worker.shell.worker import Worker


def node(name: str = "m:C.f", report: Report | None = None) -> Held:
    """Make a node that has ended so."""
    held = Held(b"n" * 16, 1, b"i" * 16, Function(name, b""), b"", 1, None)
    held.report = report
    return held


def failed() -> Report:
    """Make the report of a failed attempt."""
    return Report(500_000, failure=Failure("ValueError", "no", "", permanent=False))


def test_attempts_are_counted_by_function_and_outcome() -> None:
    """Also those whose lease was over, and those that went back; not what was never begun."""
    tally = Tally()
    rejected, lost = node(), node(report=Report(9, value=b"12345"))
    rejected.rejected = Rejected("v2")
    lost.state = State.LOST
    done = [node(report=Report(1_500_000, value=b"123")), node("m:C.g", Report(2_000_000, value=b"1234"))]
    tally.ended([*done, node(report=failed()), rejected, lost, node()])
    read = tally.read()
    assert {labels: number for labels, number in read[m.ATTEMPTS.name].items() if number} == {
        ("m:C.f", "completed"): 1,
        ("m:C.f", "failed"): 1,
        ("m:C.f", "rejected"): 1,
        ("m:C.f", "discarded"): 1,
        ("m:C.g", "completed"): 1,
    }
    assert read[m.VALUE_BYTES.name] == {(): 7}
    times = read[m.RUN_TIME.name]["m:C.f",]
    assert isinstance(times, Histogram)
    assert sum(times.counts) == 2
    assert times.sum == pytest.approx(2.0)


def test_nothing_has_been_counted_at_first() -> None:
    """But what the process takes, which it has taken before."""
    read = Tally().read()
    assert read[m.VALUE_BYTES.name] == read[m.STREAMS.name] == {(): 0}
    assert read[m.ATTEMPTS.name] == read[m.RUN_TIME.name] == {}
    cpu, memory = read[m.CPU.name][()], read[m.MEMORY.name][()]
    assert isinstance(cpu, float)
    assert isinstance(memory, int)
    assert cpu > 0
    assert memory > 1 << 20


def test_what_was_read_does_not_change() -> None:
    """Another thread goes on counting."""
    tally = Tally()
    tally.observe_lag(0.01)
    tally.observe_lag(None)
    before = tally.read()
    tally.observe_lag(0.02)
    tally.ended([node(report=failed())])
    lag = before[m.LOOP_LAG.name][()]
    assert isinstance(lag, Histogram)
    assert sum(lag.counts) == 1
    assert before[m.ATTEMPTS.name] == {}


def test_a_worker_tells_how_it_stands_where_that_is_asked_for() -> None:
    """And nothing otherwise."""
    worker = Worker(WorkerOptions(metrics=True, concurrency=3, logs=False), host="h", port=1)
    read = worker.read_metrics()
    assert [read[metric.name] for metric in (m.SLOTS, m.RUNNING, m.HELD)] == [{(): 3}, {(): 0}, {(): 0}]
    assert m.LOG_BYTES.name not in read
    with_logs = Worker(WorkerOptions(metrics=True, logs=True), host="h", port=1).read_metrics()
    assert [with_logs[metric.name] for metric in (m.LOG_BYTES, m.LOG_DROPPED)] == [{(): 0}, {(): 0}]
    assert Worker(WorkerOptions(metrics=False), host="h", port=1).read_metrics() == {}
