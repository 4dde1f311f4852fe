"""`why` gives the right reason, each situation made with a broker and workers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dagorama.client import broker as client
from dagorama.definition import DAGInstance
from dagorama.errors import BrokerRefused, NodeFailed
from dagorama.options import instance_options
from dagorama.v1 import work_pb2
from dagorama.why import Reason, Why
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests import queries
from tests.queries import control_queue, list_nodes, list_workers, watch_instance
from tests.scenarios.broker.rawclient import LEASE_S, Worker, new_id
from tests.scenarios.why.why_definitions import Broken, Held, Limited, Pair, Plain, Retried, Steps, Tainted
from tests.scenarios.worker.conftest import MakePipe, StartWorkers
from tests.scenarios.worker.worker_definitions import hear, say


def links(why: Why) -> list[Reason]:
    """Give the first reason, and what is behind it."""
    chain: list[Reason] = []
    reasons = why.reasons
    while reasons:
        chain.append(reasons[0])
        reasons = reasons[0].because
    return chain


def kinds(why: Why) -> list[str]:
    """Give the kinds of the first reason and of what is behind it."""
    return [reason.kind for reason in links(why)]


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again and again; the test's own timeout ends it."""
    while not condition():
        pass


def wait_for_workers(count: int) -> list[str]:
    """Return the names of the connected workers when there are so many."""
    wait_until(lambda: len(list_workers()) == count)
    return [worker.name for worker in list_workers()]


def ids(instance: DAGInstance[object]) -> dict[str, bytes]:
    """Give the nodes of an instance by the names of their functions."""
    nodes = list_nodes(instance.instance_id.bytes)
    return {node.function.rpartition(".")[2]: node.node_id.bytes for node in nodes}


def ask(instance: DAGInstance[object], function: str) -> Why:
    """Ask about the node of this function."""
    return queries.why(instance.instance_id.bytes, ids(instance)[function])


# -- nobody to run it -------------------------------------------------------------------------------------------------


def test_no_worker(broker: LaunchedBroker) -> None:
    """Without any worker, that is what holds a node."""
    instance, promise = Plain()()
    why = instance.why()
    assert (kinds(why), why.state, why.function.rpartition(":")[2]) == (["no_worker"], "ready", "Plain.entrypoint")
    assert (why.instance_id, instance.why(promise)) == (instance.instance_id, why)


def test_the_last_worker_has_gone(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """A worker that left counts no more."""
    (worker,) = workers(1)
    wait_for_workers(1)
    worker.terminate()
    wait_for_workers(0)
    assert kinds(Plain()()[0].why()) == ["no_worker"]


def test_taint(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """A worker that doesn't tolerate the taint is named, and what to start it with is said."""
    workers(1)
    (name,) = wait_for_workers(1)
    (reason,) = Tainted()()[0].why().reasons
    assert (reason.kind, reason.workers, "--toleration gpu" in reason.text) == ("taint", (name,), True)


def test_a_queue_that_is_not_included(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """A worker with a list of queues that lacks this one."""
    workers(1, include_queues=("other",))
    (name,) = wait_for_workers(1)
    (reason,) = Plain()()[0].why().reasons
    assert (reason.kind, reason.workers, "queue plain" in reason.text) == ("queue", (name,), True)


def test_a_queue_that_is_excluded(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """A worker that takes all queues but this one."""
    workers(1, exclude_queues=("plain",))
    (name,) = wait_for_workers(1)
    (reason,) = Plain()()[0].why().reasons
    assert (reason.kind, reason.workers) == ("queue", (name,))


def test_workers_that_lack_different_things(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """Each obstacle is told with the workers that it stops."""
    workers(1, include_queues=("other",), tolerations=("gpu",))
    first = wait_for_workers(1)
    workers(1)
    (second,) = set(wait_for_workers(2)) - set(first)
    reasons = Tainted()()[0].why().reasons
    assert [(reason.kind, list(reason.workers)) for reason in reasons] == [("taint", [second]), ("queue", first)]


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the broker that comes next wait for workers that are played by hand, and send no heartbeats."""
    monkeypatch.setenv("DAGORAMA_LEASE_DURATION_S", str(LEASE_S))


def test_another_code_version(patience: None, broker: LaunchedBroker) -> None:
    """A worker that has the function in another version gave the node back: both versions are told."""
    instance, _ = Plain()()
    worker = Worker(broker.target, work_pb2.Hello(worker_id=new_id(), name="old code", slots=1))
    (grant,) = worker.take()
    needed = worker.functions[grant.node_id].code_version
    worker.reject(grant, "0123abcd")
    worker.settle()
    (reason,) = instance.why().reasons
    (listed,) = list_workers()
    worker.close()
    assert (reason.kind, reason.workers, needed in reason.text, "0123abcd" in reason.text) == (
        "code_version",
        ("old code",),
        True,
        True,
    )
    assert [name.rpartition(":")[2] for name in listed.unfit_functions] == ["Plain.entrypoint"]


# -- somebody has it, or what it needs --------------------------------------------------------------------------------


def test_running(broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe) -> None:
    """A node that runs says where."""
    started, go = pipe(), pipe()
    workers(1)
    instance, _ = Held()(started, go)
    hear(started)
    (worker,) = list_workers()
    why = instance.why()
    say(go, "end")
    assert (why.state, [(reason.kind, reason.workers) for reason in why.reasons]) == (
        "leased",
        [("running", (worker.name,))],
    )


def test_all_busy(broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe) -> None:
    """The worker is named, and the node that it is busy with."""
    started, go = pipe(), pipe()
    workers(1)
    holding, _ = Held()(started, go)
    hear(started)
    (worker,) = list_workers()
    (reason,) = Plain()()[0].why().reasons
    held = ids(holding)["entrypoint"]
    say(go, "end")
    assert (reason.kind, reason.workers, [node_id.bytes for node_id in reason.node_ids]) == (
        "busy",
        (worker.name,),
        [held],
    )
    assert "Held.entrypoint" in reason.text
    assert str(holding.instance_id) in reason.text


def test_draining(broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe) -> None:
    """A worker that finishes what it runs takes nothing more."""
    started, go = pipe(), pipe()
    (process,) = workers(1)
    Held()(started, go)
    hear(started)
    process.terminate()
    wait_until(lambda: list_workers()[0].draining)
    (worker,) = list_workers()
    (reason,) = Plain()()[0].why().reasons
    say(go, "end")
    assert (reason.kind, reason.workers) == ("draining", (worker.name,))


def test_suspect(broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe) -> None:
    """Of two nodes that a killed worker held, one waits until the other is through, though a slot is free."""
    pipes = [(pipe(), pipe()), (pipe(), pipe())]
    (first,) = workers(1, concurrency=2)
    older, younger = (Held()(*pair)[0] for pair in pipes)
    for started, _ in pipes:
        hear(started)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    hear(pipes[0][0])  # in the worker that has taken its place
    (worker,) = list_workers()
    (reason,) = younger.why().reasons
    say(pipes[0][1], "end")
    hear(pipes[1][0])
    say(pipes[1][1], "end")
    assert (reason.kind, reason.workers, [node_id.bytes for node_id in reason.node_ids]) == (
        "suspect",
        (worker.name,),
        [ids(older)["entrypoint"]],
    )


# -- somebody has decided so ------------------------------------------------------------------------------------------


def test_paused(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """Its instance or its queue is paused: which, and how it goes on; it does when both are resumed."""
    workers(1)
    wait_for_workers(1)
    control_queue("plain", paused=True)
    instance, _ = Plain()()
    instance.pause()
    both = instance.why()
    instance.resume()
    queue = instance.why()
    control_queue("plain", paused=False)
    assert instance.result(timeout=60) == 1
    assert [[reason.kind for reason in why.reasons] for why in (both, queue)] == [["paused"] * 2, ["paused"]]
    assert [reason.text for reason in both.reasons] == [
        f"its instance is paused: `dagorama resume {instance.instance_id}` lets it go on",
        "its queue, plain, is paused: `dagorama resume --queue 'plain'` lets it go on",
    ]


def test_limit(broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe) -> None:
    """As many run as the cap allows, though there is a free slot: who that is, and where; the next follows it."""
    (one, other) = ((pipe(), pipe()) for _ in range(2))
    workers(1, concurrency=2)
    with instance_options(running_max=1):
        instance, _ = Pair()(one, other)
    hear(one[0])
    (worker,) = list_workers()
    (reason,) = ask(instance, "other").reasons
    say(one[1], "first")
    hear(other[0])
    after = ask(instance, "other")
    say(other[1], "second")
    assert instance.result(timeout=60) == ["first", "second"]
    assert (reason.kind, reason.workers, [node_id.bytes for node_id in reason.node_ids]) == (
        "limit",
        (worker.name,),
        [ids(instance)["one"]],
    )
    assert reason.text.startswith(f"the cap of instance {instance.instance_id} lets 1 run at once, and 1 run: ")
    assert kinds(after) == ["running"]


def test_rate(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """As many have started as the limit of its key lets start for now: until when that holds."""
    workers(1)
    instance, _ = Limited()()
    for now in watch_instance(instance.instance_id.bytes):
        if now.counts.get("completed"):
            break
    (second,) = (node for node in list_nodes(instance.instance_id.bytes) if node.state == "ready")
    (reason,) = queries.why(instance.instance_id.bytes, second.node_id.bytes).reasons
    instance.cancel()
    assert (reason.kind, "limit mail lets 0.01 start in a second" in reason.text) == ("rate", True)
    assert reason.until is not None
    assert reason.until == reason.expected_at
    assert timedelta(seconds=60) < reason.until - datetime.now(UTC) <= timedelta(seconds=100)


# -- it waits for others ----------------------------------------------------------------------------------------------


@pytest.fixture
def steps(broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe) -> Iterator[DAGInstance[object]]:
    """Gives an instance whose first step runs for as long as the test lasts."""
    started, go = pipe(), pipe()
    workers(1)
    instance, _ = Steps()(started, go)
    hear(started)
    yield instance
    say(go, "end")


def test_it_waits_for_a_running_node(steps: DAGInstance[object]) -> None:
    """The node that it waits for is named, and that this one runs."""
    why = ask(steps, "second")
    assert (why.state, kinds(why), why.reasons[0].node_ids[0].bytes) == (
        "waiting",
        ["waits_for", "running"],
        ids(steps)["first"],
    )


def test_it_waits_for_one_that_waits(steps: DAGInstance[object]) -> None:
    """The chain is followed to its end."""
    chain = links(ask(steps, "third"))
    nodes = ids(steps)
    assert [(reason.kind, [node_id.bytes for node_id in reason.node_ids]) for reason in chain] == [
        ("waits_for", [nodes["second"]]),
        ("waits_for", [nodes["first"]]),
        ("running", []),
    ]


def test_it_joins(steps: DAGInstance[object]) -> None:
    """A node whose function has returned promises waits for those; an instance is asked about by that node."""
    why = steps.why()
    assert (why.state, why.node_id.bytes, kinds(why)) == (
        "joining",
        ids(steps)["entrypoint"],
        ["joins", "waits_for", "waits_for", "running"],
    )


def test_for_people_each_link_is_a_line(steps: DAGInstance[object]) -> None:
    """`str` tells the node, and below it the chain, each link deeper than the one before."""
    lines = str(steps.why()).splitlines()
    indents = [len(line) - len(line.lstrip()) for line in lines]
    words = [line.split(":")[0].strip() for line in lines[1:]]
    assert (indents, words) == ([0, 2, 4, 6, 8], ["joins", "waits_for", "waits_for", "running"])
    assert lines[0].endswith("is joining")


def test_it_can_be_awaited(steps: DAGInstance[object]) -> None:
    """`awhy` says what `why` says."""
    assert asyncio.run(steps.awhy()) == steps.why()


def test_it_backs_off(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """After a failed attempt, until when the next one is put off."""
    workers(1)
    instance, _ = Retried()()
    for now in watch_instance(instance.instance_id.bytes):
        if "backoff" in now.counts:
            break
    (reason,) = instance.why().reasons
    assert (reason.kind, reason.text.startswith("attempt 1 failed")) == ("backs_off", True)
    assert reason.until is not None
    assert timedelta(0) < reason.until - datetime.now(UTC) <= timedelta(seconds=60)
    assert reason.expected_at == reason.until


def test_a_restarted_broker_waits_for_its_workers(workers: StartWorkers, pipe: MakePipe, tmp_path: Path) -> None:
    """It grants nothing until those are back that may have nodes, and says until when it waits at most."""
    storage = f"sqlite:///{tmp_path}/broker.db"
    started, go = pipe(), pipe()
    with launch_broker(port=0, storage=storage) as first:
        (process,) = workers(1)
        instance, _ = Held()(started, go)
        hear(started)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(60)
    process.kill()
    with launch_broker(port=0, storage=storage, environment={"DAGORAMA_RECONNECT_GRACE_S": "3600"}):
        (reason,) = instance.why().reasons
    assert reason.kind == "restarted"
    assert reason.until is not None
    assert timedelta(0) < reason.until - datetime.now(UTC) <= timedelta(hours=1)


# -- it has ended -----------------------------------------------------------------------------------------------------


def test_completed(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """Nothing holds what has its value."""
    workers(1)
    instance, _ = Plain()()
    instance.result(timeout=60)
    why = instance.why()
    assert (why.state, kinds(why), why.reasons[0].text) == ("completed", ["ended"], "it has completed")


def test_failed(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """A failed node tells its last exception; those that depend on it name it as the root cause."""
    workers(1)
    instance, _ = Broken()()
    with pytest.raises(NodeFailed):
        instance.result(timeout=60)
    told = [ask(instance, name) for name in ("divide", "consume", "entrypoint")]
    failed = ids(instance)["divide"]
    assert [(why.state, kinds(why), why.reasons[0].node_ids[0].bytes) for why in told] == [
        ("failed", ["ended"], failed),
        ("dependency_failed", ["ended"], failed),
        ("dependency_failed", ["ended"], failed),
    ]
    assert all("ZeroDivisionError: integer division" in why.reasons[0].text for why in told)
    assert "Broken.divide" in told[1].reasons[0].text


def test_cancelled(broker: LaunchedBroker) -> None:
    """What was stopped on request says so."""
    instance, _ = Plain()()
    instance.cancel()
    why = instance.why()
    assert (why.state, kinds(why), why.reasons[0].text) == ("cancelled", ["ended"], "it was cancelled")


# -- there is nothing to ask about ------------------------------------------------------------------------------------


def test_an_unknown_node(broker: LaunchedBroker) -> None:
    """A promise of another instance is refused by name, and so is what is no promise."""
    one, _ = Plain()()
    _, stranger = Plain()()
    with pytest.raises(BrokerRefused, match=r"NOT_FOUND.*has no node"):
        one.why(stranger)
    with pytest.raises(TypeError, match=r"takes a node, its id, or its promise, .* not 1"):
        one.why(1)


def test_an_unknown_instance(broker: LaunchedBroker) -> None:
    """An instance that the broker doesn't know is refused by name."""
    instance, _ = Plain()()
    instance.__dict__["_dagorama_id"] = new_id()
    with pytest.raises(BrokerRefused, match=r"NOT_FOUND.*no instance"):
        instance.why()


def test_an_instance_without_nodes(broker: LaunchedBroker) -> None:
    """There is no node to ask about, which is refused in these words."""
    instance_id = new_id()
    client.submit(instance_id, "", [])
    instance, _ = Plain()()
    instance.__dict__["_dagorama_id"] = instance_id
    with pytest.raises(BrokerRefused, match=r"FAILED_PRECONDITION.*has no node"):
        instance.why()
