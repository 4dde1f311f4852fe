"""Which batches are small enough to be committed on the event loop."""

from __future__ import annotations

from random import Random

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.values import FailedAttempt, Failure, FunctionSpec, InstanceId, NewCall, NodeId
from dagorama_broker.core.scheduler import Scheduler
from dagorama_broker.host.pace import BYTES, REFERENCE_BYTES, SMALL, is_small


def submitted(nodes: int, arguments: bytes = b"", definition_arguments: bytes = b"") -> list[e.Event]:
    """Return what the core decides on a submit."""
    spec = FunctionSpec(name="f", queue="q", definition_arguments=definition_arguments)
    calls = [NewCall(NodeId(b"%d" % number), spec, arguments, ()) for number in range(nodes)]
    command = c.SubmitNodes(instance_id=InstanceId(b"1"), definition="D", calls=calls)
    return Scheduler(rng=Random(0)).handle(command, 0.0)


def nodes(count: int, definition_arguments: bytes = b"") -> list[Node]:
    """Return nodes of a new instance."""
    events = submitted(count, definition_arguments=definition_arguments)
    return [node for event in events if isinstance(event, e.NodesCreated) for node in event.nodes]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (submitted(1), True),
        (submitted(SMALL), True),
        (submitted(SMALL + 1), False),
        (submitted(1, arguments=bytes(BYTES)), True),
        (submitted(1, arguments=bytes(BYTES + 1)), False),
        (submitted(2, arguments=bytes(BYTES // 2 + 1)), False),
        (submitted(1, definition_arguments=bytes(BYTES + 1)), False),
    ],
)
def test_neither_many_nodes_nor_much_is_small(events: list[e.DurableEvent], expected: bool) -> None:
    """What takes long to write goes to the journal's thread, however quick the disk has been."""
    assert is_small(events) is expected


@pytest.mark.parametrize(("size", "expected"), [(BYTES, True), (BYTES + 1, False)])
def test_a_large_value_is_not_small(size: int, expected: bool) -> None:
    """One value may be half a gigabyte."""
    (node,) = nodes(1)
    completed = e.NodeCompleted(node=node, payload=bytes(size), at=0.0)
    assert is_small([completed]) is expected


@pytest.mark.parametrize(
    ("count", "expected"), [(BYTES // REFERENCE_BYTES, True), (BYTES // REFERENCE_BYTES + 1, False)]
)
def test_many_references_are_not_small(count: int, expected: bool) -> None:
    """A node that gathers a hundred thousand others names them all, and so does one that has returned them."""
    (node,) = nodes(1)
    others = [node] * count
    joining = e.NodeJoining(node=node, payload=None, promises=tuple(others))
    node.dependencies = tuple(others)
    assert (is_small([joining]), is_small([e.NodesCreated(nodes=[node])])) == (expected, expected)


@pytest.mark.parametrize(
    "failure",
    [
        Failure(type="x" * (BYTES + 1), message=""),
        Failure(type="E", message="x" * (BYTES + 1)),
        Failure(type="E", message="", traceback="x" * (BYTES + 1)),
        Failure(type="E", message="", exception=bytes(BYTES + 1)),
    ],
)
def test_a_large_failure_is_not_small(failure: Failure) -> None:
    """Whatever it is large in: clients of the first API may send half a gigabyte of traceback."""
    (node,) = nodes(1)
    attempt = FailedAttempt(1, "w", 0.0, failure)
    failed: list[e.DurableEvent] = [
        e.AttemptFailed(node=node, attempt=attempt, retry_at=None),
        e.LeaseLost(node=node, attempt=attempt, losses=1),
    ]
    assert [is_small([event]) for event in failed] == [False, False]
    plain = attempt._replace(failure=Failure(type="E", message=""))
    assert is_small([e.AttemptFailed(node=node, attempt=plain, retry_at=None)])


def test_a_reset_to_a_large_function_is_not_small() -> None:
    """Its function is written anew, with the constructor arguments of the definition."""
    (node,) = nodes(1, definition_arguments=bytes(BYTES + 1))
    reset = e.Reset(node, node.function, joins=False)
    assert not is_small([e.NodesReset(instance=node.instance, resets=[reset], at=0.0)])
