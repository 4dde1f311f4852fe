"""Draining, stopping, and the end of the work."""

import asyncio
import os
import signal
from multiprocessing import Process
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

import pytest

from dagorama import runner
from dagorama.errors import BrokerUnavailable
from dagorama.runner import execute_worker, execute_worker_async, launch_workers
from dagorama.worker.processes.exits import EXIT_STOPPED
from dagorama_broker.launch import LaunchedBroker
from tests.scenarios.worker.conftest import MakePipe, StartWorkers
from tests.scenarios.worker.worker_definitions import Work, hear, say
from tests.timing import least_s


def test_a_drained_worker_finishes_what_runs(broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe) -> None:
    """After SIGTERM the running node is finished and reported, the others go to other workers, the exit status is 0."""
    first, last = (pipe(), pipe()), (pipe(), pipe())
    (drained,) = workers(1)
    Work()("many_fast", 200)[0].result(timeout=60)  # so that further nodes are granted ahead
    instance, _ = Work()("held_at_both_ends", first, last, 20)
    hear(first[0])
    drained.terminate()
    (other,) = workers(1)
    assert int(hear(last[0])) == other.pid
    say(last[1], "go on")
    say(first[1], "go on")
    drained.join(60)
    assert drained.exitcode == 0
    assert instance.result(timeout=60) == [drained.pid, *[other.pid] * 21]


def test_a_second_sigterm_stops_at_once(broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe) -> None:
    """A worker that drains and is told again ends with a node in its hands, which others run again."""
    lifeline = pipe()
    (worker,) = workers(1)
    Work()("hold_open", lifeline, pipe())
    with lifeline.open() as end:
        end.readline()
        while worker.is_alive():  # two signals that come together are one to the kernel
            worker.terminate()
            worker.join(0.01)
        assert end.read() == ""
    assert worker.exitcode == EXIT_STOPPED


def test_an_idle_worker_drains_at_once(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """A worker without work exits with status 0 as soon as it is told, and waits for nothing that it could wait for."""

    def drain_s() -> float:
        (worker,) = workers(1)
        assert Work()("pid")[0].result(timeout=60) == worker.pid
        told_at = monotonic()
        worker.terminate()
        worker.join(60)
        assert worker.exitcode == 0
        return monotonic() - told_at

    assert least_s(drain_s, 5.0) < 5.0


def test_a_drained_worker_runs_what_is_registered_for_the_end(
    broker: LaunchedBroker, workers: StartWorkers, tmp_path: Path
) -> None:
    """As any program does: what a module or a node has gathered is sent, or written, then."""
    (worker,) = workers(1)
    Work()("at_exit", tmp_path / "ends")[0].result(timeout=60)
    worker.terminate()
    worker.join(60)
    assert (tmp_path / "ends").read_text() == f"{worker.pid} has ended\n"


def test_a_worker_without_broker_drains_at_once(workers: StartWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that never reached a broker has nothing to finish."""
    monkeypatch.setenv("DAGORAMA_PORT", "1")
    monkeypatch.setenv("DAGORAMA_DRAIN_GRACE_S", "3600")  # one that had something to report would look on
    (worker,) = workers(1)
    worker.terminate()
    worker.join(60)
    assert worker.exitcode in (0, -signal.SIGTERM)  # the latter when it had not got so far as to handle signals


def test_workers_end_on_completion(broker: LaunchedBroker) -> None:
    """With `exit_on_completion` all workers end by themselves, and not before the last node has."""
    instance, _ = Work()("each", list(range(20)))
    with launch_workers(2, exit_on_completion=True) as processes:
        assert all(isinstance(process, Process) for process in processes)
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0]
    assert (instance.state, instance.result(timeout=60)) == ("completed", list(range(20)))


def test_launched_workers_are_gone_after_an_exception(broker: LaunchedBroker) -> None:
    """When the block fails, the workers are stopped all the same."""
    with pytest.raises(RuntimeError, match="in the block"), launch_workers(2) as processes:
        raise RuntimeError("in the block")
    assert [process.is_alive() for process in processes] == [False, False]


@pytest.mark.parametrize("n", [0, -1, "2", 1.0, None, True])
def test_no_workers_cannot_be_launched(n: Any) -> None:
    """At least one worker has to be asked for, by a whole number."""
    with pytest.raises(ValueError, match="at least 1"), launch_workers(n):
        pass


def test_a_worker_runs_in_this_process_until_all_is_done(broker: LaunchedBroker) -> None:
    """`execute_worker(infinite_loop=False)` runs everything here and returns."""
    instance, _ = Work()("pid")
    execute_worker(infinite_loop=False)
    assert instance.result(timeout=60) == os.getpid()


def test_a_worker_runs_beside_an_event_loop(broker: LaunchedBroker) -> None:
    """`execute_worker_async` leaves the loop free: what waits for the value runs on it meanwhile."""

    async def main() -> object:
        instance, _ = Work()("pid")
        worker = asyncio.create_task(execute_worker_async())
        value = await instance.aresult(timeout=60)
        worker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await worker
        return value

    assert asyncio.run(main()) == os.getpid()


def test_an_exception_of_a_node_leaves_the_worker(broker: LaunchedBroker) -> None:
    """With `catch_exceptions=False` the node's own exception comes out, after it was reported."""
    instance, _ = Work()("divide", 1, 0)
    with pytest.raises(ZeroDivisionError):
        execute_worker(catch_exceptions=False)
    with pytest.raises(Exception, match="division by zero"):
        instance.result(timeout=60)


def test_a_worker_says_that_there_is_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """`execute_worker` gives up on a broker that does not answer, naming where it looked."""
    monkeypatch.setenv("DAGORAMA_PORT", "1")
    monkeypatch.setattr(runner, "CONNECT_TIMEOUT_S", 0.2)
    with pytest.raises(BrokerUnavailable, match="localhost:1"):
        execute_worker()


def test_a_worker_takes_only_tolerated_and_included_nodes(broker: LaunchedBroker, tmp_path: Path) -> None:
    """A worker that waits for the end of the work does not wait for nodes that no worker would take."""
    Work()("pid")
    ended = Thread(target=execute_worker, kwargs={"include_queues": ["elsewhere"], "infinite_loop": False}, daemon=True)
    ended.start()
    ended.join(60)
    assert not ended.is_alive()
