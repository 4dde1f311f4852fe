"""Held values: how much the large values of an instance may come to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.invariants import check_invariants
from dagorama_broker.core.model.values import InstanceId, NewCall, NodeId, WorkerId
from tests.unit.core.transcript import SETTINGS, Bench, payload, tidy

#: The end of a refusal.
OUT = (
    "they may come to 100 bytes (DAGORAMA_INSTANCE_BYTES_MAX of the broker), each counted once. Start instances of "
    "their own for a part of the work, or keep the data in a file or a store that all workers reach and pass its name, "
    "or raise the setting"
)
#: What is said beside it of a node.
NOTHING = (
    "The function's value and calls came to nothing, and it is not tried again: it would do the same. When that is "
    "mended, `dagorama retry` lets the instance go on"
)
X, Y, Z = ((name * 32).encode().hex() for name in "xyz")


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Give a scheduler with a small bound."""
    bench = Bench(settings=replace(SETTINGS, instance_bytes_max=100))
    yield bench
    check_invariants(bench.scheduler)


def test_a_request_brings_no_more_than_an_instance_may_hold(bench: Bench) -> None:
    """It is refused as a whole, and names the value; a value counts once, and in each instance for itself."""
    transcript = f"""
        submit i1 a^x60 b^x60 c
        held i1
        submit i1 d^y40,x60
        submit i1 e f^z1
        submit i1 f
        submit i2 g^x60,y41
        memory
        submit i2 g^y100
        ----
        InstanceCreated i1
        NodesCreated a b c
        60 bytes
        NodesCreated d
        TooManyBytes: a large value in the arguments of f has 1 bytes (SHA-256 {Z}), and those of instance 6931 \
come to 100 already; {OUT}
        NodesCreated f
        TooManyBytes: a large value in the arguments of f has 41 bytes (SHA-256 {Y}), and those of instance 6932 \
come to 60 already; {OUT}
        i1
        InstanceCreated i2
        NodesCreated g
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_definition_counts_once(bench: Bench) -> None:
    """All its calls are made with the same, and it is refused where it is too large."""
    transcript = f"""
        function m name=D.m definition=^x60
        function n name=D.n definition=^x60,y41
        submit i1 a:m b:m c:m^x60
        held i1
        submit i1 d:n
        ----
        InstanceCreated i1
        NodesCreated a b c
        60 bytes
        TooManyBytes: a large value in the definition arguments of D.n has 41 bytes (SHA-256 {Y}), and those of \
instance 6931 come to 60 already; {OUT}
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_node_that_gives_too_much_fails_for_good(bench: Bench) -> None:
    """It has given nothing and made no calls, and others go on; `retry` lets it try again."""
    transcript = f"""
        given
        function g name=D.g attempts=9
        connect w1 slots=9
        submit i1 a:g^x60 b:g c:g d
        grant

        complete w1 a value=^y41
        complete w1 b value=^x60 promises=k + k^y41
        complete w1 c value=^y40
        held i1
        failures a
        failures b
        complete w1 d
        retry i1
        held i1
        ----
        AttemptFailed a attempt=1 TooManyBytes
        NodeFailed a
        AttemptFailed b attempt=1 TooManyBytes
        NodeFailed b
        NodeCompleted c ^y40
        100 bytes
        1 w1: TooManyBytes: a large value in the result of D.g has 41 bytes (SHA-256 {Y}), and those of instance 6931 \
come to 60 already; {OUT}. {NOTHING}
        1 w1: TooManyBytes: a large value in the arguments of f has 41 bytes (SHA-256 {Y}), and those of instance 6931 \
come to 60 already; {OUT}. {NOTHING}
        NodeCompleted d d
        InstanceFinished i1 failed
        InstanceReopened i1
        NodesReset a b
        100 bytes
    """
    assert bench.replay(transcript) == tidy(transcript)


@pytest.mark.parametrize(
    ("told", "of", "path"),
    [
        ((1, "argument 'x'"), "the arguments of f", ", argument 'x',"),
        ((2, "argument 'x'"), "the arguments of f", ""),
        ((0, "result[0]"), "the arguments of f", ""),
        ((0, "result[0]"), "the definition arguments of D.m", ""),
        ((0, "result[0]"), "the result of f", ", result[0],"),
        ((1, "argument 'x'"), "the result of f", ""),
    ],
)
def test_the_path_that_is_told_is_in_what_is_named(bench: Bench, told: tuple[int, str], of: str, path: str) -> None:
    """The same value in another has another path there, which would be a wrong one here."""
    bench.replay("given\nfunction m name=D.m definition=^y101\nconnect w1\nsubmit i1 a\ngrant")
    (lease,) = bench.scheduler.workers[WorkerId(b"w1")].leases.values()
    spec = bench.functions["m" if "D.m" in of else "f"]
    child = NewCall(NodeId(b"k"), spec, payload("^y101" if of == "the arguments of f" else "k"), ())
    result = c.NodeResult(
        node_id=lease.id,
        token=lease.token,
        payload=payload("^y101"),
        promise_ids=[child.node_id],
        children=[child],
        places={b"y" * 32: told},
    )
    bench.tell(c.CompleteNodes(worker_id=WorkerId(b"w1"), results=[result]))
    (row,) = bench.ledger.nodes.values()
    assert row.failures[0].failure.message.startswith(f"a large value in {of}{path} has 101 bytes")


def test_a_completion_is_counted_like_any_result(bench: Bench) -> None:
    """Workers send most values in a short form."""
    bench.replay("connect w1 slots=9\nsubmit i1 a b c\ngrant")
    instance = bench.scheduler.instances[InstanceId(b"i1")]
    leases = {node.id: node.token for node in instance.nodes.values()}
    values = {b"a": payload("^x60"), b"b": payload("^y41"), b"c": payload("^x60,z40")}
    completions = [(NodeId(name), leases[NodeId(name)], value, 0.5) for name, value in values.items()]
    events = bench.tell(c.CompleteNodes(worker_id=WorkerId(b"w1"), completions=completions))
    assert events == [
        "NodeCompleted a ^x60",
        "AttemptFailed b attempt=1 TooManyBytes",
        "NodeFailed b",
        "NodeCompleted c ^x60,z40",
        "InstanceFinished i1 failed",
    ]


def test_an_exception_that_is_too_large_is_not_kept(bench: Bench) -> None:
    """Its type, message and traceback are, and say so; what fits counts, and the attempt is followed by another."""
    transcript = """
        given
        function g name=D.g attempts=3
        connect w1 slots=9
        submit i1 a:g^x60
        grant
        fail w1 a exception=^y40
        tick
        grant

        held i1
        fail w1 a exception=^z1
        held i1
        failures a
        ----
        100 bytes
        AttemptFailed a attempt=2 ValueError again at 0
        100 bytes
        1 w1: ValueError: no
        2 w1: ValueError: no
    """
    assert bench.replay(transcript) == tidy(transcript)
    (row,) = bench.ledger.nodes.values()
    kept, left = (attempt.failure for attempt in row.failures)
    assert (kept.exception, kept.traceback, left.exception) == (payload("^y40"), "", b"")
    assert left.traceback.startswith("The exception itself is not kept: a large value in the result of D.g has 1 bytes")


def test_values_are_counted_after_a_restart(bench: Bench) -> None:
    """Those of arguments, results and exceptions of all nodes, each once."""
    transcript = """
        given
        function g name=D.g attempts=2 definition=^u1
        connect w1 slots=9
        submit i1 a:g^x10 b:g^x10 c
        grant
        fail w1 a exception=^y20
        complete w1 c value=^z30

        held i1
        restart
        held i1
        ----
        61 bytes
        61 bytes
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_a_rerun_undoes_makes_room(bench: Bench) -> None:
    """The values of nodes that begin anew count no more, nor those of nodes that are gone; shared ones stay."""
    transcript = """
        given
        connect w1 slots=9
        submit i1 a^x10 z
        grant
        complete w1 z value=^x10,y20
        complete w1 a value=^z30 promises=b + b^u40
        grant
        held i1
        complete w1 b

        rerun i1 a
        held i1
        grant
        complete w1 a value=^v70
        ----
        InstanceReopened i1
        NodesRemoved b
        NodesReset a
        30 bytes
        WorkGranted w1 a#4
        NodeCompleted a ^v70
        ValueCompared a changed
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)
