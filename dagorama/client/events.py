"""Events, as people and programs are told of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from dagorama.states import InstanceState


class EventKind(StrEnum):
    """The kind of an event. Each is equal to its name in small letters, such as "node_failed"."""

    INSTANCE_CREATED = "instance_created"  #: Somebody has started it.
    INSTANCE_CONTROLLED = "instance_controlled"  #: Its priority, pause or cap has changed.
    INSTANCE_REOPENED = "instance_reopened"  #: One that had ended goes on: a retry, a rerun, further calls.
    INSTANCE_FINISHED = "instance_finished"  #: It has ended, in the state that is told.
    INSTANCE_PRUNED = "instance_pruned"  #: It had ended, and is no more.
    NODES_CREATED = "nodes_created"  #: So many calls were made.
    NODES_RESET = "nodes_reset"  #: So many nodes begin anew.
    NODE_COMPLETED = "node_completed"  #: It has its value.
    NODE_FAILED = "node_failed"  #: It has no attempts left.
    NODE_DEPENDENCY_FAILED = "node_dependency_failed"  #: Something that it depends on will have no value.
    ATTEMPT_FAILED = "attempt_failed"  #: It raised, or took too long.
    ATTEMPT_LOST = "attempt_lost"  #: Its worker was lost.
    WORKER_JOINED = "worker_joined"  #: It has connected.
    WORKER_LEFT = "worker_left"  #: It has gone in order.
    WORKER_LOST = "worker_lost"  #: It has gone otherwise.
    WORKER_DRAINING = "worker_draining"  #: It takes no more nodes, and ends when those that it runs have.


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceEvent:
    """Something has happened to an instance. Nodes of a cancelled one are not told of one by one."""

    kind: EventKind
    #: Give it to `events(after=...)` to go on after this event.
    cursor: str
    at: datetime
    instance_id: UUID
    #: "module:Class".
    definition: str
    #: As it is then.
    state: InstanceState
    #: How many nodes were created or reset; None for other kinds.
    node_count: int | None
    #: How it is to be run from then on, where that has changed: 0, False and None otherwise.
    priority: int
    paused: bool
    running_max: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEvent:
    """Something has happened to a node."""

    kind: EventKind
    #: Give it to `events(after=...)` to go on after this event.
    cursor: str
    at: datetime
    instance_id: UUID
    node_id: UUID
    #: "module:Class.method".
    function: str
    #: From 1; None where it is about no attempt.
    attempt: int | None
    #: That of a failed or lost attempt; empty otherwise.
    worker: str
    #: The exception's type and the beginning of its message, for a failed or lost attempt; empty otherwise.
    error_type: str
    error_message: str
    #: The node that failed, where that is another one.
    cause_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEvent:
    """Something has happened to a worker process."""

    kind: EventKind
    #: Give it to `events(after=...)` to go on after this event.
    cursor: str
    at: datetime
    worker_id: UUID
    #: Its name; empty where the broker does not know it any more.
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsSkipped:
    """Events were not read in time, and the broker does not have them any more: list what there is."""

    #: How many, of the instance that is watched or of others.
    number: int
    #: Give it to `events(after=...)` to go on.
    cursor: str


Event = InstanceEvent | NodeEvent | WorkerEvent | EventsSkipped


class EventBatch(NamedTuple):
    """Events after a cursor."""

    events: tuple[InstanceEvent | NodeEvent | WorkerEvent, ...]
    #: For the next batch.
    cursor: str
    #: So many before that are not known any more.
    skipped: int
    #: Nothing further can happen. Only a broker that has all of its workers in itself knows that.
    is_last: bool = False

    def __bool__(self) -> bool:
        """Return whether anything has happened."""
        return bool(self.events or self.skipped)
