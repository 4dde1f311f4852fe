"""The graph of an instance, folded to so few vertices that people can look at it.

Nodes of the same function that the same node made are one vertex where there are many of them. Where that leaves too
many vertices, it is one for all nodes of a function that nodes of the same function made.

A value is drawn from where it comes: a node that returned promises of its calls has their values, so whatever it leads
to is drawn as led to by these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

#: So many nodes of one function and one maker are drawn each for itself.
SINGLE_MAX = 12
#: With more vertices than that, groups are made of the nodes of all makers of one function.
VERTICES_MAX = 160
#: A value that comes from more nodes than that is drawn from the node that returned it.
SOURCES_MAX = 60

#: The state of a group is the first of these that one of its nodes has.
GRAVEST = (
    *("failed", "leased", "started", "backoff", "ready", "joining", "waiting"),
    *("dependency_failed", "cancelled", "completed"),
)


@dataclass(slots=True, kw_only=True)
class Fact:
    """One node, as far as a picture needs it."""

    function: str
    state: str
    label: str = ""
    #: The place of the node that made it; -1 for calls from outside.
    parent: int = -1
    #: The places of the nodes whose values went into it.
    dependencies: Sequence[int] = ()
    #: Whether it returned promises, so that its value is that of its calls.
    has_joined: bool = False


@dataclass(slots=True, kw_only=True)
class Vertex:
    """One node, or a group of nodes."""

    #: It stays the same as the graph grows.
    key: str
    function: str
    #: The function of the nodes that made these; empty for calls from outside.
    maker: str
    #: How many nodes are in a state.
    counts: dict[str, int]
    #: Of a single node; empty for none.
    label: str = ""
    #: The places of its nodes, where these are known.
    members: list[int] = field(default_factory=list)
    is_group: bool = False

    @property
    def total(self) -> int:
        """Return how many nodes it stands for."""
        return sum(self.counts.values())

    @property
    def state(self) -> str:
        """Return the gravest state of its nodes."""
        return next((state for state in GRAVEST if self.counts.get(state)), "completed")


@dataclass(frozen=True, slots=True)
class Link:
    """An edge between two vertices, by their places."""

    source: int
    target: int
    #: Whether the source made the calls; else its values went into the target.
    is_call: bool
    #: How many edges of nodes it stands for.
    count: int
    #: Whether it need not be drawn: values lead to the target as well, which the eye follows.
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class Folded:
    """A graph of few vertices."""

    vertices: list[Vertex]
    links: list[Link]


def fold(nodes: Sequence[Fact], *, singles_max: int = SINGLE_MAX, vertices_max: int = VERTICES_MAX) -> Folded:
    """Return the graph of some nodes, given in creation order, folded as far as it has to be."""
    by_maker: dict[tuple[str, int], list[int]] = {}
    for place, node in enumerate(nodes):
        by_maker.setdefault((node.function, node.parent), []).append(place)
    vertices: list[Vertex] = []
    for (function, parent), members in by_maker.items():
        maker = nodes[parent].function if parent >= 0 else ""
        if len(members) <= singles_max:
            vertices += [_vertex(nodes, f"n{place}", function, maker, [place]) for place in members]
        else:
            vertices.append(_vertex(nodes, f"g{function}|{parent}", function, maker, members))
    if len(vertices) > vertices_max:
        by_function: dict[tuple[str, str], list[int]] = {}
        for vertex in vertices:
            by_function.setdefault((vertex.function, vertex.maker), []).extend(vertex.members)
        vertices = [
            _vertex(nodes, key_of(function, maker), function, maker, sorted(members))
            for (function, maker), members in by_function.items()
        ]
    vertices.sort(key=lambda vertex: vertex.members[0])
    return Folded(vertices, _links(nodes, vertices))


def key_of(function: str, maker: str) -> str:
    """Return the key of the group of all nodes of a function that nodes of another made."""
    return f"f{function}|{maker}"


def fold_groups(groups: Iterable[tuple[str, str, Mapping[str, int]]], edges: Sequence[Link]) -> Folded:
    """Return the graph of groups that a broker has folded: function, maker's function, and counts by state."""
    vertices = [
        Vertex(
            key=key_of(function, maker),
            function=function,
            maker=maker,
            counts=dict(counts),
            is_group=sum(counts.values()) > 1,
        )
        for function, maker, counts in groups
    ]
    counted: Counter[tuple[int, int, bool]] = Counter()
    sources = _group_sources(edges)
    for one in edges:
        ends = sources.get(one.source, ()) if not one.is_call else ()
        for source in (one.source,) if not ends or one.target in ends else ends:
            counted[source, one.target, one.is_call] += one.count
    return Folded(vertices, _told(counted))


def _group_sources(edges: Sequence[Link]) -> dict[int, list[int]]:
    """Return for groups that made calls the groups that their values come from: of these calls the last ones.

    A function cannot wait for what it calls, so if the values of its calls go nowhere else, its own is made of them.
    """
    made: dict[int, list[int]] = {}
    feeding = set()
    for one in edges:
        if one.source != one.target:
            if one.is_call:
                made.setdefault(one.source, []).append(one.target)
            else:
                feeding.add(one.source)
    found: dict[int, list[int]] = {}
    for group in made:
        ends: list[int] = []
        stack, seen = [group], {group}
        while stack:
            for call in made.get(stack.pop(), ()):
                if call in seen:
                    continue
                seen.add(call)
                if call not in feeding:
                    (stack if call in made else ends).append(call)
        if ends:
            found[group] = ends
    return found


def _vertex(nodes: Sequence[Fact], key: str, function: str, maker: str, members: list[int]) -> Vertex:
    is_group = len(members) > 1
    return Vertex(
        key=key,
        function=function,
        maker=maker,
        counts=dict(Counter([nodes[place].state for place in members])),
        label="" if is_group else nodes[members[0]].label,
        members=members,
        is_group=is_group,
    )


def _links(nodes: Sequence[Fact], vertices: Sequence[Vertex]) -> list[Link]:
    """Return the links between vertices."""
    vertex_of = [0] * len(nodes)
    for number, vertex in enumerate(vertices):
        for place in vertex.members:
            vertex_of[place] = number
    sources = value_sources(nodes)
    counted: Counter[tuple[int, int, bool]] = Counter()
    for place, node in enumerate(nodes):
        target = vertex_of[place]
        if node.parent >= 0:
            counted[vertex_of[node.parent], target, True] += 1
        for dependency in node.dependencies:
            for source in sources.get(dependency, (dependency,)):
                counted[vertex_of[source], target, False] += 1
    return _told(counted)


def _told(counted: Mapping[tuple[int, int, bool], int]) -> list[Link]:
    """Return links, none from a vertex to itself; calls are plain where values lead to their target too."""
    fed = {target for source, target, is_call in counted if not is_call and source != target}
    return [
        Link(source, target, is_call, count, is_plain=is_call and target in fed)
        for (source, target, is_call), count in counted.items()
        if source != target
    ]


def value_sources(nodes: Sequence[Fact]) -> dict[int, list[int]]:
    """Return for each node that returned promises the nodes that its value comes from, as far as that can be told.

    These are its calls whose values went nowhere else, and of such as have returned promises themselves, theirs.
    """
    used = {dependency for node in nodes for dependency in node.dependencies}
    ends: dict[int, list[int]] = {}
    for place, node in enumerate(nodes):
        if node.parent >= 0 and place not in used and nodes[node.parent].has_joined:
            ends.setdefault(node.parent, []).append(place)
    found: dict[int, list[int]] = {}
    for place in sorted(ends, reverse=True):  # calls come after the nodes that made them
        sources = [source for end in ends[place] for source in found.get(end, (end,))]
        if len(sources) <= SOURCES_MAX:
            found[place] = sources
    return found
