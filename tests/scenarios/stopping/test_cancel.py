"""Instances that are stopped on request."""

import asyncio
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from dagorama import BrokerRefused, DAGDefinition, DAGInstance, InstanceCancelled, dagorama, generate_instance_id
from dagorama.errors import WorkersCannotStart
from dagorama.worker.shell.stopping import EXIT_CANCELLED
from dagorama_broker.launch import LaunchedBroker
from tests.queries import watch_instance
from tests.scenarios.stopping.stopping_definitions import AsyncStopping, Stopping
from tests.scenarios.worker.conftest import MakePipe, StartWorkers
from tests.scenarios.worker.worker_definitions import Work, hear
from tests.timing import least_s


def test_queued_nodes_never_start(broker: LaunchedBroker, workers: StartWorkers, tmp_path: Path) -> None:
    """Of 10,000 queued nodes none starts after the cancellation, which takes less than a second."""
    trace = tmp_path / "trace"
    workers(1, exclude_queues=("never",))
    instances = []

    def cancel() -> float:
        instance, _ = Stopping()("records", trace, 10_000)
        instances.append(instance)
        for status in watch_instance(instance.instance_id.bytes):
            if status.counts.get("ready") == 10_000:
                break
        started_at = monotonic()
        instance.cancel()
        return monotonic() - started_at

    assert least_s(cancel, 1.0) < 1.0
    # A worker that takes them, and would take them first: they are older.
    workers(1, include_queues=("never",))
    younger, _ = Stopping()("records", tmp_path / "younger", 3)
    younger.result(timeout=60)
    assert not trace.exists()
    for instance in instances:
        with pytest.raises(InstanceCancelled):
            instance.result(timeout=60)


def test_a_running_coroutine_is_cancelled(broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe) -> None:
    """Its finally blocks run, and it knows that it is cancelled; its process goes on."""
    started, stopped = pipe(), pipe()
    (process,) = workers(1)
    instance, _ = asyncio.run(AsyncStopping()("go_on", started, stopped))
    assert int(hear(started)) == process.pid
    asyncio.run(instance.acancel())
    assert hear(stopped) == f"{process.pid} True"
    with pytest.raises(InstanceCancelled, match="was cancelled before node"):
        instance.result(timeout=60)
    assert Work()("pid")[0].result(timeout=60) == process.pid


def test_a_function_that_heeds_it_ends_by_itself(broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe) -> None:
    """A sync function sees that it is cancelled, and its process runs the next node."""
    started, stopped = pipe(), pipe()
    (process,) = workers(1)
    instance, _ = Stopping()("heed", started, stopped)
    assert int(hear(started)) == process.pid
    instance.cancel()
    assert f"of instance {instance.instance_id} is to stop: its lease has ended" in hear(stopped)
    assert Work()("pid")[0].result(timeout=60) == process.pid


def test_a_function_that_does_not_is_killed_after_the_grace(
    broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time that DAGORAMA_CANCEL_GRACE_S sets the process ends, and another takes its place."""
    monkeypatch.setenv("DAGORAMA_CANCEL_GRACE_S", "0.3")
    started = pipe()
    processes = workers(1)
    (first,) = processes
    instance, _ = Stopping()("go_on", started)
    assert int(hear(started)) == first.pid
    cancelled_at = monotonic()
    instance.cancel()
    next_pid = Work()("pid")[0].result(timeout=60)  # it waits behind the other, and is not lost with it
    assert monotonic() - cancelled_at > 0.3
    assert first.exitcode == EXIT_CANCELLED
    assert [process.pid for process in processes] == [next_pid]


@pytest.mark.parametrize("setting", ["soon", "-1", "nan", "inf"])
def test_a_grace_that_is_none_is_refused(
    setting: str, broker: LaunchedBroker, workers: StartWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker starts with a wrong setting, and the error names it and its value."""
    monkeypatch.setenv("DAGORAMA_CANCEL_GRACE_S", setting)
    with pytest.raises(WorkersCannotStart, match=f"DAGORAMA_CANCEL_GRACE_S='{setting}' is not a number of seconds"):
        workers(1)


def test_what_has_ended_cannot_be_cancelled(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """The error names the state, whether it was cancelled before, or has completed, or was never known."""
    waiting, _ = Work()("pid")
    waiting.cancel()
    with pytest.raises(BrokerRefused, match="is cancelled already, so it cannot be cancelled") as caught:
        waiting.cancel()
    assert caught.value.code == "FAILED_PRECONDITION"
    workers(1)
    done, _ = Work()("give", 1)
    done.result(timeout=60)
    with pytest.raises(BrokerRefused, match="is completed already"):
        done.cancel()


def test_an_instance_without_nodes_can_be_cancelled(broker: LaunchedBroker) -> None:
    """It takes no nodes after that."""
    instance: Any = DAGInstance(generate_instance_id(), Work())
    instance.cancel()
    with pytest.raises(BrokerRefused, match="is cancelled already, so it cannot be given further nodes"):
        instance.give(1)


class Order(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> int:
        return 1

    def cancel(self, reason: str) -> str:
        return f"for {reason}"


def test_a_definitions_own_cancel_goes_first(broker: LaunchedBroker) -> None:
    """A definition that has a `cancel` keeps it, as for `result`."""
    instance, _ = Order()()
    assert Order.cancel(instance, "fun") == "for fun"  # type: ignore[arg-type]  # an instance passes for its definition
    assert getattr(instance, "cancel")("fun") == "for fun"  # noqa: B009 - to a type checker it is the instance's
