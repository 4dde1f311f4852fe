"""The table of moves."""

from __future__ import annotations

import pytest

from dagorama.worker.kernel.states import DROPPED, LEASED, MOVES, STOPPING, IllegalMove, State, move, move_all
from dagorama.worker.shell.held import Function, Held


def node(state: State) -> Held:
    """Make a node in this state."""
    held = Held(b"n", 1, b"i", Function("f", b""), b"", 1, None)
    held.state = state
    return held


@pytest.mark.parametrize("origin", State)
@pytest.mark.parametrize("to", State)
def test_a_move_that_is_not_in_the_table_is_an_error(origin: State, to: State) -> None:
    """Alone and among others; the node stays what it was, and the error names both."""
    alone, among = node(origin), node(origin)
    if to in MOVES[origin]:
        move(alone, to)
        move_all([among], to)
        assert alone.state is among.state is to
        return
    with pytest.raises(IllegalMove, match=f"cannot become {to}: it is {origin}"):
        move(alone, to)
    with pytest.raises(IllegalMove, match=f"cannot become {to}: it is {origin}"):
        move_all([among], to)
    assert alone.state is among.state is origin


def test_every_state_has_its_sets() -> None:
    """The broker counts on a node, or its lease has ended; what stops has ended its lease."""
    assert set(State) == MOVES.keys() == LEASED | DROPPED
    assert not LEASED & DROPPED
    assert STOPPING <= DROPPED
    assert [node(state).dropped for state in State] == [state in DROPPED for state in State]


def test_every_state_can_be_come_to_and_ends() -> None:
    """From a grant on; and from each there is a way to let go of a node."""
    reached, ahead = set[State](), [State.GIVEN]
    while ahead:
        state = ahead.pop()
        reached.add(state)
        ahead += MOVES[state] - reached
    assert reached == set(State)
    assert [state for state in State if not MOVES[state]] == [State.LET_GO]
