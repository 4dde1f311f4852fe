"""Attempts that take longer than their function's timeout."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest

from dagorama import DAGDefinition, NodeFailed, dagorama
from dagorama.runner import execute_worker
from dagorama.worker.processes.exits import ENDED_FOR_NODE
from dagorama.worker.shell.stopping import EXIT_OVERRUN
from dagorama_broker.launch import LaunchedBroker
from tests.scenarios.stopping.stopping_definitions import AsyncStopping, Stopping
from tests.scenarios.worker.conftest import MakePipe, StartWorkers
from tests.scenarios.worker.test_supervisor import command, line_of
from tests.scenarios.worker.worker_definitions import Work, hear, say
from tests.timing import least_s

TIMEOUT_S = 1.0  #: of the functions here: on a busy machine they have to begin in this time


def has_overrun(exitcode: int | None) -> bool:
    """Tell whether a process ended for a node's timeout: by itself or, where that takes long, by the kernel's alarm."""
    return exitcode is not None and ENDED_FOR_NODE.get(exitcode) == ENDED_FOR_NODE[EXIT_OVERRUN]


@pytest.mark.parametrize("how", ["spin", "hold_gil"])
def test_what_overruns_is_gone_within_a_second(
    how: str, broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe
) -> None:
    """A loop in Python and a call that holds the interpreter's lock end with their process; other processes go on."""
    held, go, started = pipe(), pipe(), pipe()
    processes = workers(2)
    other, _ = Stopping()("hold", held, go)
    other_pid = int(hear(held))

    def overrun() -> float:
        overrunning, _ = Stopping()("overrun", started, how)
        victim_pid = int(hear(started))
        started_at = monotonic()
        (victim,) = (process for process in processes if process.pid == victim_pid)
        victim.join(60)
        took_s = monotonic() - started_at
        with pytest.raises(NodeFailed, match=f"longer than the timeout of {TIMEOUT_S:g} s") as caught:
            overrunning.result(timeout=60)
        assert (caught.value.exception_type, caught.value.attempts) == ("TimeoutError", 1)
        return took_s

    assert least_s(overrun, TIMEOUT_S + 1.0) < TIMEOUT_S + 1.0
    say(go, "go on")
    assert other.result(timeout=60) == other_pid


def test_a_process_that_ends_is_replaced_in_the_list(
    broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe
) -> None:
    """The list of processes shows the one that took the place of one that had to end."""
    started = pipe()
    processes = workers(1)
    (first,) = processes
    Stopping()("overrun", started, "spin")
    assert int(hear(started)) == first.pid
    second_pid = Work()("pid")[0].result(timeout=60)
    assert has_overrun(first.exitcode)
    assert [process.pid for process in processes] == [second_pid]


@pytest.mark.parametrize("how", ["spin", "hold_gil"])
def test_a_retry_after_a_timeout_succeeds(how: str, broker: LaunchedBroker, workers: StartWorkers) -> None:
    """A timeout is a failed attempt like any other: the retry policy decides, and the next attempt may succeed."""
    workers(1)
    instance, _ = Stopping()("overrun_once", how)
    _, node_id, _, attempt, _, key = instance.result(timeout=60)
    assert (attempt, key) == (2, node_id)


def test_a_node_that_runs_at_most_once_is_let_through(
    broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe
) -> None:
    """Its process takes no more work, and another does; it ends when the node has, whose value counts."""
    held, go, started = pipe(), pipe(), pipe()
    processes = workers(1, concurrency=3)
    (first,) = processes
    paying, _ = Stopping()("pay", held, go)
    assert int(hear(held)) == first.pid
    overrunning, _ = Stopping()("overrun", started, "spin")
    assert int(hear(started)) == first.pid
    with pytest.raises(NodeFailed, match="longer than the timeout"):
        overrunning.result(timeout=60)
    next_pid = Work()("pid")[0].result(timeout=60)
    assert first.is_alive()
    assert [process.pid for process in processes] == [next_pid]
    say(go, "go on")
    assert paying.result(timeout=60) == first.pid
    first.join(60)
    assert has_overrun(first.exitcode)


def test_a_coroutine_that_overruns_is_cancelled(broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe) -> None:
    """Its finally blocks run, and other coroutines of the process go on."""
    held, go, stopped = pipe(), pipe(), pipe()
    (process,) = workers(1, concurrency=3)
    other, _ = asyncio.run(AsyncStopping()("hold", held, go))
    assert int(hear(held)) == process.pid
    overrunning, _ = asyncio.run(AsyncStopping()("overrun", stopped))
    assert hear(stopped) == f"{process.pid} True"
    with pytest.raises(NodeFailed, match="longer than the timeout"):
        overrunning.result(timeout=60)
    say(go, "go on")
    assert other.result(timeout=60) == process.pid
    assert process.is_alive()


def test_a_coroutine_is_retried_after_a_timeout(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """The next attempt runs in the same process, and is known as the second in tasks and threads too."""
    (process,) = workers(1)
    instance, _ = asyncio.run(AsyncStopping()("overrun_once"))
    here, in_thread = instance.result(timeout=60)
    assert here == in_thread
    assert here[3] == 2
    assert Work()("pid")[0].result(timeout=60) == process.pid


def test_a_coroutine_that_blocks_its_loop_ends_with_its_process(
    broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coroutine that never awaits cannot be cancelled; after the grace its process ends."""
    monkeypatch.setenv("DAGORAMA_CANCEL_GRACE_S", "0.1")
    started = pipe()
    (process,) = workers(1)
    instance, _ = asyncio.run(AsyncStopping()("block", started))
    assert int(hear(started)) == process.pid
    with pytest.raises(NodeFailed, match="longer than the timeout"):
        instance.result(timeout=60)
    process.join(60)
    assert has_overrun(process.exitcode)


def test_the_supervisor_says_why_it_replaces(broker: LaunchedBroker) -> None:
    """The `worker` command names the timeout, and replaces without a wait however often that happens."""
    with command("--processes", "1") as process:
        for _ in range(3):
            instance, _ = Stopping()("overrun_once", "spin")
            said = line_of(process, "was ended")
            assert "was ended because a node overran its timeout while it ran node " in said
            assert said.endswith("; another one starts now\n")
            assert instance.result(timeout=60)[3] == 2


def test_the_run_command_goes_on_after_a_timeout(tmp_path: Path) -> None:
    """`dagorama run` replaces the process too, and says so."""
    target = "tests.scenarios.stopping.stopping_definitions:Stopping"
    arguments = [sys.executable, "-m", "dagorama.cli.main", "run", "--workers", "1", target, "overrun_once", "hold_gil"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=200, env=dict(os.environ), check=False)
    assert done.returncode == 0, done.stderr
    assert "was ended because a node overran its timeout" in done.stderr


gate = Event()


class Gated(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> int:
        return self.after(self.wait())

    @dagorama(timeout=0.2).syncfn
    def wait(self) -> int:
        gate.wait(60)
        return 1

    @dagorama().syncfn
    def after(self, value: int) -> int:
        return value


def test_in_a_process_of_the_users_a_thread_is_left_alone(
    broker: LaunchedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """`execute_worker` ends no process that is not its own: the slot gets another thread, and a warning says so."""
    gate.clear()
    instance, _ = Gated()()
    behind, _ = Work()("give", 7)
    worker = Thread(target=execute_worker, kwargs={"infinite_loop": False})
    worker.start()
    try:
        with pytest.raises(NodeFailed, match="longer than the timeout"):
            instance.result(timeout=60)
        assert behind.result(timeout=60) == 7
        worker.join(60)
        assert not worker.is_alive()
    finally:
        gate.set()
    assert "Gated.wait) runs on after its timeout; the thread that it runs in cannot be ended" in caplog.text
