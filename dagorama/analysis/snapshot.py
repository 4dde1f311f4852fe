"""The facts of nodes that the analysis goes by, as plain values.

Points in time are seconds since the epoch. Workers and brokers have clocks of their own, and a node of an older broker
has no start, so no order is relied on: the analysis puts times in order that contradict each other.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The states of nodes after which nothing changes.
ENDED = frozenset({"completed", "failed", "dependency_failed", "cancelled"})

#: All states, in the order in which people are told of them.
STATES = (
    *("completed", "leased", "ready", "waiting", "joining", "started", "backoff"),
    *("failed", "dependency_failed", "cancelled"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSnapshot:
    """One node at one moment."""

    node_id: str
    #: "module:Class.method".
    function: str
    state: str
    created_at: float
    #: Empty for none.
    label: str = ""
    #: Empty for none.
    taint: str = ""
    #: The worker of its last attempt; empty where that is not known.
    worker: str = ""
    #: When all that it depends on was there; None where that is not known.
    ready_at: float | None = None
    #: When it began anew, by a retry or a rerun, the last time; None where it has not.
    revived_at: float | None = None
    #: When its first attempt since then was granted to a worker, and when its last was; None where that is not known.
    first_granted_at: float | None = None
    granted_at: float | None = None
    #: When the function of its last attempt began; None where it has not, or nobody knows.
    started_at: float | None = None
    #: When that function returned or raised; None where it has not, or nobody knows.
    returned_at: float | None = None
    #: None until it has ended.
    finished_at: float | None = None
    dependency_ids: tuple[str, ...] = ()
    #: The node whose function made this call; None for calls from outside.
    parent_id: str | None = None
    #: When each attempt ended that has given no value, since it last began anew.
    failures_at: tuple[float, ...] = ()
    #: Those of them that a worker was granted, but for the one that is told of as its run: the worker, begin and end.
    attempts: tuple[tuple[str, float, float], ...] = ()

    @property
    def has_ended(self) -> bool:
        """Tell whether the node has reached a state that stays."""
        return self.state in ENDED


def method_of(function: str) -> str:
    """Return a name such as "module:Class.method" without its module."""
    return function.rpartition(":")[2]
