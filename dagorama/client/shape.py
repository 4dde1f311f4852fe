"""The shape of an instance: its graph folded, of whatever size it is."""

from __future__ import annotations

from dataclasses import dataclass

from dagorama.client.counts import Counted
from dagorama.states import NodeState


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeGroup(Counted):
    """The nodes of an instance that call one function, and were made by nodes of one function, at one moment."""

    #: "module:Class.method".
    function: str
    #: The function of the nodes that made them; empty for calls from outside.
    maker: str
    #: How many are in a state; states without nodes are left out.
    counts: dict[NodeState, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeEdge:
    """The edges that lead from nodes of one group to nodes of another, or of the same."""

    #: The place of the group that they lead from, in `InstanceShape.groups`.
    source: int
    #: The place of the group that they lead to.
    target: int
    #: Whether nodes of the source made the calls; else their values went into them.
    is_call: bool
    #: How many edges of nodes there are.
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceShape:
    """The graph of an instance, folded: groups of nodes, and the edges between them.

    An instance of 100,000 nodes has few groups, so it can be told and drawn within a second. While it runs, each node
    is counted at a moment of its own.
    """

    #: In the order in which the first node of each was made.
    groups: tuple[ShapeGroup, ...]
    edges: tuple[ShapeEdge, ...]

    @property
    def total(self) -> int:
        """Return how many nodes there are so far. Nodes that run may make more."""
        return sum([group.total for group in self.groups])
