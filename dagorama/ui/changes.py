"""Changes, gathered: of many events, what has to be shown anew. Nothing here waits, or knows of browsers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from dagorama import Event, EventKind, EventsSkipped, InstanceEvent, NodeEvent, WorkerEvent

#: Of an instance with more changed nodes it is only said that they are many.
NODES_MAX = 200
#: With more changed instances it is said that something was missed, and everything is to be read again.
INSTANCES_MAX = 500
#: The word for more nodes than are named.
MANY = "many"

#: Nodes change, and the event does not tell which: they begin anew, or are cancelled with their instance.
_WHOLE = frozenset({EventKind.INSTANCE_REOPENED, EventKind.INSTANCE_FINISHED, EventKind.NODES_RESET})


@dataclass(slots=True)
class Changes:
    """The things that have changed since the last message."""

    #: The states of changed instances; None where no event has told of it.
    instances: dict[UUID, str | None] = field(default_factory=dict)
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

    def take(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, NodeEvent):
            self.queues = True
            self._note(event.instance_id, None, {event.node_id})
        elif isinstance(event, InstanceEvent):
            self.queues = True
            self._note(event.instance_id, event.state, None if event.kind in _WHOLE else set())
            if event.kind is EventKind.NODES_CREATED and event.instance_id in self.instances:
                self.grown.add(event.instance_id)
        elif isinstance(event, WorkerEvent):
            self.workers = True
            self.queues = True
        elif isinstance(event, EventsSkipped):
            self.stale = True

    def add(self, later: Changes) -> None:
        """Take in what has changed since."""
        for instance_id, state in later.instances.items():
            self._note(instance_id, state, later.nodes.get(instance_id, set()))
        self.grown |= later.grown & self.instances.keys()
        self.workers |= later.workers
        self.queues |= later.queues
        self.stale |= later.stale

    def count(self, instance_id: UUID, state: str) -> None:
        """Take in the state of an instance that was counted."""
        self._note(instance_id, state, ())

    def change_all(self, instance_id: UUID) -> None:
        """Take in that nodes of an instance have changed, and nobody knows which."""
        self._note(instance_id, None, None)

    def _note(self, instance_id: UUID, state: str | None, nodes: Collection[UUID] | None) -> None:
        if instance_id not in self.instances and len(self.instances) >= INSTANCES_MAX:
            self.stale = True
            return
        self.instances[instance_id] = state or self.instances.get(instance_id)
        if nodes is None:
            self.nodes[instance_id] = None
        elif nodes:
            known = self.nodes.setdefault(instance_id, set())
            if known is not None:
                known.update(nodes)
                if len(known) > NODES_MAX:
                    self.nodes[instance_id] = None

    def told(self, watched: Collection[UUID], counts: dict[UUID, dict[str, int]]) -> dict[str, object]:
        """Return the message for a browser that watches the nodes of these instances; `counts` has some instances'."""
        return {
            "instances": {
                str(each): {"state": state, "counts": counts.get(each)} for each, state in self.instances.items()
            },
            "nodes": {str(each): self._nodes_of(each) for each in watched if each in self.nodes},
            "grown": [str(each) for each in watched if each in self.grown],
            "workers": self.workers,
            "queues": self.queues,
        }

    def _nodes_of(self, instance_id: UUID) -> list[str] | str:
        nodes = self.nodes[instance_id]
        return MANY if nodes is None else sorted(map(str, nodes))
