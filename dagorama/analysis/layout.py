"""Places for the vertices of a drawing, in layers from left to right.

The layers are those of the longest path (Sugiyama, Tagawa and Toda, 1981, without their dummy vertices, of which a long
chain whose every value is collected at its end would need a quadratic number); within each, vertices are put in the
order of the barycentres of their neighbours, layer by layer, there and back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial

#: So often the layers are gone through in each direction.
SWEEPS = 4


def layered(vertices: int, edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the layers of so many vertices from left to right, each from top to bottom."""
    forward = _without_circles(vertices, edges)
    before: list[list[int]] = [[] for _ in range(vertices)]
    after: list[list[int]] = [[] for _ in range(vertices)]
    for source, target in forward:
        after[source].append(target)
        before[target].append(source)
    layers: list[list[int]] = []
    for vertex, depth in enumerate(_depths(before, after)):
        layers.extend([] for _ in range(depth + 1 - len(layers)))
        layers[depth].append(vertex)
    heights = [0.0] * vertices
    for layer in layers:
        _set_heights(layer, heights)
    for _ in range(SWEEPS):
        for neighbours, order in ((before, layers), (after, layers[::-1])):
            for layer in order:
                layer.sort(key=partial(_barycentre, neighbours=neighbours, heights=heights))
                _set_heights(layer, heights)
    return layers


def _barycentre(vertex: int, neighbours: Sequence[Sequence[int]], heights: Sequence[float]) -> float:
    """Return the mean height of the neighbours; a vertex without any stays where it is."""
    near = neighbours[vertex]
    return sum(heights[one] for one in near) / len(near) if near else heights[vertex]


def _set_heights(layer: Sequence[int], heights: list[float]) -> None:
    """Spread a layer evenly over the heights from 0 to 1."""
    for place, vertex in enumerate(layer):
        heights[vertex] = (place + 0.5) / len(layer)


def _depths(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> list[int]:
    """Return the length of the longest way to each vertex, in a graph without circles (Kahn, 1962)."""
    depths = [0] * len(before)
    missing = [len(sources) for sources in before]
    free = deque(vertex for vertex, count in enumerate(missing) if not count)
    while free:
        vertex = free.popleft()
        for target in after[vertex]:
            depths[target] = max(depths[target], depths[vertex] + 1)
            missing[target] -= 1
            if not missing[target]:
                free.append(target)
    return depths


def _without_circles(vertices: int, edges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the edges, once each, without the back edges of a depth-first search, each of which closes a circle.

    Functions that call each other close one; nodes do not.
    """
    after: list[list[int]] = [[] for _ in range(vertices)]
    for source, target in dict.fromkeys(edges):
        if source != target:
            after[source].append(target)
    kept: list[tuple[int, int]] = []
    done = [False] * vertices
    for root in range(vertices):
        if done[root]:
            continue
        open_ones = {root}
        stack = [(root, iter(after[root]))]
        while stack:
            vertex, targets = stack[-1]
            target = next(targets, -1)
            if target < 0:
                stack.pop()
                open_ones.discard(vertex)
                done[vertex] = True
            elif target not in open_ones:
                kept.append((vertex, target))
                if not done[target]:
                    open_ones.add(target)
                    stack.append((target, iter(after[target])))
    return kept
