"""Where a batch is committed: in the journal's thread, or on the event loop while the disk is quick.

To hand a batch to a thread and to take its end back costs as much as a quick disk needs for a small batch, and a chain
of nodes pays it with each hop. But a disk that takes long must not hold up the event loop, and nobody knows beforehand
when it will. So this goes by what the last commits have taken, and after one that was late it keeps off the event loop
for so long that late commits never take up more than a twentieth of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Function, Node

#: No more events, and no more nodes in any of them, than this are a small batch.
SMALL = 32
#: Nor is more written for any of them: 512 MiB in one value would hold up the event loop for seconds.
BYTES = 16 * 1024
#: What a reference to another node takes: its number in digits, and what stands between two.
REFERENCE_BYTES = 10
#: A commit that takes less is quick: about what deciding on some dozens of nodes takes, too.
QUICK_S = 0.001
#: A commit that takes longer on the event loop is late: others notice it.
LATE_S = 0.003
#: For so many times as long as a late commit took, none is made on the event loop.
REST_FACTOR = 20
#: So many commits are to have been small before the first is made on the event loop.
SEEN_MIN = 16
#: What the last commit counts for in the average.
_WEIGHT = 1 / 8


class Pace:
    """How long small batches have been taking. Times are in seconds, by a clock that does not go back."""

    def __init__(self, quick_s: float = QUICK_S) -> None:
        """No commit is made on the event loop while they take `quick_s` or more."""
        self._quick_s = quick_s
        self._seen = 0
        self._average_s = 0.0
        self._rests_until = 0.0

    def is_quick(self, now: float) -> bool:
        """Tell whether a small batch is likely to be through at once."""
        return self._average_s < self._quick_s and self._seen >= SEEN_MIN and now >= self._rests_until

    def note(self, took_s: float, now: float) -> None:
        """Note how long the commit of a small batch has taken, wherever it was made."""
        self._seen += 1
        self._average_s += (took_s - self._average_s) * (_WEIGHT if self._seen > 1 else 1.0)
        if took_s >= LATE_S:
            self._rests_until = now + REST_FACTOR * took_s


def is_small(events: Sequence[e.DurableEvent]) -> bool:
    """Tell whether a batch is small; some events are of many nodes, or of much."""
    return len(events) <= SMALL and all(_nodes_in(event) <= SMALL and _bytes_in(event) <= BYTES for event in events)


def _nodes_in(event: e.DurableEvent) -> int:
    match event:
        case e.NodesCreated() | e.NodesCancelled() | e.NodesStarted() | e.NodesHandedBack() | e.NodesRemoved():
            return len(event.nodes)
        case e.NodesReset():
            return len(event.resets)
        case e.NodesNoted():
            return len(event.notes)
        case e.InstancesPruned():
            return SMALL + 1  # it takes away rows of many tables
        case _:
            return 1


def _bytes_in(event: e.DurableEvent) -> int:
    """Return about how much is written for an event, beside what is never much."""
    match event:
        case e.NodeCompleted():
            return len(event.payload or b"")
        case e.NodesCreated():
            texts = sum(map(len, event.labels)) + sum(map(len, event.inputs))
            return texts + sum(
                len(node.arguments) + _references(node.dependencies) + _spec(node.function) for node in event.nodes
            )
        case e.NodeJoining():
            return len(event.payload or b"") + _references(event.promises)
        case e.AttemptFailed() | e.LeaseLost():
            failure = event.attempt.failure
            return sum(map(len, (failure.type, failure.message, failure.traceback, failure.exception)))
        case e.NodesNoted():
            return sum(len(note.label) + len(note.inputs) for _, note in event.notes)
        case e.NodesReset():
            return sum(_spec(reset.function) for reset in event.resets)
        case _:
            return 0


def _references(nodes: Sequence[Node]) -> int:
    return REFERENCE_BYTES * len(nodes)


def _spec(function: Function) -> int:
    return len(function.spec.definition_arguments)
