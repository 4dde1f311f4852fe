"""The nodes of an instance in columns, as the pictures of it take them: one entry of each column is about one node."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Protocol

from dagorama.analysis.folding import Fact

#: A node that ended this much later than the calls of its function came into being has waited for what it returned.
JOINED_S = 1e-4


class Columns(Protocol):
    """The columns: see `InstanceTimes`. Times are seconds since the epoch, and 0 where they are not known."""

    @property
    def began_at(self) -> float:
        """Return when the instance was created."""
        ...

    @property
    def revived_at(self) -> Sequence[float]:
        """Return when nodes of the instance began anew after it had ended."""
        ...

    @property
    def functions(self) -> Sequence[str]:
        """Return the function of each node."""
        ...

    @property
    def states(self) -> Sequence[str]:
        """Return the state of each node."""
        ...

    @property
    def labels(self) -> Sequence[str]:
        """Return the label of each node, empty for none."""
        ...

    @property
    def workers(self) -> Sequence[str]:
        """Return the worker of each node, empty for none."""
        ...

    @property
    def parents(self) -> Sequence[int]:
        """Return the place of the node that made each, -1 for none."""
        ...

    @property
    def dependencies(self) -> Sequence[Sequence[int]]:
        """Return the places of the nodes that each depends on."""
        ...

    @property
    def created_at(self) -> Sequence[float]:
        """Return when each came into being."""
        ...

    @property
    def granted_at(self) -> Sequence[float]:
        """Return when each was granted to its worker."""
        ...

    @property
    def started_at(self) -> Sequence[float]:
        """Return when the function of each began."""
        ...

    @property
    def returned_at(self) -> Sequence[float]:
        """Return when the function of each returned or raised."""
        ...

    @property
    def finished_at(self) -> Sequence[float]:
        """Return when each ended."""
        ...

    @property
    def attempts(self) -> Sequence[tuple[int, str, float, float, float]]:
        """Return the attempts before the last ones: the place of the node, the worker, and when each was granted,
        began and ended.
        """
        ...

    def __len__(self) -> int:
        """Return how many nodes there are."""
        ...


def facts_of(nodes: Columns) -> list[Fact]:
    """Return the nodes as `folding` takes them."""
    joined = joined_at(nodes)
    return [
        Fact(
            function=nodes.functions[place],
            state=str(nodes.states[place]),
            label=nodes.labels[place],
            parent=nodes.parents[place],
            dependencies=nodes.dependencies[place],
            has_joined=place in joined or nodes.states[place] == "joining",
        )
        for place in range(len(nodes))
    ]


def joined_at(nodes: Columns) -> dict[int, float]:
    """Return when nodes began to wait for what they had returned, by their places.

    That a function returned some time before its node ended does not tell: its report may have waited, too. The calls
    that it made came into being with the report.
    """
    made_at = {parent: nodes.created_at[place] for place, parent in enumerate(nodes.parents) if parent >= 0}
    return {
        place: at
        for place, at in made_at.items()
        if nodes.states[place] == "joining" or nodes.finished_at[place] > at + JOINED_S
    }


def end_of(nodes: Columns, place: int, now: float) -> float:
    """Return when a node ended, or now where it has not."""
    return nodes.finished_at[place] or now


def revived_at(nodes: Columns, place: int) -> float:
    """Return when a node began anew, by a retry or a rerun, the last time; 0 where it has not.

    While its instance was over it had ended, so what came of it afterwards came of its having begun anew.
    """
    until = nodes.granted_at[place] or nodes.finished_at[place] or inf
    return max([at for at in nodes.revived_at if nodes.created_at[place] < at <= until], default=0.0)


def critical_places(nodes: Columns, *, now: float) -> list[int]:
    """Return the chain of nodes without which the instance would have ended earlier, from its begin to its end.

    It goes the way of `critical` with columns only, so that 100,000 nodes take no time: back from the node that ended
    last, to the call that it joined last, to the dependency that it waited for longest, or to the node that made it.
    """
    if not len(nodes):
        return []
    children: dict[int, list[int]] = {}
    for place, parent in enumerate(nodes.parents):
        if parent >= 0:
            children.setdefault(parent, []).append(place)
    found: list[int] = []
    seen: set[tuple[int, bool]] = set()
    place, whole = max(range(len(nodes)), key=lambda one: (end_of(nodes, one, now), -one)), True
    while (place, whole) not in seen:
        seen.add((place, whole))
        if whole:
            returned_at, end = nodes.returned_at[place], end_of(nodes, place, now)
            inside = [
                one for one in children.get(place, ()) if returned_at and returned_at < end_of(nodes, one, now) <= end
            ]
            if inside and returned_at < end - JOINED_S:
                place = max(inside, key=lambda one: end_of(nodes, one, now))
                continue
        if not found or found[-1] != place:
            found.append(place)
        blocker = max(nodes.dependencies[place], key=lambda one: end_of(nodes, one, now), default=-1)
        since = max(nodes.created_at[place], revived_at(nodes, place)) if nodes.revived_at else nodes.created_at[place]
        if blocker >= 0 and end_of(nodes, blocker, now) > since:
            place, whole = blocker, True
        elif nodes.parents[place] >= 0:
            place, whole = nodes.parents[place], False
    return found[::-1]
