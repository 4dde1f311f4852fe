"""The picture of an instance as a page draws it: boxes with places, and the ways of the edges between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from dagorama.analysis.folding import Folded, Link
from dagorama.analysis.layout import Wiring, wired
from dagorama.analysis.placing import columns, placed

#: In pixels at a scale of 1: a node, a group, the gaps between them, and the room that a long edge takes in a layer.
NODE = (164.0, 44.0)
GROUP = (184.0, 64.0)
GAP_X, GAP_Y, EDGE = 56.0, 18.0, 8.0
#: In an open group: its head and foot, its margin, and a cell for each node; with many nodes the cell is a mark alone.
HEAD, FOOT, MARGIN = 44.0, 30.0, 12.0
CHIP, CELL, CHIPS_MAX = (128.0, 28.0), (22.0, 22.0), 48

#: Edges are led around the boxes in between only where that makes no more points than this.
POINTS_MAX = 4_000


@dataclass(slots=True, kw_only=True)
class Box:
    """The place of a vertex: its left upper corner and size; of an open group also the cells, row by row."""

    x: float
    y: float
    width: float
    height: float
    #: The size of a cell, and how many there are in a row.
    cell: tuple[float, float] = (0.0, 0.0)
    columns: int = 0


@dataclass(slots=True, kw_only=True)
class Way:
    """The way of a link: the heights at which it passes through the layers between its ends."""

    link: Link
    #: Points between both ends, from left to right.
    points: list[tuple[float, float]]


@dataclass(slots=True, kw_only=True)
class Scene:
    """Boxes by vertex, and ways."""

    boxes: list[Box]
    ways: list[Way]
    #: The middle of each vertex, and of each point of a way, by its key: for the next layout.
    middles: dict[str, float]


def compose(
    folded: Folded, *, opened: Mapping[str, int], before: Mapping[str, float] | None = None, holds: bool = True
) -> Scene:
    """Return a picture of a folded graph.

    `opened` has the number of nodes that are shown in each open group, by key, and `before` the `middles` of the last
    picture: its places are held, or else only its order.
    """
    boxes = [_box(vertex.is_group, opened.get(vertex.key, 0)) for vertex in folded.vertices]
    keys = [vertex.key for vertex in folded.vertices]
    sources = [link.source for link in folded.links]
    targets = [link.target for link in folded.links]
    depths = wired(len(boxes), sources, targets).depths
    drawn = [link for link in folded.links if not link.is_plain]
    chains = _chains(drawn, depths, keys)
    heights = [box.height for box in boxes]
    widths = [box.width for box in boxes]
    for names in chains.values():
        keys += names
        heights += [EDGE] * len(names)
        widths += [0.0] * len(names)
    wiring, numbers = _with_chains(drawn, chains, depths)
    middles_before = [before.get(key) for key in keys] if before else None
    places = placed(wiring, heights, gap=GAP_Y, before=middles_before, holds=holds)
    lefts = columns(places.layers, widths, gap=GAP_X)
    for number, box in enumerate(boxes):
        box.x = lefts[number]
        box.y = places.middles[number] - box.height / 2
    layer_widths = [max(widths[vertex] for vertex in layer) for layer in places.layers]
    ways = []
    for place, link in enumerate(drawn):
        box, depth = boxes[link.source], wiring.depths[link.source]
        points = []
        if box.width < layer_widths[depth] and depth < wiring.depths[link.target]:
            # Past what is wider in its layer, before it turns.
            points.append((box.x + layer_widths[depth], box.y + (HEAD if box.columns else box.height) / 2))
        for number in numbers.get(place, ()):
            left, middle = lefts[number], places.middles[number]
            points += [(left, middle), (left + layer_widths[wiring.depths[number]], middle)]
        ways.append(Way(link=link, points=points))
    return Scene(boxes=boxes, ways=ways, middles=dict(zip(keys, places.middles, strict=True)))


def _box(is_group: bool, shown: int) -> Box:
    """Return a box without a place; of an open group it has room for so many nodes."""
    if not shown:
        width, height = GROUP if is_group else NODE
        return Box(x=0.0, y=0.0, width=width, height=height)
    cell = CHIP if shown <= CHIPS_MAX else CELL
    # About as wide as high.
    across = max(1, ceil(sqrt(shown * cell[1] / cell[0])))
    down = ceil(shown / across)
    width = max(GROUP[0], across * cell[0] + 2 * MARGIN)
    return Box(x=0.0, y=0.0, width=width, height=HEAD + down * cell[1] + FOOT, cell=cell, columns=across)


def _chains(drawn: Sequence[Link], depths: Sequence[int], keys: Sequence[str]) -> dict[int, list[str]]:
    """Return keys for the points of long links in the layers between their ends: dummy vertices (Sugiyama)."""
    found: dict[int, list[str]] = {}
    points = 0
    for place, link in enumerate(drawn):
        between = range(depths[link.source] + 1, depths[link.target])
        if between:
            points += len(between)
            if points > POINTS_MAX:
                return {}
            name = f"{keys[link.source]} {keys[link.target]} {link.is_call:d}"
            found[place] = [f"{name} {depth}" for depth in between]
    return found


def _with_chains(
    drawn: Sequence[Link], chains: Mapping[int, Sequence[str]], depths: Sequence[int]
) -> tuple[Wiring, dict[int, list[int]]]:
    """Return the graph in which long links pass through the points of their chains, and the numbers of these."""
    all_depths = [*depths]
    sources: list[int] = []
    targets: list[int] = []
    numbers: dict[int, list[int]] = {}
    for place, link in enumerate(drawn):
        if depths[link.target] <= depths[link.source]:
            continue  # it closes a circle
        way = [link.source]
        for shift in range(len(chains.get(place, ()))):
            way.append(len(all_depths))
            all_depths.append(depths[link.source] + 1 + shift)
        way.append(link.target)
        numbers[place] = way[1:-1]
        sources += way[:-1]
        targets += way[1:]
    return Wiring(sources, targets, all_depths), numbers
