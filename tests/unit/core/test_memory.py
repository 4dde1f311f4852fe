"""What has ended leaves memory at once, by reference counts: nobody waits for the collector of circles."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from random import Random

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.model.entities import Function, Instance, Node
from dagorama_broker.core.model.values import FunctionSpec, InstanceId, NewCall, NodeId, WorkerId
from dagorama_broker.core.scheduler import Scheduler
from tests.unit.core.transcript import Bench


@pytest.fixture(autouse=True, scope="module")
def only_ours() -> None:
    """Have the collector, and `left`, pass over what other tests have left: they would for each test anew."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Keep the collector from hiding what refers to itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def left() -> list[object]:
    """Give what there is of the graph in memory."""
    return [one for one in gc.get_objects() if type(one) in (Node, Instance, Function)]  # others refuse to be asked


ENDS = {
    "completes": "submit i1 a b(a)\ngrant\ncomplete w1 a\ngrant\ncomplete w1 b",
    "expands": "submit i1 a\ngrant\ncomplete w1 a value=[b] promises=b + b\ngrant\ncomplete w1 b",
    "hands on": "submit i1 a\ngrant\ncomplete w1 a alias=b + b\ngrant\ncomplete w1 b",
    "fails": "submit i1 a b(a) c(b)\ngrant\nfail w1 a",
    "fails of its child": "submit i1 a\ngrant\ncomplete w1 a value=[b] promises=b + b\ngrant\nfail w1 b",
    "returns who failed of it": """
        submit i1 a z b(a,z)
        grant
        fail w1 z
        complete w1 a promises=b
    """,
    "is cancelled while it runs": "submit i1 a b(a)\ngrant\ncancel i1\nleave w1\nconnect w1 slots=2 include=q",
    "is cancelled while it waits for a worker": "submit i1 x:q2 y:q2(x)\ncancel i1",
    "is cancelled while it backs off": "submit i1 a:again\ngrant\nfail w1 a\ncancel i1",
    "has a timeout": "submit i1 t:timed u:timed\ngrant\ncomplete w1 t\ncomplete w1 u",
    "has a time to start in": "submit i1 t:soon u:soon\ngrant\ncomplete w1 t\ncomplete w1 u",
    "has a time to start in and is cancelled": "submit i1 t:lonely\ncancel i1",
    "has a deadline": "submit i1 deadline=1000 a\ngrant\ncomplete w1 a",
    "comes to its deadline": "submit i1 deadline=10 a:again x:q2 b(x)\ngrant\nfail w1 a\nat 10\ntick",
    "has limits": "submit i1 l:limited m:limited\ngrant\ncomplete w1 l\ngrant\ncomplete w1 m",
    "has limits and is cancelled": "submit i1 l:limited m:limited\ngrant\ncancel i1\n"
    "leave w1\nconnect w1 slots=2 include=q",
    "is capped": "submit i1 cap=1 a b\ngrant\ncomplete w1 a\ngrant\ncomplete w1 b",
    "is paused": "submit i1 a b\ncontrol i1 paused=yes\ngrant\ncancel i1",
    "loses its worker": "submit i1 a\ngrant\ndisconnect w1\nconnect w1 slots=2 include=q\ngrant\ncomplete w1 a",
    "loses it for good": "submit i1 o:once\ngrant\ndisconnect w1\nat 1000\ntick\nconnect w1 slots=2 include=q",
    "is rerun": "submit i1 a b(a)\ngrant\ncomplete w1 a\ngrant\ncomplete w1 b\nrerun i1 a\n"
    "grant\ncomplete w1 a\ngrant\ncomplete w1 b",
    "is retried": "submit i1 a b(a)\ngrant\nfail w1 a\nretry i1\ngrant\ncomplete w1 a\ngrant\ncomplete w1 b",
    "is asked for what cannot be": "submit i1 a b(a)\ngrant\nfail w1 a\nrerun i1 nosuch",
    "returned who failed of it, and is asked for what cannot be": """
        submit i1 a z b(a,z)
        grant
        fail w1 z
        complete w1 a promises=b
        rerun i1 nosuch
    """,
    "is overtaken": "submit i1 a b\ngrant\ncontrol i1 priority=1\ncomplete w1 a\ngrant\ncomplete w1 b",
    "is of a group": "submit i1 group=g a b\ngrant\ncomplete w1 a\ngrant\ncomplete w1 b",
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "beside", ["", "submit i0 first:q2\n", "submit i0 first:elsewhere\nconnect w2 include=elsewhere\n"]
)
def test_an_instance_leaves_memory_as_it_ends(end: str, beside: str) -> None:
    """Nothing of it is left after the next command, whatever it went through and whatever else waits."""
    bench = Bench()
    functions = """
        function q2 queue=nobody taint=t
        function elsewhere queue=elsewhere
        function again attempts=3 interval=100
        function timed timeout=3600
        function soon start_timeout=3600
        function lonely start_timeout=3600 queue=nobody taint=t
        function limited limit=1
        function once once
        connect w1 slots=2 include=q
    """
    lines = [*functions.splitlines(), *beside.splitlines(), "grant"]
    bench.replay("\n".join(line.strip() for line in lines if line.strip()))
    before = len(left())
    bench.replay("\n".join(line.strip() for line in ENDS[end].splitlines() if line.strip()))
    bench.replay("grant")
    bench.ledger = None  # type: ignore[assignment]  # a journal in memory, which keeps the specs only
    assert bench.scheduler.instances.keys() <= {b"i0"}
    assert len(left()) == before, left()


def test_nodes_of_a_large_instance_leave_in_slices() -> None:
    """The end of a large instance takes no time by its size: its nodes are let go of bit by bit, all in the end."""
    scheduler = Scheduler(rng=Random(0))
    worker = WorkerId(b"w")
    scheduler.handle(c.ConnectWorker(worker_id=worker, name="w", slots=10_000), 0.0)
    before = len(left())
    spec = FunctionSpec(name="f", queue="q")
    calls = [NewCall(NodeId(b"%d" % number), spec, b"", ()) for number in range(10_000)]
    scheduler.handle(c.SubmitNodes(instance_id=InstanceId(b"i"), definition="D", calls=calls), 0.0)
    scheduler.handle(c.GrantWork(), 0.0)
    done = [(node.id, token, b"", 0.0, 0.0) for token, node in scheduler.workers[worker].leases.items()]
    scheduler.handle(c.CompleteNodes(worker_id=worker, completions=done), 0.0)
    scheduler.handle(c.Heartbeat(worker_id=worker), 0.0)
    assert before < len(left())
    while scheduler.has_more:
        scheduler.handle(c.Heartbeat(worker_id=worker), 0.0)
    assert len(left()) == before
