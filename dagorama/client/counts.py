"""How far an instance has come: its nodes counted by function and state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dagorama.states import ENDED, NodeState

#: A worker has them.
RUNNING = frozenset({NodeState.LEASED, NodeState.STARTED})
#: They have no value and will have none.
UNSUCCESSFUL = frozenset({NodeState.FAILED, NodeState.DEPENDENCY_FAILED})


class Counted:
    """Nodes that are counted by their states."""

    __slots__ = ()

    #: How many are in a state; states without nodes are left out.
    counts: dict[NodeState, int]

    @property
    def total(self) -> int:
        """Return how many there are so far. Nodes that run may make more."""
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """Return how many have ended, with or without a value."""
        return self._in(ENDED)

    @property
    def completed(self) -> int:
        """Return how many have their value."""
        return self.counts.get(NodeState.COMPLETED, 0)

    @property
    def running(self) -> int:
        """Return how many a worker has."""
        return self._in(RUNNING)

    @property
    def failed(self) -> int:
        """Return how many have failed, or depend on one that has."""
        return self._in(UNSUCCESSFUL)

    @property
    def fraction(self) -> float:
        """Return which part has ended, from 0 to 1, of the nodes that there are so far; 0 where there are none."""
        return self.ended / (self.total or 1)

    def _in(self, states: frozenset[NodeState]) -> int:
        return sum([count for state, count in self.counts.items() if state in states])


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionProgress(Counted):
    """The nodes of an instance that call one function, at one moment."""

    #: "module:Class.method".
    function: str
    #: How many are in a state; states without nodes are left out.
    counts: dict[NodeState, int]

    def __str__(self) -> str:
        """Return how many have ended, and how many are in which state, in one line."""
        states = ", ".join([f"{count} {state}" for state, count in self.counts.items()])
        return f"{self.function} {self.ended}/{self.total} ({states})"


class InstanceProgress(Counted):
    """All nodes of an instance at one moment. `str` of it is for people, a line for each function."""

    __slots__ = ("counts", "functions")

    def __init__(self, functions: Sequence[FunctionProgress]) -> None:
        """Take the functions, in the order in which the first node of each was made."""
        #: In the order in which the first node of each was made.
        self.functions = tuple(functions)
        self.counts = {}
        for function in functions:
            for state, count in function.counts.items():
                self.counts[state] = self.counts.get(state, 0) + count

    def __repr__(self) -> str:
        """Show how many nodes have ended."""
        return f"<InstanceProgress {self.ended}/{self.total}>"

    def __str__(self) -> str:
        """Return a line for each function: how many of its nodes have ended, and which states they are in."""
        return "\n".join(map(str, self.functions))
