"""The picture of an instance before it is written: vertices and edges, one for each node, or one for each function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dagorama.analysis.snapshot import STATES, NodeSnapshot, method_of
from dagorama.logging import printable

#: A line of a vertex is no longer; the whole is in the nodes' list.
LETTERS_MAX = 48

#: The first state of these that a node of a function has is the state of the function.
_GRAVEST = ("failed", "dependency_failed", "backoff", "leased", "started", "ready", "waiting", "joining", "cancelled")

#: Fill and border of a vertex, by its state.
_COLOURS = {
    "completed": ("#d9f2dc", "#2e7d32"),
    "failed": ("#f9d6d5", "#c62828"),
    "dependency_failed": ("#fbe3cf", "#d9730d"),
    "cancelled": ("#e8e8e8", "#757575"),
    "leased": ("#d6e6fb", "#1565c0"),
    "started": ("#d6e6fb", "#1565c0"),
    "joining": ("#e7e0f7", "#5e35b1"),
    "backoff": ("#fdf3c7", "#b58900"),
    "ready": ("#ffffff", "#1565c0"),
    "waiting": ("#ffffff", "#9e9e9e"),
}


def colours(state: str) -> tuple[str, str]:
    """Return the fill and the border of a vertex in a state."""
    return _COLOURS.get(state, _COLOURS["waiting"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertex:
    """A box with lines of text. No line has a control character or a line break in it."""

    lines: tuple[str, ...]
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """An arrow from one vertex to another, both by their places in the list."""

    source: int
    target: int
    #: Whether the source made the call; else its value went into it.
    is_call: bool
    #: How many edges of nodes it stands for.
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Vertices and edges."""

    vertices: Sequence[Vertex]
    edges: Sequence[Edge]


def draw_nodes(nodes: Sequence[NodeSnapshot]) -> Drawing:
    """Return a drawing with a vertex for each node."""
    places = {node.node_id: place for place, node in enumerate(nodes)}
    vertices = [
        Vertex(
            lines=tuple(map(one_line, filter(None, (method_of(node.function), node.label, shown_state(node.state))))),
            state=node.state,
        )
        for node in nodes
    ]
    return Drawing(vertices=vertices, edges=_edges(nodes, places))


def draw_functions(nodes: Sequence[NodeSnapshot]) -> Drawing:
    """Return a drawing with a vertex for each function, which says how many of its nodes are in a state."""
    counts: dict[str, Counter[str]] = {}
    for node in nodes:
        counts.setdefault(node.function, Counter())[node.state] += 1
    places = {function: place for place, function in enumerate(counts)}
    vertices = [
        Vertex(
            lines=(one_line(method_of(function)), one_line(told(states))),
            state=next((state for state in _GRAVEST if states.get(state)), "completed"),
        )
        for function, states in counts.items()
    ]
    return Drawing(vertices=vertices, edges=_edges(nodes, {node.node_id: places[node.function] for node in nodes}))


def told(counts: Mapping[str, int]) -> str:
    """Return how many nodes there are in each state, in words."""
    known = [state for state in STATES if counts.get(state)]
    return ", ".join(f"{counts[state]} {shown_state(state)}" for state in known)


def shown_state(state: str) -> str:
    """Return a state as people are told of it."""
    return "running" if state == "leased" else state.replace("_", " ")


def one_line(text: str) -> str:
    """Return a text in one line with nothing in it that a terminal or a browser heeds, its middle left out if long."""
    cleaned = " ".join(printable(text[: 8 * LETTERS_MAX]).split())
    if len(cleaned) <= LETTERS_MAX:
        return cleaned
    half = (LETTERS_MAX - 1) // 2
    return f"{cleaned[: LETTERS_MAX - 1 - half]}…{cleaned[-half:]}"


def _edges(nodes: Iterable[NodeSnapshot], places: Mapping[str, int]) -> list[Edge]:
    """Return the edges between places, in the order of the nodes that they lead to."""
    counted: Counter[tuple[int, int, bool]] = Counter()
    for node in nodes:
        target = places[node.node_id]
        if node.parent_id is not None and node.parent_id in places:
            counted[places[node.parent_id], target, True] += 1
        for one in node.dependency_ids:
            if one in places:
                counted[places[one], target, False] += 1
    return [
        Edge(source=source, target=target, is_call=is_call, count=count)
        for (source, target, is_call), count in counted.items()
    ]
