"""Changes, as people and programs are told of them: each thing once, as it stands."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from dagorama.states import InstanceState


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceChange:
    """An instance has changed, or a node of it."""

    instance_id: UUID
    #: None where it is not known as yet: it is told later.
    state: InstanceState | None
    #: How many nodes it has in each state; empty where that is not known.
    counts: dict[str, int]
    #: The nodes that have changed; none of instances whose nodes are not watched.
    node_ids: tuple[UUID, ...]
    #: Further nodes may have changed: there are too many to name, or nobody knows which.
    others: bool
    #: It has got nodes.
    grown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """All that has changed since the set before."""

    #: In the order in which they changed last.
    instances: tuple[InstanceChange, ...]
    #: Give it to `changes(after=...)` to go on after this set.
    cursor: str
    #: Workers have come or gone, or run other nodes.
    workers: bool
    #: Anything has changed that queues and limits depend on.
    queues: bool
    #: More instances have changed than are told of: read again what you show.
    missed: bool
    #: Nothing further can change. Only a broker that has all of its workers in itself knows that.
    is_last: bool = False

    def __bool__(self) -> bool:
        """Return whether anything has changed."""
        return bool(self.instances or self.workers or self.queues or self.missed)
