"""Nodes that fork: the child is an ordinary process, and the worker goes on as if nothing had been."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dagorama import attach
from dagorama.errors import NodeFailed
from dagorama.testing import in_process_broker
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.worker.conftest import MakePipe, StartWorkers
from tests.scenarios.worker.forking_definitions import Forking, ForkingAsync
from tests.scenarios.worker.test_supervisor import command

#: Each forks about six times.
ROUNDS = int(os.environ.get("DAGORAMA_SOAK_ROUNDS", "3"))

REFUSED = [
    ("noted_in_a_pool", "fork", "process"),
    ("noted_in_a_pool", "spawn", "process"),
    ("started_in_a_pool", "fork", "process"),
    ("started_in_a_pool", "spawn", "process"),
    ("started_in_a_thread", None, "thread"),
    ("started_in_a_thread_of_a_thread", None, "thread"),
]


async def result_of(case: str) -> object:
    """Returns the value of an asynchronous case."""
    instance, _ = await ForkingAsync()(case)
    return await instance.aresult(timeout=60)


def test_nodes_fork_in_every_way(broker: LaunchedBroker, tmp_path: Path) -> None:
    """Pools, executors, bare forks and their ends work again and again in one worker process, which says no word."""
    with command("--processes", "1") as process:
        pid = Forking()("pid")[0].result(timeout=60)
        assert Forking()("each_way", ROUNDS)[0].result(timeout=60 + 6 * ROUNDS) == [0, []]
        had, left = Forking()("peers_of_a_child")[0].result(timeout=60)
        assert had > 0
        assert left == 0
        for how, status in (("exit", 5), ("raise", 1), ("return", 0)):
            trace = tmp_path / how
            assert Forking()("come_back", how, trace)[0].result(timeout=60) == status
            assert trace.read_text() == "ended"
        assert Forking()("pid")[0].result(timeout=60) == pid
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert "ValueError: in the child" in said
    assert "fork()" not in said


def test_a_child_that_lives_on_does_not_keep_its_worker_alive(workers: StartWorkers, tmp_path: Path) -> None:
    """The broker sees at once that a worker died, though a child that one of its nodes forked goes on."""
    with launch_broker(port=0, environment={"DAGORAMA_LEASE_DURATION_S": "3600"}):
        workers(2)
        child = Forking()("leave_a_child", tmp_path / "trace")[0].result(timeout=60)
    os.kill(child, signal.SIGKILL)


def test_programs_end_with_the_attempt_that_started_them(
    broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe, tmp_path: Path
) -> None:
    """What a node runs, and what that runs, ends with its worker process: overrun, stopped, or orphaned."""
    lifeline = pipe()
    started = workers(1)
    assert Forking()("interrupt_a_program")[0].result(timeout=60) == -signal.SIGINT
    enough = tmp_path / "enough"
    instance, _ = Forking()("overrun_with_a_program", lifeline, enough)
    said: list[str] = []
    while said.count("open\n") < 2:  # on a busy machine the time of an attempt may be over before its program begins
        with lifeline.open() as end:
            said.append(end.read())  # to the end: nobody has it open any more
    assert set(said) <= {"open\n", ""}
    enough.touch()
    assert instance.result(timeout=60) == "enough"
    (node,) = attach(instance.instance_id).nodes(function=f"{Forking.__module__}:Forking.overrun_with_a_program")
    assert {attempt.error.type for attempt in node.attempts if attempt.error} == {"TimeoutError"}
    Forking()("run_program", lifeline)
    with lifeline.open() as end:
        end.readline()
        (worker,) = started
        while worker.is_alive():  # two signals that come together are one to the kernel
            worker.terminate()
            worker.join(0.01)
        assert end.read() == ""
    code = "from dagorama.runner import launch_workers\nwith launch_workers(1): input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as launcher, lifeline.open() as end:
        end.readline()
        launcher.kill()
        assert end.read() == ""


def test_calls_from_other_processes_and_bare_threads_are_refused(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """Calls of a node's that would not come into being with its result fail it; those that would, join it."""
    workers(1)
    for case, method, where in REFUSED:
        with pytest.raises(NodeFailed, match=f"CalledElsewhere.* was called in {where}"):
            Forking()(case, *[method] * bool(method))[0].result(timeout=60)
    with pytest.raises(NodeFailed, match=r"CalledElsewhere.* was called in thread"):
        asyncio.run(result_of("started_in_an_executor"))
    assert asyncio.run(result_of("started_by_to_thread")) == "another"
    assert Forking()("started_in_a_copy_of_the_context")[0].result(timeout=60) == "another"
    assert Forking()("noted_in_a_thread")[0].result(timeout=60) == [1, 2]


@pytest.mark.parametrize("inline", [False, True])
def test_calls_from_elsewhere_are_refused_without_a_worker(inline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In process and inline the same calls are refused, and the same ones join."""

    def run_all() -> None:
        for case, method, where in REFUSED:
            if case == "started_in_a_pool" and method == "spawn":
                continue  # nothing there tells of a node: only the children of worker processes can be told
            with pytest.raises(Exception, match=f" was called in {where}"):
                Forking()(case, *[method] * bool(method))[0].result()
        assert Forking()("started_in_a_copy_of_the_context")[0].result() == "another"
        assert Forking()("noted_in_a_thread")[0].result() == [1, 2]

    if inline:
        monkeypatch.setenv("DAGORAMA_INLINE", "1")
        run_all()
    else:
        with in_process_broker():
            run_all()
