"""A line of text for the time of an instance: how many nodes ran at once, from its begin to its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from dagorama.analysis.lanes import REPORTED_S, lanes_of
from dagorama.analysis.phases import History, Phase, Span

#: Eight heights, after an empty one.
BLOCKS = " ▁▂▃▄▅▆▇█"
#: For a terminal that has ASCII only.
ASCII = " .:-=+*#%"

#: The phases in which a worker is at a node.
BUSY = frozenset({Phase.RUNNING, Phase.UNKNOWN})


def busy_spans(history: History, function: str | None = None) -> list[Span]:
    """Return the spans in which functions ran, all or those of one, earlier attempts included."""
    nodes = [node for node in history.nodes if function in (None, node.function)]
    earlier = [
        Span(replace(node, worker=worker), Phase.RETRYING, began_at, max(began_at, ended_at))
        for node in nodes
        for worker, began_at, ended_at in node.attempts
    ]
    return [span for node in nodes for span in history.spans(node) if span.phase in BUSY] + earlier


def running_at_once(spans: Iterable[Span], *, began_at: float, ended_at: float, parts: int) -> list[float]:
    """Return for each of so many equal parts of the time how many of the spans there were at once, on average."""
    width_s = (ended_at - began_at) / parts if parts > 0 else 0.0
    if width_s <= 0:
        return [0.0] * max(parts, 0)
    # Whole parts are counted where they begin and end, so that a long span costs no more than a short one.
    steps, shares = [0.0] * (parts + 1), [0.0] * parts
    for span in spans:
        first_at = min(max((span.began_at - began_at) / width_s, 0.0), float(parts))
        last_at = min(max((span.ended_at - began_at) / width_s, 0.0), float(parts))
        first, last = min(int(first_at), parts - 1), min(int(last_at), parts - 1)
        if first == last:
            shares[first] += last_at - first_at
            continue
        shares[first] += first + 1 - first_at
        shares[last] += last_at - last
        steps[first + 1] += 1
        steps[last] -= 1
    found, level = [], 0.0
    for step, share in zip(steps, shares, strict=False):
        level += step
        found.append(level + share)
    return found


def bar(values: Sequence[float], *, highest: float | None = None, blocks: str = BLOCKS) -> str:
    """Return a letter for each value, the higher the fuller; one that is not 0 is never drawn as nothing."""
    top = max(values, default=0.0) if highest is None else highest
    if top <= 0:
        return blocks[0] * len(values)
    most = len(blocks) - 1
    # Rounding of sums leaves values that are 0 but for the last digits.
    return "".join(
        blocks[min(max(round(value / top * most), 1), most)] if value > top * 1e-9 else blocks[0] for value in values
    )


def most_at_once(spans: Iterable[Span]) -> int:
    """Return how many of the spans there were at once, at most.

    Short ones of one worker that it told of together may have been one after the other, and count as if they were.
    """
    by_worker: dict[str, list[tuple[float, float]]] = {}
    for span in spans:
        by_worker.setdefault(span.node.worker, []).append((span.began_at, span.ended_at))
    moments = sorted(moment for runs in by_worker.values() for moment in _moments(sorted(runs)))
    most = level = 0
    for _, step in moments:
        level += step
        most = max(most, level)
    return most


def _moments(runs: Sequence[tuple[float, float]]) -> Iterator[tuple[float, int]]:
    """Yield begin and end of runs on one worker, the earliest first; in one lane they follow each other."""
    over_at: dict[int, float] = {}
    for (began_at, ended_at), lane in zip(runs, lanes_of(runs, overlap_s=REPORTED_S), strict=True):
        alone_at = max(began_at, over_at.get(lane, began_at))
        over_at[lane] = ended_at
        if ended_at > alone_at:
            yield alone_at, 1
            yield ended_at, -1
