"""The order of ready nodes: each has one number for its place, and the lowest is first.

From the highest bits to the lowest it is made of the priority of the instance, what the group has had (64 bits), the
instance (40 bits) and the node (40 bits).

Groups share the workers by start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): each group has a virtual
time, which grows by the cost of each node that it is granted; the group that has had least comes first; and a group
that was idle begins at the virtual time of the group served last, so idleness earns it nothing. It is exact where the
costs are: these are estimates, see `Timing`.
"""

from __future__ import annotations

_INSTANCE_SHIFT = 40
_RANK_SHIFT = 80
_PRIORITY_SHIFT = 144


def base_of(instance_seq: int, priority: int) -> int:
    """Return what an instance gives its nodes to add their own numbers to. The rank of their group comes on top."""
    return (instance_seq << _INSTANCE_SHIFT) - (priority << _PRIORITY_SHIFT)


class Group:
    """Instances that share the workers' time with other groups: each group gets as much as the others."""

    __slots__ = ("__weakref__", "lanes", "name", "rank", "served_us")

    def __init__(self, name: str) -> None:
        self.name = name
        self.served_us = 0  #: time on workers that it was granted, and no less than the others had when it came
        self.rank = 0  #: that, as the part of a key in a view's heap
        self.lanes = 0  #: lanes of this group with nodes that may be granted, or wait for a limit

    def __repr__(self) -> str:
        return f"<Group {self.name or '(none)'} served={self.served_us} us>"

    def serve(self, served_us: int) -> None:
        """Note how much time the group was granted in all."""
        self.served_us = served_us
        self.rank = served_us << _RANK_SHIFT
