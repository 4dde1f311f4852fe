"""How long the layout of a large graph takes: layers, order and places, at once and when it has grown."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from time import process_time

from dagorama.analysis.layout import wired
from dagorama.analysis.placing import placed
from dagorama.analysis.scene import GAP_Y, NODE

Edges = tuple[list[int], list[int]]


def fan(nodes: int) -> Edges:
    """Give the edges of one node that leads to all others, which one gathers."""
    inner = range(1, nodes - 1)
    return [0] * len(inner) + list(inner), [*inner] + [nodes - 1] * len(inner)


def chain(nodes: int) -> Edges:
    """Give the edges of nodes of which each needs the one before it."""
    return list(range(nodes - 1)), list(range(1, nodes))


def grid(nodes: int) -> Edges:
    """Give the edges of layers of 100, each node of which needs two neighbours of the layer before."""
    later = range(100, nodes)
    return [one - 100 + shift for one in later for shift in (0, 1 if (one + 1) % 100 else 0)], [
        one for one in later for _ in range(2)
    ]


def wide(nodes: int) -> Edges:
    """Give the edges of five layers, each node of which needs any two of the layer before."""
    rng, width = random.Random(1), max(nodes // 5, 1)
    later = range(width, nodes)
    return [(one // width - 1) * width + rng.randrange(width) for one in later for _ in range(2)], [
        one for one in later for _ in range(2)
    ]


SHAPES: dict[str, Callable[[int], Edges]] = {shape.__name__: shape for shape in (fan, chain, grid, wide)}


def measure(nodes: int, rounds: int) -> dict[str, float]:
    """Return the median CPU milliseconds for each shape: laid out at once, and again with a hundredth that is new."""
    numbers: dict[str, float] = {}
    for name, shape in SHAPES.items():
        sources, targets = shape(nodes)
        heights = [NODE[1]] * nodes
        first, again = [], []
        for _ in range(rounds):
            began_at = process_time()
            known = placed(wired(nodes, sources, targets), heights, gap=GAP_Y).middles
            first.append(process_time() - began_at)
            before = [*known[: -(nodes // 100) or None]]
            began_at = process_time()
            placed(
                wired(nodes, sources, targets), heights, gap=GAP_Y, before=[*before, *[None] * (nodes - len(before))]
            )
            again.append(process_time() - began_at)
        numbers[f"{name}_ms"] = statistics.median(first) * 1000
        numbers[f"{name}_grown_ms"] = statistics.median(again) * 1000
    return numbers
