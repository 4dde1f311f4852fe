"""The phases of a node's life: for each, from when to when. They follow each other without gap or overlap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, NamedTuple

from dagorama.analysis.snapshot import NodeSnapshot


class Phase(StrEnum):
    """The thing that a node was at."""

    EARLIER = "earlier"  #: It had ended already, or was at it: a retry or a rerun had it begin anew.
    SUBMITTING = "submitting"  #: The instance had begun, and the program had not made the call yet.
    WAITING = "waiting"  #: For the values of its dependencies.
    QUEUED = "queued"  #: It was ready, and no worker took it.
    TAINTED = "tainted"  #: The same, of a node that only workers with a toleration take.
    RETRYING = "retrying"  #: Attempts that failed or were lost, and the backoff after each.
    TRANSFER = "transfer"  #: To a worker, and its result back to the broker.
    RUNNING = "running"  #: Its function ran.
    JOINING = "joining"  #: For the promises that it returned.
    UNKNOWN = "unknown"  #: In a queue or running: its start was not recorded.


#: The phases in which nothing of use is done, as far as they are on the critical path.
LOST = (Phase.SUBMITTING, Phase.QUEUED, Phase.TAINTED, Phase.RETRYING, Phase.TRANSFER)


class Span(NamedTuple):
    """One phase of one node."""

    node: NodeSnapshot
    phase: Phase
    began_at: float
    ended_at: float

    @property
    def duration_s(self) -> float:
        """Return how long it took."""
        return self.ended_at - self.began_at


class History:
    """The nodes of one instance, with the times at which things happened to them.

    Where the instance was over for a while, and revived then, its times count as if it had gone on at once: all that
    came after such a pause is earlier by it.
    """

    def __init__(
        self, nodes: Iterable[NodeSnapshot], *, began_at: float, now: float, pauses: Sequence[tuple[float, float]] = ()
    ) -> None:
        """Take the nodes in creation order, the time until which they are told of, and begin and end of each pause."""
        self.pauses = pauses
        if pauses:
            nodes = [self._moved(node) for node in nodes]
            now = self._worked(now)
        self.nodes: Sequence[NodeSnapshot] = tuple(nodes)
        self.by_id = {node.node_id: node for node in self.nodes}
        self.children: dict[str, list[NodeSnapshot]] = {}
        #: When the calls that a node made came into being.
        self._made_at: dict[str, float] = {}
        for node in self.nodes:
            if node.parent_id is not None and node.parent_id in self.by_id:
                self.children.setdefault(node.parent_id, []).append(node)
                earliest = self._made_at.get(node.parent_id, node.created_at)
                self._made_at[node.parent_id] = min(earliest, node.created_at)
        self.began_at = began_at
        self.now = max([now, began_at, *(node.created_at for node in self.nodes)])
        self.has_ended = all(node.has_ended for node in self.nodes)
        ends = [self.end_of(node) for node in self.nodes]
        self.ended_at = max([began_at, *ends])

    def _worked(self, at: float) -> float:
        """Return a time without the pauses before it."""
        return at - sum(min(max(at - begin, 0.0), end - begin) for begin, end in self.pauses)

    def _moved(self, node: NodeSnapshot) -> NodeSnapshot:
        moved: dict[str, Any] = {name: self._worked(at) for name in _TIMES if (at := getattr(node, name)) is not None}
        attempts = tuple((worker, self._worked(begin), self._worked(end)) for worker, begin, end in node.attempts)
        return replace(node, failures_at=tuple(map(self._worked, node.failures_at)), attempts=attempts, **moved)

    @property
    def makespan_s(self) -> float:
        """Return how long the instance took, so far if it has not ended."""
        return self.ended_at - self.began_at

    def end_of(self, node: NodeSnapshot) -> float:
        """Return when a node ended, or how far time has got where it has not."""
        end = node.finished_at if node.has_ended and node.finished_at is not None else self.now
        return max(end, node.created_at)

    def dependencies(self, node: NodeSnapshot) -> list[NodeSnapshot]:
        """Return the nodes that a node waited for before it ran, as far as they are known."""
        return [self.by_id[one] for one in node.dependency_ids if one in self.by_id and one != node.node_id]

    def awaited(self, node: NodeSnapshot) -> NodeSnapshot | None:
        """Return the child on which the end of a node hung: the last to end of all that it may have waited for.

        None for a node whose end is the end of its function. A node returns promises of its own children, but which of
        them is not recorded.
        """
        end, returned_at = self.end_of(node), self.return_of(node)
        if returned_at is None or returned_at >= end:
            return None
        inside = [child for child in self.children.get(node.node_id, ()) if returned_at < self.end_of(child) <= end]
        return self.last_of(inside)

    def last_of(self, nodes: Iterable[NodeSnapshot]) -> NodeSnapshot | None:
        """Return the node that ended last; of several that have not, the one that has been under way for longest."""
        return max(nodes, key=lambda node: (self.end_of(node), not node.has_ended, -_under_way(node)), default=None)

    def return_of(self, node: NodeSnapshot) -> float | None:
        """Return when the function of a node returned, at the latest; None where it has not.

        The calls that it made come into being with its result.
        """
        known = [at for at in (self._made_at.get(node.node_id), node.returned_at) if at is not None]
        if known:
            return min(known)
        ran = node.started_at is not None or node.state in ("completed", "failed")
        return self.end_of(node) if node.has_ended and ran else None

    def spans(self, node: NodeSnapshot) -> list[Span]:
        """Return the phases of a node that took any time, in their order, from when it came into being."""
        found, cursor, end = [], node.created_at, self.end_of(node)
        for phase, until in self._marks(node):
            until = min(max(until, cursor), end)
            if until > cursor:
                found.append(Span(node, phase, cursor, until))
                cursor = until
        return found

    def _marks(self, node: NodeSnapshot) -> Iterator[tuple[Phase, float]]:
        """Yield the phases of a node, each with its end as far as it is known. The last one ends with the node."""
        end = self.end_of(node)
        dependencies = self.dependencies(node)
        has_run = node.started_at is not None or self.return_of(node) is not None
        revived_at = node.created_at if node.revived_at is None else node.revived_at
        yield Phase.EARLIER, revived_at
        ready_at = max([revived_at, *map(self.end_of, dependencies)])
        if node.ready_at is not None:
            ready_at = max(node.ready_at, revived_at)
        if not has_run and (node.state in ("waiting", "dependency_failed") or ready_at >= end):
            yield Phase.WAITING, end
            return
        yield Phase.WAITING, ready_at
        queued = Phase.TAINTED if node.taint else Phase.QUEUED
        # The attempt that failed the node for good is the one that is told of as its run.
        failures_at = node.failures_at[:-1] if node.state == "failed" else node.failures_at
        if failures_at and node.first_granted_at is not None:
            yield queued, min(node.first_granted_at, failures_at[0])
        if node.state == "backoff":
            yield Phase.RETRYING, end
            return
        granted_at = node.started_at if node.granted_at is None else node.granted_at
        if failures_at:
            # How long it backed off is not recorded; without the failure it would not have been in a queue again.
            yield Phase.RETRYING, failures_at[-1] if granted_at is None else granted_at
        if not has_run:
            yield queued, end
        else:
            if node.started_at is not None and granted_at is not None:
                yield queued, granted_at
                yield Phase.TRANSFER, node.started_at
            returned_at = self.return_of(node)
            if returned_at is None:
                yield Phase.RUNNING, end
                return
            yield Phase.UNKNOWN if node.started_at is None else Phase.RUNNING, returned_at
            yield Phase.TRANSFER, self._made_at.get(node.node_id, end)
            yield Phase.JOINING, end


#: The fields of a node that have a time, or None.
_TIMES = (
    *("created_at", "ready_at", "revived_at", "first_granted_at"),
    *("granted_at", "started_at", "returned_at", "finished_at"),
)


def _under_way(node: NodeSnapshot) -> float:
    """Return since when something has been going on with a node."""
    return next((at for at in (node.started_at, node.ready_at) if at is not None), node.created_at)
