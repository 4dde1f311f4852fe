"""Every state of the core has a word on the wire."""

from enum import Enum
from typing import Any

import pytest

from dagorama.v1 import dag_pb2, graph_pb2
from dagorama_broker.core.model.states import Change, InstanceState, NodeState
from dagorama_broker.service.convert import outgoing


@pytest.mark.parametrize(
    ("table", "states", "words"),
    [
        (outgoing.NODE_STATES, NodeState, graph_pb2.NodeState),
        (outgoing.INSTANCE_STATES, InstanceState, graph_pb2.InstanceState),
        (outgoing.CHANGES, Change, dag_pb2.Change),
    ],
)
def test_states_and_words_belong_together(table: dict[Enum | None, int], states: type[Enum], words: Any) -> None:
    """No state lacks its word, no word its state, and both have the same name."""
    told = {state.name: words.Name(number).removeprefix(_prefix(words)) for state, number in table.items() if state}
    assert told == {state.name: state.name for state in states}
    unspecified = {f"{_prefix(words)}UNSPECIFIED"}
    assert {f"{_prefix(words)}{name}" for name in told} | unspecified == set(words.keys())


def _prefix(words: Any) -> str:
    first: str = words.Name(0)
    return first.removesuffix("UNSPECIFIED")
