"""The states of nodes and instances, and the one table of moves between them."""

from enum import StrEnum


class NodeState(StrEnum):
    """The state of a node. Strings, so that they hash in C and read well in the metadata tables."""

    WAITING = "waiting"  #: Some dependency has not completed; in no queue.
    READY = "ready"  #: In its lane, for the first worker that may run it.
    LEASED = "leased"  #: One worker holds a live lease; in no queue.
    STARTED = (
        "started"  #: Leased to a worker that is away now, and not to be run by another. Storage has it for leased.
    )
    JOINING = "joining"  #: Its function returned promises that have not all completed; nobody runs it.
    BACKOFF = "backoff"  #: An attempt failed; becomes ready at `retry_at`.
    COMPLETED = "completed"  #: Its value is final.
    FAILED = "failed"  #: Its attempts are used up, or it gets no further one; its last failure says why.
    DEPENDENCY_FAILED = "dependency_failed"  #: Something that it waits for ended without a value.
    CANCELLED = "cancelled"  #: Stopped on request.


class InstanceState(StrEnum):
    """The state of an instance."""

    RUNNING = "running"  #: It has no node yet, or one that is not terminal.
    COMPLETED = "completed"  #: All its nodes completed.
    FAILED = "failed"  #: All its nodes are terminal and at least one did not complete.
    CANCELLED = "cancelled"  #: Stopped on request.


#: The ways in which an instance ends.
ENDED = (InstanceState.COMPLETED, InstanceState.FAILED, InstanceState.CANCELLED)


class Change(StrEnum):
    """The value of a node that was run again, as compared to the one before."""

    SAME = "same"  #: It is stored as the same bytes, whatever ids stand in them.
    CHANGED = "changed"
    NEW = "new"  #: There was none before.


UNSUCCESSFUL = frozenset({NodeState.FAILED, NodeState.DEPENDENCY_FAILED, NodeState.CANCELLED})
TERMINAL = UNSUCCESSFUL | {NodeState.COMPLETED}
LIVE = frozenset(NodeState) - TERMINAL

#: Those that every node passes, for what is done with every node: on Python 3.11 a name takes a third of the time that
#: the attribute of an enum does.
WAITING, READY, LEASED, COMPLETED = NodeState.WAITING, NodeState.READY, NodeState.LEASED, NodeState.COMPLETED

#: Nodes that can bring the graph forward by themselves: a worker runs them, or will, or may while it is away.
ACTIVE = frozenset({NodeState.READY, NodeState.LEASED, NodeState.STARTED, NodeState.BACKOFF})

#: Every move that a node may make. What is not here is an error (`IllegalMove`).
MOVES: dict[NodeState, frozenset[NodeState]] = {
    NodeState.WAITING: frozenset({NodeState.READY, NodeState.DEPENDENCY_FAILED, NodeState.CANCELLED}),
    NodeState.READY: frozenset(
        {
            NodeState.LEASED,
            NodeState.FAILED,  # nobody took it in time, or its instance's time is over
            NodeState.CANCELLED,
        }
    ),
    NodeState.LEASED: frozenset(
        {
            NodeState.COMPLETED,
            NodeState.JOINING,
            NodeState.BACKOFF,
            NodeState.FAILED,
            NodeState.READY,  # the lease was lost or handed back
            NodeState.STARTED,  # the worker went away
            NodeState.CANCELLED,
        }
    ),
    NodeState.STARTED: frozenset(
        {
            NodeState.READY,  # the worker is back with it, and is leased it at once
            NodeState.FAILED,
            NodeState.CANCELLED,
        }
    ),
    NodeState.JOINING: frozenset({NodeState.COMPLETED, NodeState.DEPENDENCY_FAILED, NodeState.CANCELLED}),
    NodeState.BACKOFF: frozenset({NodeState.READY, NodeState.FAILED, NodeState.CANCELLED}),
    NodeState.COMPLETED: frozenset({NodeState.WAITING, NodeState.JOINING}),  # it, or what it came of, is run again
    NodeState.FAILED: frozenset({NodeState.WAITING}),  # the same, or a failed instance is retried
    NodeState.DEPENDENCY_FAILED: frozenset({NodeState.WAITING, NodeState.JOINING}),  # the same
    NodeState.CANCELLED: frozenset(),
}
