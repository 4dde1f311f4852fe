"""The states of a node in the hands of a worker, and the one table of moves between them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol


class State(StrEnum):
    """Where a held node stands. Strings, so that they hash in C."""

    GIVEN = "given"  #: The slots have it: it runs, or stands in their line. Which of both only they know.
    PARKED = "parked"  #: It was in their line when the connection broke; starts when the broker renews its lease.
    ENDED = "ended"  #: Its report is made, and not acknowledged.
    LOST = "lost"  #: It runs on, but while the worker was away its lease ended: what it gives is discarded.
    REVOKED = "revoked"  #: It runs on, though the broker has ended its lease; the broker hears when its slot is free.
    ABANDONED = "abandoned"  #: It was lost or revoked, did not stop in time, and its thread has lost its slot.
    LET_GO = "let go"  #: The worker has nothing more to do with it.


#: For what is done with every node: on Python 3.11 a name takes a third of the time that the attribute of an enum does.
GIVEN, ENDED, LET_GO = State.GIVEN, State.ENDED, State.LET_GO

#: The broker counts on these: a hello names them, and a drained worker has none.
LEASED = frozenset({State.GIVEN, State.PARKED, State.ENDED})
#: These are to stop, and still have a slot.
STOPPING = frozenset({State.LOST, State.REVOKED})
#: A function sees in these that it is cancelled, and a report would be refused.
DROPPED = STOPPING | {State.ABANDONED, State.LET_GO}

#: Every move that a node may make. What is not here is an error (`IllegalMove`).
MOVES: dict[State, frozenset[State]] = {
    State.GIVEN: frozenset(
        {
            State.ENDED,
            State.PARKED,  # the connection broke
            State.LOST,
            State.REVOKED,
            State.LET_GO,  # it was not started and goes back, or it cannot be run here
        }
    ),
    State.PARKED: frozenset(
        {
            State.GIVEN,  # its lease is renewed
            State.LET_GO,  # it is not, or the worker drains
        }
    ),
    State.ENDED: frozenset({State.LET_GO}),  # acknowledged, or its lease is over
    State.LOST: frozenset({State.ABANDONED, State.LET_GO}),
    State.REVOKED: frozenset({State.ABANDONED, State.LET_GO}),
    State.ABANDONED: frozenset({State.LET_GO}),
    State.LET_GO: frozenset(),
}

_FROM = {to: frozenset(state for state, moves in MOVES.items() if to in moves) for to in State}


class HasState(Protocol):
    """A node, as far as its state goes."""

    state: State


class IllegalMove(Exception):
    """A node was to make a move that the table does not have."""

    def __init__(self, node: HasState, to: State) -> None:
        """Keep the node and where it was to go."""
        super().__init__(f"{node!r} cannot become {to}: it is {node.state}")
        self.node = node
        self.to = to


def move(node: HasState, to: State) -> None:
    """Move a node to another state; raise `IllegalMove` where the table has no such move."""
    if to not in MOVES[node.state]:
        raise IllegalMove(node, to)
    node.state = to


def move_all(nodes: Iterable[HasState], to: State) -> None:
    """Move nodes to another state, as `move` does each."""
    allowed = _FROM[to]
    for node in nodes:
        if node.state not in allowed:
            raise IllegalMove(node, to)
        node.state = to
