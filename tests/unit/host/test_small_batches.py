"""Which batches are small enough to be committed on the event loop."""

from __future__ import annotations

from random import Random

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.model.values import FunctionSpec, InstanceId, NewCall, NodeId
from dagorama_broker.core.scheduler import Scheduler
from dagorama_broker.host.pace import BYTES, SMALL, is_small


def submitted(nodes: int, arguments: bytes = b"", definition_arguments: bytes = b"") -> list[e.Event]:
    """Return what the core decides on a submit."""
    spec = FunctionSpec(name="f", queue="q", definition_arguments=definition_arguments)
    calls = [NewCall(NodeId(b"%d" % number), spec, arguments, ()) for number in range(nodes)]
    command = c.SubmitNodes(instance_id=InstanceId(b"1"), definition="D", calls=calls)
    return Scheduler(rng=Random(0)).handle(command, 0.0)


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
    (node,) = next(event.nodes for event in submitted(1) if isinstance(event, e.NodesCreated))
    completed = e.NodeCompleted(node=node, payload=bytes(size), at=0.0)
    assert is_small([completed]) is expected
