"""What the library's unit tests share: a scope to capture calls in, and a small broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dagorama.calls.capture import Scope, current_scope
from dagorama.calls.ids import new_id
from dagorama.definition import DAGDefinition, DAGInstance, instance_of
from tests.unit.library.dag_server import DagServer


class Running:
    """A running node, as far as the library can tell."""

    def __init__(self) -> None:
        """The node's instance has an id of its own."""
        self.scope = Scope(new_id())

    def instance(self, definition: DAGDefinition) -> DAGInstance[object]:
        """Returns the `self` that a function of the definition gets."""
        return instance_of(self.scope.instance_id, definition)


@pytest.fixture
def running() -> Iterator[Running]:
    """The test's body runs as if it were a node's function."""
    node = Running()
    token = current_scope.set(node.scope)
    yield node
    current_scope.reset(token)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[DagServer]:
    """A server at the address that the environment names."""
    server = DagServer()
    server.start()
    monkeypatch.setenv("DAGORAMA_HOST", "localhost")
    monkeypatch.setenv("DAGORAMA_PORT", str(server.port))
    yield server
    server.stop()
