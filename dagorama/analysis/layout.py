"""The order of the vertices of a drawing, in layers from left to right.

The layers are those of the longest path (Sugiyama, Tagawa and Toda, 1981, without their dummy vertices, of which a long
chain whose every value is collected at its end would need a quadratic number: `scene` has them where they are few);
within each, vertices are put in the order of the barycentres of their neighbours, layer by layer, there and back.

A graph is two lists of ints here, the sources and the targets of its edges. 100,000 vertices take well under a second
(`python -m benchmarks layout`), so the loops below make nothing for each vertex or edge but a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import le, lt
from typing import NamedTuple

#: So often the layers are gone through, there and back; of a large graph, where each time takes long, less often.
SWEEPS, SWEEPS_LARGE, LARGE = 4, 1, 20_000


class Wiring(NamedTuple):
    """The edges of a graph without circles, and the layer of each vertex."""

    sources: Sequence[int]
    targets: Sequence[int]
    depths: list[int]


def layered(vertices: int, edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the layers of so many vertices from left to right, each from top to bottom."""
    sources = [source for source, _ in edges]
    targets = [target for _, target in edges]
    return ordered(wired(vertices, sources, targets))


def wired(vertices: int, sources: Sequence[int], targets: Sequence[int]) -> Wiring:
    """Return the edges without any that close a circle, and the length of the longest way to each vertex.

    It is quickest where each edge leads to a vertex with a higher number, and the targets come in order: as nodes do.
    """
    if not all(map(lt, sources, targets)):
        sources, targets = _without_circles(vertices, sources, targets)
        return Wiring(sources, targets, _depths(vertices, sources, targets))
    if not all(map(le, targets, targets[1:])):
        order = sorted(range(len(targets)), key=targets.__getitem__)
        sources, targets = [sources[one] for one in order], [targets[one] for one in order]
    depths = [0] * vertices
    # All edges into a source come before those out of it.
    for source, target in zip(sources, targets, strict=True):
        depth = depths[source]
        if depths[target] <= depth:
            depths[target] = depth + 1
    return Wiring(sources, targets, depths)


def layers_of(depths: Sequence[int]) -> list[list[int]]:
    """Return the vertices of each layer, by their numbers."""
    layers: list[list[int]] = [[] for _ in range(max(depths, default=-1) + 1)]
    for vertex, depth in enumerate(depths):
        layers[depth].append(vertex)
    return layers


def ordered(wiring: Wiring) -> list[list[int]]:
    """Return the layers of a graph from left to right, each in an order in which few edges cross."""
    layers = layers_of(wiring.depths)
    heights = [0.5] * len(wiring.depths)
    for layer in layers:
        _set_heights(layer, heights)
    into, out_of = _edges_by_layer(wiring, layers)
    for _ in range(SWEEPS if len(heights) < LARGE else SWEEPS_LARGE):
        moved = False
        for edges, order in ((into, range(len(layers))), (out_of, range(len(layers) - 1, -1, -1))):
            for depth in order:
                moved |= _sort(layers[depth], *edges[depth], heights)
        if not moved:
            break
    return layers


_Ends = tuple[list[int], list[int]]
_NONE: _Ends = ([], [])


def _edges_by_layer(wiring: Wiring, layers: Sequence[Sequence[int]]) -> tuple[list[_Ends], list[_Ends]]:
    """Return for each layer the edges into it and out of it: the neighbours, and for each the vertex of the layer.

    A layer of one vertex has no order, so its edges are left out.
    """
    depths = wiring.depths
    wide = [len(layer) > 1 for layer in layers]
    into: list[_Ends] = [([], []) if one else _NONE for one in wide]
    out_of: list[_Ends] = [([], []) if one else _NONE for one in wide]
    for source, target in zip(wiring.sources, wiring.targets, strict=True):
        depth = depths[target]
        if wide[depth]:
            neighbours, vertices = into[depth]
            neighbours.append(source)
            vertices.append(target)
        depth = depths[source]
        if wide[depth]:
            neighbours, vertices = out_of[depth]
            neighbours.append(target)
            vertices.append(source)
    return into, out_of


def _sort(layer: list[int], neighbours: Sequence[int], vertices: Sequence[int], heights: list[float]) -> bool:
    """Put a layer in the order of the barycentres; tell whether that changed it. A vertex without any stays put."""
    if not vertices:
        return False
    sums = dict.fromkeys(layer, 0.0)
    counts = dict.fromkeys(layer, 0)
    for neighbour, vertex in zip(neighbours, vertices, strict=True):
        sums[vertex] += heights[neighbour]
        counts[vertex] += 1
    keys = {vertex: sums[vertex] / count if count else heights[vertex] for vertex, count in counts.items()}
    before = layer[:]
    layer.sort(key=keys.__getitem__)
    if layer == before:
        return False
    _set_heights(layer, heights)
    return True


def _set_heights(layer: Sequence[int], heights: list[float]) -> None:
    """Spread a layer evenly over the heights from 0 to 1."""
    step = 1.0 / len(layer)
    height = step / 2
    for vertex in layer:
        heights[vertex] = height
        height += step


def _depths(vertices: int, sources: Sequence[int], targets: Sequence[int]) -> list[int]:
    """Return the length of the longest way to each vertex, in a graph without circles (Kahn, 1962)."""
    after: list[list[int]] = [[] for _ in range(vertices)]
    missing = [0] * vertices
    for source, target in zip(sources, targets, strict=True):
        after[source].append(target)
        missing[target] += 1
    depths = [0] * vertices
    free = [vertex for vertex, count in enumerate(missing) if not count]
    for vertex in free:
        depth = depths[vertex] + 1
        for target in after[vertex]:
            depths[target] = max(depths[target], depth)
            missing[target] -= 1
            if not missing[target]:
                free.append(target)
    return depths


def _without_circles(vertices: int, sources: Sequence[int], targets: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the edges, once each, without the back edges of a depth-first search, each of which closes a circle.

    Functions that call each other close one; nodes do not.
    """
    after: list[list[int]] = [[] for _ in range(vertices)]
    for source, target in dict.fromkeys(zip(sources, targets, strict=True)):
        if source != target:
            after[source].append(target)
    kept: tuple[list[int], list[int]] = ([], [])
    done = [False] * vertices
    for root in range(vertices):
        if done[root]:
            continue
        open_ones = {root}
        stack = [(root, iter(after[root]))]
        while stack:
            vertex, following = stack[-1]
            target = next(following, -1)
            if target < 0:
                stack.pop()
                open_ones.discard(vertex)
                done[vertex] = True
            elif target not in open_ones:
                kept[0].append(vertex)
                kept[1].append(target)
                if not done[target]:
                    open_ones.add(target)
                    stack.append((target, iter(after[target])))
    return kept
