"""The critical path of an instance: the chain of nodes without which it would have ended earlier.

It is found backwards, as in the critical path method (Kelley and Walker, 1959): from the end of the instance to the
node that ended last, from there to the dependency that it waited for longest, or to the node that made the call, and so
on. A node that returned promises ended with one of its children. So a node may stand in it twice: where its function
ran, and where it joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from dagorama.analysis.phases import History, Phase, Span
from dagorama.analysis.snapshot import NodeSnapshot


def critical_path(history: History) -> list[Span]:
    """Return the spans that lead from the begin of an instance to its end, or to now, without gap or overlap.

    Their durations add up to the makespan.
    """
    if not history.nodes:
        return []
    return _Walk(history).back()[::-1]


def runs_of(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Yield the spans of a path grouped where neighbours are of the same node."""
    for _, group in groupby(spans, key=lambda span: span.node.node_id):
        yield list(group)


class _Walk:
    """One way back from the end, which has got as far as `cursor`."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._cursor = history.ended_at
        self._spans: list[Span] = []

    def back(self) -> list[Span]:
        """Return the spans, the last one first."""
        history = self._history
        node, whole = self._last(), True
        seen: set[tuple[str, bool]] = set()
        # Facts that contradict themselves may lead round in a circle; facts of a broker do not.
        while (node.node_id, whole) not in seen:
            seen.add((node.node_id, whole))
            child = history.awaited(node) if whole else None
            if child is not None:
                self._take(node, Phase.JOINING, history.end_of(child))
                node = child
                continue
            for span in reversed(history.spans(node)):
                if span.phase not in (Phase.WAITING, Phase.EARLIER):
                    self._take(node, span.phase, span.began_at)
            blocker = history.last_of(history.dependencies(node))
            if blocker is not None and history.end_of(blocker) > max(node.created_at, node.revived_at or 0.0):
                self._take(node, Phase.WAITING, history.end_of(blocker))
                node, whole = blocker, True
                continue
            if node.revived_at is not None:
                # All of the instance had ended by then: what it hung on before is not known any more.
                self._take(node, Phase.WAITING, node.revived_at)
                self._take(node, Phase.EARLIER, node.created_at)
            self._take(node, Phase.WAITING, node.created_at)
            parent = history.by_id.get(node.parent_id or "")
            if parent is None:
                break
            node, whole = parent, False
        self._take(node, Phase.SUBMITTING, history.began_at)
        return self._spans

    def _last(self) -> NodeSnapshot:
        """Return the node that ended last; of several the first, as it waits for the others."""
        history = self._history
        open_ones = [node for node in history.nodes if not node.has_ended]
        if open_ones:
            return open_ones[0]
        return max(history.nodes, key=history.end_of)

    def _take(self, node: NodeSnapshot, phase: Phase, since: float) -> None:
        """Put the time from `since` to the cursor on the path."""
        since = max(since, self._history.began_at)
        if since < self._cursor:
            self._spans.append(Span(node, phase, since, self._cursor))
            self._cursor = since
