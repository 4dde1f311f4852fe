"""Places for the vertices of a drawing: how far down each stands in its layer, and how far right each layer begins.

In the order that `layout` gives, each vertex is put as near to the mean of its neighbours as the others of its layer
let it: the sum of the squared distances is the least there is, found by pooling adjacent violators (Ayer, Brunk, Ewing,
Reid and Silverman, 1955), which is isotonic regression, once for each layer there and back. So chains are straight, and
a vertex stands at the middle of all that it leads to.

A graph that grows is placed anew, given its places before. Vertices that had one keep their order, and if places are to
be held, weigh so much more than new ones that they move only where room has to be made.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import NamedTuple

from dagorama.analysis.layout import LARGE, Wiring, layers_of, ordered

#: What a vertex that had a place weighs against one that is new.
SETTLED_WEIGHT = 1000.0

#: A new vertex without neighbours on its left stands below all others.
_LAST = 1e12
#: One that has settled vertices beside it which lead from the same neighbours stands right below them.
_BELOW = 1e-3


class Places(NamedTuple):
    """The middles of all vertices from top to bottom, and their layers, each from top to bottom."""

    middles: list[float]
    layers: list[list[int]]


def placed(
    wiring: Wiring,
    heights: Sequence[float],
    *,
    gap: float,
    before: Sequence[float | None] | None = None,
    holds: bool = True,
) -> Places:
    """Return places for vertices of these heights, so far apart at least.

    `before` has the middle that each vertex had the last time, None for new ones. It is held as far as there is room,
    or else where `holds` is not set only the order is.
    """
    if before is None or all(one is None for one in before):
        return _settled(wiring, heights, gap, ordered(wiring))
    grown = _grown(wiring, heights, gap, before)
    return grown if holds else _settled(wiring, heights, gap, grown.layers)


def _settled(wiring: Wiring, heights: Sequence[float], gap: float, layers: list[list[int]]) -> Places:
    """Return places for vertices in this order."""
    middles = [0.0] * len(heights)
    for layer in layers:
        _stack(layer, heights, gap, middles)
    left, right = _neighbours(wiring)
    weights = [1.0] * len(heights)
    for layer in layers:
        _settle(layer, _wishes(layer, left, middles), weights, heights, gap, middles)
    for layer in reversed(layers):
        _settle(layer, _wishes(layer, right, middles), weights, heights, gap, middles)
    if len(heights) < LARGE:
        for order in (layers, layers[::-1]) * 2:
            for layer in order:
                _settle(layer, _wishes_of_both(layer, left, right, middles), weights, heights, gap, middles)
    return Places(middles, layers)


def columns(layers: Sequence[Sequence[int]], widths: Sequence[float], *, gap: float) -> list[float]:
    """Return where each vertex begins from left to right: layers stand side by side, as wide as their widest."""
    lefts = [0.0] * len(widths)
    left = 0.0
    for layer in layers:
        widest = 0.0
        for vertex in layer:
            lefts[vertex] = left
            widest = max(widest, widths[vertex])
        left += widest + gap
    return lefts


def _grown(wiring: Wiring, heights: Sequence[float], gap: float, before: Sequence[float | None]) -> Places:
    """Return places for a graph that has grown: settled vertices in their order, new ones beside their neighbours."""
    layers = layers_of(wiring.depths)
    left, _ = _neighbours(wiring)
    middles = [nan if middle is None else middle for middle in before]
    weights = [1.0 if middle is None else SETTLED_WEIGHT for middle in before]
    for layer in layers:
        lowest = _lowest([vertex for vertex in layer if before[vertex] is not None], left, middles)
        for vertex in layer:
            if before[vertex] is None:
                near = left[vertex]
                beside = [lowest[one] for one in near if one in lowest] or [middles[one] for one in near]
                middles[vertex] = sum(beside) / len(beside) + _BELOW if beside else _LAST
        layer.sort(key=middles.__getitem__)
        highest = -_LAST
        for vertex in layer:  # nothing stands below what is last of all
            middle = middles[vertex]
            middles[vertex] = highest = middle if middle < _LAST else (0.0 if highest == -_LAST else highest)
        _settle(layer, [middles[vertex] for vertex in layer], weights, heights, gap, middles)
    return Places(middles, layers)


def _lowest(settled: Sequence[int], left: Sequence[Sequence[int]], middles: Sequence[float]) -> dict[int, float]:
    """Return how far down the last settled vertex stands that has the same neighbour, for each neighbour."""
    lowest: dict[int, float] = {}
    for vertex in settled:
        middle = middles[vertex]
        for one in left[vertex]:
            if lowest.get(one, -_LAST) < middle:
                lowest[one] = middle
    return lowest


def _neighbours(wiring: Wiring) -> tuple[list[list[int]], list[list[int]]]:
    """Return the neighbours of each vertex on its left, and on its right."""
    left: list[list[int]] = [[] for _ in wiring.depths]
    right: list[list[int]] = [[] for _ in wiring.depths]
    for source, target in zip(wiring.sources, wiring.targets, strict=True):
        left[target].append(source)
        right[source].append(target)
    return left, right


def _wishes(layer: Sequence[int], near: Sequence[Sequence[int]], middles: Sequence[float]) -> list[float]:
    """Return where each vertex of a layer would like to be: at the mean of its neighbours, or where it is."""
    return [
        (middles[beside[0]] if len(beside) == 1 else sum([middles[one] for one in beside]) / len(beside))
        if (beside := near[vertex])
        else middles[vertex]
        for vertex in layer
    ]


def _wishes_of_both(
    layer: Sequence[int], left: Sequence[Sequence[int]], right: Sequence[Sequence[int]], middles: Sequence[float]
) -> list[float]:
    """Return where each vertex would like to be between the neighbours on both sides.

    A neighbour that has many others to heed counts for less, as it is at their middle anyway. So chains are straight.
    """
    found = []
    for vertex in layer:
        weighed = total = 0.0
        for one in left[vertex]:
            total += (weight := 1 / len(right[one]))
            weighed += weight * middles[one]
        for one in right[vertex]:
            total += (weight := 1 / len(left[one]))
            weighed += weight * middles[one]
        found.append(weighed / total if total else middles[vertex])
    return found


def _stack(layer: Sequence[int], heights: Sequence[float], gap: float, middles: list[float]) -> None:
    """Put a layer around the middle of all, as close together as it goes."""
    top = -(sum([heights[vertex] for vertex in layer]) + gap * (len(layer) - 1)) / 2
    for vertex in layer:
        height = heights[vertex]
        middles[vertex] = top + height / 2
        top += height + gap


def _settle(
    layer: Sequence[int],
    wishes: Sequence[float],
    weights: Sequence[float],
    heights: Sequence[float],
    gap: float,
    middles: list[float],
) -> None:
    """Put the vertices of a layer as near to their wishes as their order and heights let them."""
    if len(layer) == 1:
        middles[layer[0]] = wishes[0]
        return
    # Of each block that has been pooled: its mean, its weight, and how many vertices are in it.
    means: list[float] = []
    sums: list[float] = []
    sizes: list[int] = []
    offsets: list[float] = []
    offset = bottom = 0.0
    for vertex, wish in zip(layer, wishes, strict=True):
        half = heights[vertex] / 2
        offset += bottom + half if offsets else 0.0
        bottom = half + gap
        offsets.append(offset)
        mean, weight, size = wish - offset, weights[vertex], 1
        while means and means[-1] >= mean:
            total = sums[-1] + weight
            mean = (means.pop() * sums[-1] + mean * weight) / total
            sums.pop()
            weight = total
            size += sizes.pop()
        means.append(mean)
        sums.append(weight)
        sizes.append(size)
    place = 0
    for mean, size in zip(means, sizes, strict=True):
        for _ in range(size):
            middles[layer[place]] = mean + offsets[place]
            place += 1
