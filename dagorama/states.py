"""The states of instances and nodes, as users see them."""

from __future__ import annotations

from enum import StrEnum


class InstanceState(StrEnum):
    """The state of an instance. Each is equal to its name in small letters, such as "failed"."""

    RUNNING = "running"  #: Nodes of it have not ended; some may have failed already.
    COMPLETED = "completed"  #: All of its nodes have completed.
    FAILED = "failed"  #: It has ended, and nodes of it failed; its value may be there all the same.
    CANCELLED = "cancelled"  #: Somebody stopped it.


class NodeState(StrEnum):
    """The state of a node. Each is equal to its name in small letters, such as "dependency_failed"."""

    WAITING = "waiting"  #: Something that it depends on has not completed.
    READY = "ready"  #: A worker may take it.
    LEASED = "leased"  #: A worker has it.
    STARTED = "started"  #: A worker has it that is not connected now, and it must not run twice.
    JOINING = "joining"  #: It has returned promises, and waits for their values.
    BACKOFF = "backoff"  #: An attempt failed, and the next one is due later.
    COMPLETED = "completed"  #: It has its value.
    FAILED = "failed"  #: It has no attempts left.
    DEPENDENCY_FAILED = "dependency_failed"  #: Something that it depends on will have no value.
    CANCELLED = "cancelled"  #: Somebody stopped it.


#: The states of nodes after which nothing changes, unless they are retried or rerun.
ENDED = frozenset({NodeState.COMPLETED, NodeState.FAILED, NodeState.DEPENDENCY_FAILED, NodeState.CANCELLED})
