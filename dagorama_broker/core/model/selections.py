"""Selections: the instances and nodes that a list is to have. All parts have to fit; an empty one fits all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from dagorama_broker.core.model.states import InstanceState, NodeState
from dagorama_broker.core.model.stored import InstanceSummary
from dagorama_broker.core.model.values import Tags

T = TypeVar("T")


class InstanceSelection(NamedTuple):
    """Some instances."""

    states: frozenset[InstanceState] = frozenset()
    definition: str = ""  #: or its end, see `is_end`
    tags: Tags = ()  #: each is one of the instance's
    key: str = ""
    created_since: float = 0.0
    created_until: float = 0.0  #: before that; 0: any time

    def admits(self, summary: InstanceSummary) -> bool:
        """Return whether an instance is one of them."""
        return (
            (not self.states or summary.state in self.states)
            and (not self.definition or is_end(self.definition, summary.definition))
            and (not self.tags or set(self.tags) <= set(summary.tags))
            and (not self.key or summary.key == self.key)
            and summary.created_at >= self.created_since
            and (not self.created_until or summary.created_at < self.created_until)
        )


class NodeSelection(NamedTuple):
    """Some nodes of an instance."""

    states: frozenset[NodeState] = frozenset()
    functions: tuple[str, ...] = ()  #: one of these, or its end, see `is_end`
    label: str = ""  #: empty: any

    @property
    def stored_states(self) -> frozenset[NodeState]:
        """Return the states, as storage knows them, of nodes that may be in one of these."""
        return frozenset(stored for state in self.states for stored in _STORED.get(state, (state,)))

    def admits_function(self, name: str) -> bool:
        """Return whether nodes of a function are among them."""
        return not self.functions or any(is_end(end, name) for end in self.functions)


#: The states that storage may have for a node in one that only memory knows.
_STORED = dict.fromkeys((NodeState.READY, NodeState.LEASED), (NodeState.WAITING, NodeState.BACKOFF, NodeState.STARTED))


class Selected(NamedTuple, Generic[T]):
    """The part of a selection that was found when so much had been looked at."""

    items: Sequence[T]
    next_seq: int | None  #: to be gone on with; None: that was all


def is_end(end: str, name: str) -> bool:
    """Return whether a text is a name, or its end at a colon or a dot, as "load" is of "shop:Etl.load"."""
    return f":{name}".endswith((f":{end}", f".{end}"))
