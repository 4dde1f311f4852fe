"""Timeouts and cancellations, on their way to the broker."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from dagorama import (
    BrokerRefused,
    DAGDefinition,
    DAGInstance,
    NodeContext,
    NodeStopped,
    context,
    dagorama,
    generate_instance_id,
)
from dagorama.calls.capture import Scope, current_scope
from dagorama.worker.kernel.states import State, move
from dagorama.worker.shell.held import Function, Held
from tests.unit.library.dag_server import DagServer


class Task(DAGDefinition):
    """Functions with and without a timeout."""

    @dagorama(timeout=2, start_timeout=3).syncfn
    def entrypoint(self) -> int:
        """Is stopped after 2 s."""
        return 1

    @dagorama().syncfn
    def patient(self) -> int:
        """Is never stopped."""
        return 1


def test_a_timeout_travels(server: DagServer) -> None:
    """The function's spec has both timeouts in seconds, and 0 where there is none."""
    instance: Any = Task()()[0]
    instance.patient()
    specs = [submit.functions[0] for submit in server.submits]
    assert [(spec.timeout_s, spec.start_timeout_s) for spec in specs] == [(2.0, 3.0), (0.0, 0.0)]


@pytest.mark.parametrize("timeout", [0, -1, -0.5, float("nan"), float("inf"), "1", True, [1], 1e300, 10**400])
@pytest.mark.parametrize("argument", ["timeout", "start_timeout"])
def test_a_wrong_timeout_is_refused_where_it_is_written(argument: str, timeout: Any) -> None:
    """The error names the argument and what it was."""
    with pytest.raises(ValueError, match=rf"^{argument} must be .* not ") as caught:
        dagorama(**{argument: timeout})
    assert str(caught.value).endswith(repr(timeout))


def test_an_instance_is_cancelled_once(server: DagServer) -> None:
    """`cancel` and `acancel` ask the broker, whose refusal is told."""
    first, second = DAGInstance(generate_instance_id(), Task()), DAGInstance(generate_instance_id(), Task())
    first.cancel()
    asyncio.run(second.acancel())
    assert server.cancelled == [first.instance_id.bytes, second.instance_id.bytes]
    for again in (first.cancel, lambda: asyncio.run(first.acancel())):
        with pytest.raises(BrokerRefused, match=f"to cancel instance {first.instance_id} .*it is cancelled already"):
            again()


def test_an_instance_is_retried_once(server: DagServer) -> None:
    """`retry` and `aretry` ask the broker, whose refusal is told."""
    first, second = DAGInstance(generate_instance_id(), Task()), DAGInstance(generate_instance_id(), Task())
    first.retry()
    asyncio.run(second.aretry())
    assert server.retried == [first.instance_id.bytes, second.instance_id.bytes]
    for again in (first.retry, lambda: asyncio.run(first.aretry())):
        with pytest.raises(BrokerRefused, match=f"to retry instance {first.instance_id} .*it is running"):
            again()


def test_a_node_is_rerun(server: DagServer) -> None:
    """`rerun` and `arerun` name the promise's node to the broker; what names no node is refused."""
    instance, promise = Task()()
    instance.rerun(promise)
    asyncio.run(instance.arerun(promise))
    (submit,) = server.submits
    assert server.rerun == [(instance.instance_id.bytes, submit.calls.node_ids[0])] * 2
    with pytest.raises(TypeError, match=r"^rerun\(\) takes a node, its id, or its promise, .*, not 1$"):
        instance.rerun(1)


def test_what_was_done_without_an_answer_is_not_done_again(server: DagServer) -> None:
    """A repeated request to retry or to rerun has the id of the first, every call has one of its own."""
    instance, promise = Task()()
    for begin in (instance.retry, partial(instance.rerun, promise), partial(instance.rerun, promise)):
        server.answers_lost = 1
        begin()
    assert (len(server.retried), len(server.rerun)) == (1, 2)
    first, second, third = server.requests[::2]
    assert server.requests == [first, first, second, second, third, third]
    assert len({first, second, third}) == 3


def test_a_context_follows_the_lease() -> None:
    """Token and cancellation are read when they are asked for; ids and key stay."""
    held = Held(b"n" * 16, 7, b"i" * 16, Function("m:C.f", b"", 60.0), b"", 3, None)
    node = NodeContext(held)
    key = node.idempotency_key
    assert (node.fencing_token, node.cancelled, node.attempt, node.function) == (7, False, 3, "m:C.f")
    held.token = 9
    assert (node.fencing_token, node.idempotency_key) == (9, key)
    node.raise_if_cancelled()
    move(held, State.REVOKED)
    with pytest.raises(NodeStopped, match=str(node.node_id)):
        node.raise_if_cancelled()
    assert repr(node) == f"NodeContext(m:C.f, node {node.node_id}, attempt 3)"


def test_the_remaining_time_is_never_negative() -> None:
    """It is 0 once the time is over."""
    held = Held(b"n" * 16, 7, b"i" * 16, Function("m:C.f", b"", 60.0), b"", 1, None)
    held.deadline = 0.001
    token = current_scope.set(Scope(b"i" * 16, held))
    try:
        assert context().remaining_s == 0.0
    finally:
        current_scope.reset(token)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), float("inf"), "0.5", None, True])
def test_a_fraction_that_is_none_is_refused(fraction: Any) -> None:
    """The error names what it was; a message that is no string is refused alike."""
    held = Held(b"n" * 16, 7, b"i" * 16, Function("m:C.f", b""), b"", 1, None)
    with pytest.raises(ValueError, match="fraction of progress must be a number from 0 to 1, not") as caught:
        NodeContext(held).progress(fraction)
    assert str(caught.value).endswith(repr(fraction))
    with pytest.raises(ValueError, match="message of progress must be a string, not 3"):
        NodeContext(held).progress(1, 3)  # type: ignore[arg-type] # that is the mistake
    assert held.progress is None
