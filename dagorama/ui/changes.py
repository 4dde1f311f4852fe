"""Changes, gathered until a browser reads them. Nothing here waits, or knows of browsers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from dagorama import ChangeSet

#: Of an instance with more changed nodes it is only said that they are many.
NODES_MAX = 200
#: With more changed instances it is said that something was missed, and everything is to be read again.
INSTANCES_MAX = 500
#: The word for more nodes than are named.
MANY = "many"


@dataclass(slots=True)
class Changes:
    """The things that have changed since the last message."""

    #: The states of changed instances; None where it is not known as yet.
    instances: dict[UUID, str | None] = field(default_factory=dict)
    #: How many nodes they have in each state, where that is known.
    counts: dict[UUID, dict[str, int]] = field(default_factory=dict)
    #: Their changed nodes; None for many.
    nodes: dict[UUID, set[UUID] | None] = field(default_factory=dict)
    #: Instances that have nodes which they had not before.
    grown: set[UUID] = field(default_factory=set)
    workers: bool = False
    queues: bool = False
    #: Something was missed: whoever shows anything reads it again.
    stale: bool = False

    def __bool__(self) -> bool:
        """Return whether there is anything to tell."""
        return bool(self.instances or self.workers or self.queues or self.stale)

    def take(self, told: ChangeSet) -> None:
        """Take in a set of changes that the broker tells."""
        for each in told.instances:
            self._note(each.instance_id, each.state, None if each.others else each.node_ids, each.counts)
            if each.grown and each.instance_id in self.instances:
                self.grown.add(each.instance_id)
        self.workers |= told.workers
        self.queues |= told.queues
        self.stale |= told.missed

    def add(self, later: Changes) -> None:
        """Take in later changes."""
        for instance_id, state in later.instances.items():
            nodes, counts = later.nodes.get(instance_id, set()), later.counts.get(instance_id, {})
            self._note(instance_id, state, nodes, counts)
        self.grown |= later.grown & self.instances.keys()
        self.workers |= later.workers
        self.queues |= later.queues
        self.stale |= later.stale

    def _note(
        self, instance_id: UUID, state: str | None, nodes: Collection[UUID] | None, counts: dict[str, int]
    ) -> None:
        if instance_id not in self.instances and len(self.instances) >= INSTANCES_MAX:
            self.stale = True
            return
        self.instances[instance_id] = state or self.instances.get(instance_id)
        if counts:
            self.counts[instance_id] = counts
        if nodes is None:
            self.nodes[instance_id] = None
        elif nodes:
            known = self.nodes.setdefault(instance_id, set())
            if known is not None:
                known.update(nodes)
                if len(known) > NODES_MAX:
                    self.nodes[instance_id] = None

    def told(self, watched: Collection[UUID]) -> dict[str, object]:
        """Return the message for a browser that watches the nodes of these instances."""
        return {
            "instances": {
                str(each): {"state": state, "counts": self.counts.get(each)} for each, state in self.instances.items()
            },
            "nodes": {str(each): self._nodes_of(each) for each in watched if each in self.nodes},
            "grown": [str(each) for each in watched if each in self.grown],
            "workers": self.workers,
            "queues": self.queues,
        }

    def _nodes_of(self, instance_id: UUID) -> list[str] | str:
        nodes = self.nodes[instance_id]
        return MANY if nodes is None else sorted(map(str, nodes))
