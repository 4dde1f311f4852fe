"""The layout of graphs: layers, order and places, of any graph and of one that grows."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.layout import SHAPES
from dagorama.analysis.layout import layered, wired
from dagorama.analysis.placing import columns, placed

GAP = 8.0


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[float], list[tuple[int, int]]]:
    """Return the heights of vertices, and edges from each to any that came before it, as nodes have them."""
    heights = draw(st.lists(st.floats(1, 200), min_size=1, max_size=40))
    edges = []
    for target in range(1, len(heights)):
        edges += [(source, target) for source in draw(st.lists(st.integers(0, target - 1), max_size=3))]
    return heights, edges


def place(heights: list[float], edges: list[tuple[int, int]], before: list[float | None] | None = None) -> list[float]:
    """Return the middles of vertices; no two of a layer lie over each other."""
    graph = wired(len(heights), [one for one, _ in edges], [one for _, one in edges])
    found = placed(graph, heights, gap=GAP, before=before)
    assert sorted(vertex for layer in found.layers for vertex in layer) == list(range(len(heights)))
    for layer in found.layers:
        for upper, lower in pairwise(layer):
            room = found.middles[lower] - found.middles[upper] - (heights[upper] + heights[lower]) / 2
            assert room >= GAP - 1e-6
    return found.middles


@given(graphs())
def test_each_edge_leads_to_the_right(graph: tuple[list[float], list[tuple[int, int]]]) -> None:
    """A vertex stands in a layer after those of all that lead to it, and no two lie over each other."""
    heights, edges = graph
    depths = {vertex: depth for depth, layer in enumerate(layered(len(heights), edges)) for vertex in layer}
    assert all(depths[source] < depths[target] for source, target in edges)
    place(heights, edges)


@given(graphs(), st.integers(1, 39))
def test_what_is_there_keeps_its_order_when_a_graph_grows(
    graph: tuple[list[float], list[tuple[int, int]]], count: int
) -> None:
    """Vertices that had places stand in the same order in the same layers, whatever comes between them."""
    heights, edges = graph
    count = min(count, len(heights))
    known = [(source, target) for source, target in edges if target < count]
    first = place(heights[:count], known)
    second = place(heights, edges, [*first, *[None] * (len(heights) - count)])
    for layer in layered(count, known):
        assert sorted(layer, key=first.__getitem__) == sorted(layer, key=second.__getitem__)


@given(graphs())
def test_nothing_moves_where_nothing_has_come(graph: tuple[list[float], list[tuple[int, int]]]) -> None:
    """The same graph, laid out again from its places, has the same places."""
    heights, edges = graph
    first = place(heights, edges)
    assert place(heights, edges, [*first]) == pytest.approx(first, abs=1e-6)


def test_what_comes_below_moves_nothing() -> None:
    """A fan that grows at its end stays where it is: its next node stands below."""
    edges = [(0, 1), (0, 2), (0, 3)]
    first = place([36.0] * 3, edges[:2])
    second = place([36.0] * 4, edges, [*first, None])
    assert second[:3] == pytest.approx(first, abs=0.2)
    assert second[3] > second[2]


def test_chains_are_straight_and_a_maker_stands_at_the_middle_of_its_calls() -> None:
    """Places are those next to the neighbours."""
    heights = [36.0] * 7
    middles = place(heights, [(0, 1), (1, 2), (0, 3), (3, 4), (0, 5), (5, 6)])
    assert [middles[1], middles[3], middles[5]] == pytest.approx([middles[2], middles[4], middles[6]])
    assert middles[0] == pytest.approx(middles[3])


def test_layers_stand_side_by_side() -> None:
    """Each begins where the widest vertex of the one before has ended, and the gap."""
    assert columns([[0, 1], [2]], [10.0, 30.0, 5.0], gap=4.0) == [0.0, 0.0, 34.0]


def test_edges_may_come_in_any_order() -> None:
    """The layers are the same, whether the targets come in order or not, and whether numbers grow along edges."""
    assert layered(4, [(2, 3), (0, 1), (1, 2)]) == layered(4, [(0, 1), (1, 2), (2, 3)])
    assert layered(3, [(2, 1), (1, 0)]) == [[2], [1], [0]]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_graph_takes_seconds_at_most(shape: str) -> None:
    """Neither depth nor width makes the time grow faster than the graph."""
    sources, targets = SHAPES[shape](20_000)
    found = placed(wired(20_000, sources, targets), [36.0] * 20_000, gap=GAP)
    assert sum(map(len, found.layers)) == 20_000
