"""Many promises are resolved by one watch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dagorama import DAGDefinition, NodeFailed, ResultTimeout, dagorama, resolve, resolve_async
from dagorama.client import waiting
from dagorama.client.broker import deadline_in, wait_for_values
from dagorama.models.promise import node_id_of
from dagorama.testing import in_process_broker
from dagorama.v1.graph_pb2 import Failure, NodeState, Outcome
from tests.unit.library.dag_server import DagServer


class Task(DAGDefinition):
    """A definition."""

    @dagorama().syncfn
    def entrypoint(self, number: int) -> int:
        """Gives a number."""
        return number

    @dagorama().syncfn
    def fails(self) -> int:
        """Gives nothing."""
        raise ValueError("no stock")


WAYS: list[Callable[[Any, Any], object]] = [
    lambda instance, promises: resolve(instance, promises, wait_for_results=True),
    lambda instance, promises: asyncio.run(resolve_async(instance, promises, wait_for_results=True)),
]


def started(count: int) -> tuple[Any, list[Any]]:
    """Starts an instance with so many nodes; gives it with their promises."""
    instance: Any
    instance, first = Task()(0)
    return instance, [first, *(instance.entrypoint(number) for number in range(1, count))]


def complete(server: DagServer, *promises: Any) -> None:
    """Gives nodes their values, each its place in the list."""
    for number, promise in enumerate(promises):
        server.complete(node_id_of(promise), [number])


def fail(server: DagServer, promise: Any, message: str) -> None:
    """Fails a node."""
    failure = Failure(type="ValueError", message=message)
    server.end(node_id_of(promise), Outcome(state=NodeState.NODE_STATE_FAILED, failure=failure))


@pytest.mark.parametrize("way", WAYS)
def test_one_watch_is_for_all_of_them(server: DagServer, way: Callable[[Any, Any], object]) -> None:
    """Whether they have ended or not, each once, and with a value of its own."""
    instance, promises = started(5)
    complete(server, *promises[:2])
    told = threading.Timer(0.05, complete, (server, *promises))
    told.start()
    values = way(instance, {"all": promises, "first": promises[0]})
    told.join()
    assert values == {"all": [[0], [1], [2], [3], [4]], "first": [0]}
    assert [len(request.node_ids) for request in server.watches] == [5]


def test_what_does_not_go_together_is_asked_for_again(server: DagServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a broker tells less in a message, and where there are more than a request may name."""
    monkeypatch.setattr(waiting, "NODES_MAX", 4)
    server.together_max = 2
    instance, promises = started(7)
    complete(server, *promises)
    assert resolve(instance, promises, wait_for_results=True) == [[number] for number in range(7)]
    assert [len(request.node_ids) for request in server.watches] == [4, 4, 3, 1]
    assert resolve(instance, promises) == [[number] for number in range(7)]


def test_the_first_that_fails_is_raised_without_the_rest(server: DagServer) -> None:
    """In the order of the promises, whichever was first in time; nobody waits for those after it."""
    instance, promises = started(4)
    fail(server, promises[2], "second")
    fail(server, promises[1], "first")
    complete(server, promises[0])
    with pytest.raises(NodeFailed, match="first"):
        resolve(instance, promises, wait_for_results=True)


@pytest.mark.parametrize(
    "look", [resolve, lambda instance, promises: asyncio.run(resolve_async(instance, promises))], ids=["sync", "async"]
)
def test_a_look_tells_nothing_until_all_have_ended(server: DagServer, look: Callable[[Any, Any], object]) -> None:
    """One request asks for all of them, and brings no values."""
    instance, promises = started(3)
    complete(server, *promises[:2])
    assert look(instance, promises) is None
    assert [(len(request.node_ids), request.at_once) for request in server.watches] == [(3, True)]
    complete(server, *promises)
    assert look(instance, promises) == [[0], [1], [2]]


def test_a_timeout_names_the_first_that_is_missing(server: DagServer) -> None:
    """Not one that has a value."""
    instance, promises = started(3)
    complete(server, promises[0])
    node_ids = [node_id_of(promise) for promise in promises]
    with pytest.raises(ResultTimeout) as raised:
        wait_for_values(instance.instance_id.bytes, node_ids, deadline_in(0.05))
    assert raised.value.node_id is not None
    assert (raised.value.node_id.bytes, raised.value.broker_answers) == (node_ids[1], True)


def test_a_timeout_of_0_gives_what_is_there(server: DagServer) -> None:
    """Also where there are many."""
    instance, promises = started(3)
    complete(server, *promises)
    node_ids = [node_id_of(promise) for promise in promises]
    values = wait_for_values(instance.instance_id.bytes, node_ids, deadline_in(0))
    assert list(values.values()) == [[0], [1], [2]]


@pytest.mark.parametrize("way", WAYS)
def test_a_restart_in_between_is_not_noticed(server: DagServer, way: Callable[[Any, Any], object]) -> None:
    """The watch is sent again."""
    instance, promises = started(3)

    def restart() -> None:
        assert server.watched.acquire(timeout=60)
        server.stop()
        server.start()
        complete(server, *promises)

    thread = threading.Thread(target=restart)
    thread.start()
    assert way(instance, promises) == [[0], [1], [2]]
    thread.join()


@pytest.mark.parametrize("way", WAYS)
def test_a_broker_in_process_gives_all_of_them(way: Callable[[Any, Any], object]) -> None:
    """The first failure in their order is raised, and what comes after it does not run for that."""
    with in_process_broker():
        instance, promises = started(3)
        assert resolve(instance, promises) == [0, 1, 2]
        assert way(instance, promises) == [0, 1, 2]
        with pytest.raises(NodeFailed, match="no stock"):
            way(instance, [instance.fails(), instance.entrypoint(4)])
