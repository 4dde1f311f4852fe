"""The table of moves."""

from __future__ import annotations

import pytest

from dagorama_broker.core.errors import IllegalMove
from dagorama_broker.core.model.entities import Function, Instance, Lane, Node, Timing
from dagorama_broker.core.model.states import ACTIVE, LIVE, MOVES, TERMINAL, UNSUCCESSFUL, NodeState
from dagorama_broker.core.model.values import FunctionSpec, InstanceId, NodeId


def make_node(state: NodeState) -> Node:
    """Make a node in a state, belonging nowhere."""
    node = Node(
        seq=1,
        id=NodeId(b"n"),
        instance=Instance(seq=1, id=InstanceId(b"i"), definition="D", created_at=0.0),
        function=Function(FunctionSpec(name="f", queue="q"), lane=Lane("q", ""), timing=Timing()),
        arguments=b"",
        dependencies=(),
        parent_seq=0,
        created_at=0.0,
    )
    node.state = state
    return node


def test_every_state_has_a_row() -> None:
    """The table says of every state what may follow, and of nothing else."""
    assert set(MOVES) == set(NodeState)


def test_the_sets_of_states_divide_them() -> None:
    """Every state is either live or terminal; active ones are live; unsuccessful ones are terminal."""
    assert [state for state in NodeState if (state in LIVE) == (state in TERMINAL)] == []
    assert [state for state in ACTIVE if state not in LIVE] == []
    assert [state for state in TERMINAL if state not in UNSUCCESSFUL] == [NodeState.COMPLETED]


def test_only_a_reset_follows_an_end() -> None:
    """Nothing follows a terminal state but that the node begins anew, and something follows every live one."""
    assert {state for state, targets in MOVES.items() if not targets} == {NodeState.CANCELLED}
    beginnings = {NodeState.WAITING, NodeState.JOINING}
    assert [state for state in TERMINAL if not MOVES[state] <= beginnings] == []


def test_every_live_state_can_be_cancelled() -> None:
    """A node can be stopped wherever it stands."""
    assert {state for state, targets in MOVES.items() if NodeState.CANCELLED in targets} == LIVE


def test_every_state_can_be_reached() -> None:
    """Each state but the first follows some live one."""
    assert set().union(*(MOVES[state] for state in LIVE)) == set(NodeState) - {NodeState.WAITING}


@pytest.mark.parametrize("state", NodeState)
@pytest.mark.parametrize("target", NodeState)
def test_only_moves_of_the_table_are_made(state: NodeState, target: NodeState) -> None:
    """A move in the table changes the state; any other raises with its evidence and changes nothing."""
    node = make_node(state)
    if target in MOVES[state]:
        node.move(target)
        assert node.state is target
        return
    with pytest.raises(IllegalMove) as caught:
        node.move(target)
    assert (caught.value.node_id, caught.value.state, caught.value.target) == (b"n", state, target)
    assert node.state is state
