"""What nodes do to their event loop is their own affair."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast
from unittest.mock import Mock

import pytest

from dagorama import NodeFailed, ResultTimeout
from dagorama.calls.capture import Scope
from dagorama.calls.payload import decode, encode, no_promises
from dagorama.testing import in_process_broker
from dagorama.worker.options import WorkerOptions
from dagorama.worker.shell.node_loop import NodeLoop
from dagorama.worker.shell.worker import Worker
from tests.timing import WAIT_S
from tests.unit.worker.loop_breakers import BREAKERS, Breaker, Breaking, Waiting, go, started
from tests.unit.worker.work_server import Session, work_server

NODES = [bytes([number]) * 16 for number in range(4)]
FUNCTION = f"{Breaking.__module__}:Breaking"


def arguments(*values: object) -> bytes:
    """Encodes the arguments."""
    return encode((values, {}), what="the arguments").data


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """Runs a worker with three slots, welcomes it, and gives its stream."""
    with work_server() as server:
        worker = Worker(WorkerOptions(concurrency=3), host="localhost", port=server.port)
        worker.start()
        first = server.session()
        first.hello()
        first.welcome()
        yield first
        worker.stop()
        worker.wait_until_ended()


def ended(session: Session, count: int) -> dict[bytes, object]:
    """Takes reports until so many have come; gives the values, or the types of the failures, by node."""
    found: dict[bytes, object] = {}
    while len(found) < count:
        request = session.request()
        assert request is not None
        columns = request.completions
        values = zip(columns.node_ids, columns.values, strict=True)
        found |= {node_id: decode(value, no_promises) for node_id, value in values}
        found |= {result.node_id: result.failure.type for result in request.results}
    return found


@pytest.mark.parametrize("breaker", BREAKERS, ids=lambda breaker: breaker.__name__)
def test_who_breaks_the_loop_fails_alone(session: Session, breaker: Breaker) -> None:
    """The node at fault fails with its cause, its neighbour goes on, and a later one runs."""
    started.clear()
    go.clear()
    session.grant(f"{Waiting.__module__}:Waiting.neighbour", (NODES[0], 1, arguments()))
    assert started.wait(WAIT_S)
    session.grant(f"{FUNCTION}.breaks", (NODES[1], 2, arguments(breaker.__name__)))
    assert ended(session, 1) == {NODES[1]: BREAKERS[breaker]}
    go.set()
    session.grant(f"{FUNCTION}.later", (NODES[2], 3, arguments()))
    assert ended(session, 2) == {NODES[0]: "went on: True", NODES[2]: "ran"}


@pytest.mark.parametrize("breaker", BREAKERS, ids=lambda breaker: breaker.__name__)
def test_in_process_too(breaker: Breaker) -> None:
    """As on a worker; and whoever waits is not left waiting."""
    with in_process_broker():
        instance, _ = asyncio.run(Breaking()(breaker.__name__))
        go.set()
        with pytest.raises(NodeFailed) as caught:
            instance.result(timeout=WAIT_S)
        assert caught.value.exception_type == BREAKERS[breaker]
        instance, _ = asyncio.run(Waiting()("neighbour"))
        assert instance.result(timeout=WAIT_S) == "went on: True"


def test_a_timeout_in_process_is_one_where_a_node_never_ends() -> None:
    """The broker's clock stands still while nodes run, but whoever waits is not held for longer than they said."""
    with in_process_broker():
        instance, _ = asyncio.run(Waiting()("for_ever"))
        with pytest.raises(ResultTimeout):
            instance.result(timeout=0.05)
        with pytest.raises(ResultTimeout):
            asyncio.run(instance.aresult(timeout=0.05))


@pytest.mark.parametrize("running", [0, 1, 2])
def test_an_error_of_unknown_origin_is_blamed_on_the_only_node_there_is(
    running: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A loop of another make does not tell whose callback raised; of several nodes none is picked."""
    it = NodeLoop("loop")
    nodes = {Scope(bytes([number]) * 16): Mock() for number in range(running)}
    it._tasks.update(cast(Any, nodes))
    error = SystemExit(3)
    it._blame(error)
    assert [scope.cause is error for scope in nodes] == [running == 1] * running
    assert [task.cancel.called for task in nodes.values()] == [running == 1] * running
    assert len(caplog.messages) == (running != 1)
