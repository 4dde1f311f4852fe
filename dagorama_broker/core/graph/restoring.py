"""Restoring: instances are taken over from the journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dagorama_broker.core.errors import show_id
from dagorama_broker.core.graph.digests import Comparison
from dagorama_broker.core.graph.graph import Graph
from dagorama_broker.core.graph.holding import hold_hooks, hold_node
from dagorama_broker.core.graph.hooking import tells_of
from dagorama_broker.core.model.entities import Instance, Node
from dagorama_broker.core.model.states import TERMINAL, UNSUCCESSFUL, InstanceState, NodeState
from dagorama_broker.core.model.stored import StoredInstance, StoredNode

#: So many nodes are restored before others may come between: that takes some milliseconds.
_STEP = 1_000


def restore_instance(graph: Graph, stored: StoredInstance, now: float) -> None:
    """Take an instance back into memory, so that nodes can be added to it. A no-op where all of it is there.

    With `counts` it has only the nodes that are needed now; they are added to any that it has in memory. The clock may
    have been ahead when the times were stored: no wait becomes longer than it was to be in all.
    """
    known = graph.instances.get(stored.id)
    if known is None or not known.whole:
        restoring = Restoring(graph, stored, now)
        restoring.add(stored.nodes)
        for _ in restoring.link(now):
            pass
        restoring.enter(now)


class Restoring:
    """An instance that is taken over bit by bit; nothing else knows of it before it has entered memory."""

    def __init__(self, graph: Graph, stored: StoredInstance, now: float) -> None:
        self._graph = graph
        self._rows: list[StoredNode] = []
        self._by_seq: dict[int, Node] = {}
        self.instance = graph.instances.get(stored.id) or _make_instance(graph, stored, now)
        self.instance.held.update(stored.held)

    def add(self, rows: Sequence[StoredNode]) -> None:
        """Take over nodes. The nodes that they depend on have come before, or are not needed."""
        instance = self.instance
        for row in rows:
            node = instance.nodes.get(row.id)
            if node is None:
                node = _restore_node(self._graph, row, instance, self._by_seq)
                self._rows.append(row)
            self._by_seq[row.seq] = node

    def link(self, now: float) -> Iterator[None]:
        """Restore the references to other nodes. Give way to others now and then."""
        by_seq, instance = self._by_seq, self.instance
        for place, row in enumerate(self._rows):
            by_seq[row.seq].promises = tuple([by_seq[seq] for seq in row.promise_seqs if seq in by_seq])
            if place % _STEP == _STEP - 1:
                yield
        previous = [(by_seq[row.seq], row.previous) for row in self._rows if row.previous is not None]
        if previous and instance.whole:
            self._graph.comparisons[instance] = Comparison(previous)
        for place, row in enumerate(self._rows):
            _relink_node(self._graph, by_seq[row.seq], row, by_seq, now)
            if place % _STEP == _STEP - 1:
                yield

    def enter(self, now: float) -> None:
        """Make the instance known."""
        graph, instance = self._graph, self.instance
        graph.hold(instance)
        if not instance.whole:
            graph.partial.add(instance.id)
        if instance.state is InstanceState.RUNNING:
            graph.watch_deadline(instance, now)
        if not instance.live:
            graph.touched[instance] = None  # unless the next command adds nodes it leaves memory, also when refused

    def give_up(self) -> None:
        """Let go of an instance that does not enter: its nodes refer to each other and to it."""
        self._graph.let_go(self.instance, is_tied=True)


def _make_instance(graph: Graph, stored: StoredInstance, now: float) -> Instance:
    instance = Instance(
        seq=stored.seq,
        id=stored.id,
        definition=stored.definition,
        created_at=min(stored.created_at, now),
        deadline_at=stored.deadline_at - max(0.0, stored.created_at - now) if stored.deadline_at else 0.0,
        group=stored.group,
        control=stored.control,
        start=stored.start,
        tags=stored.tags,
        hooks=stored.hooks,
        started_by=stored.started_by,
        keep=stored.keep,
    )
    instance.ends = stored.ends
    instance.tells_of = tells_of(stored.id, stored.definition, stored.tags)
    instance.limit = graph.limits.recap(None, f"instance {show_id(instance.id)}", instance.control.running_max, ())
    instance.state = stored.state
    instance.finished_at = stored.finished_at
    instance.pauses = stored.pauses
    instance.request = stored.request
    instance.void_token = stored.void_token
    instance.cancelled = stored.state is InstanceState.CANCELLED
    if stored.counts is not None:
        instance.whole = False
        instance.counts.update(stored.counts)
        instance.held_bytes = stored.held_bytes
        instance.failed = any(stored.counts.get(state) for state in UNSUCCESSFUL)
    else:
        hold_hooks(instance)
    return instance


def _restore_node(graph: Graph, row: StoredNode, instance: Instance, by_seq: dict[int, Node]) -> Node:
    node = Node(
        seq=row.seq,
        id=row.id,
        instance=instance,
        function=graph.function(row.function, instance.group),
        arguments=row.arguments,
        dependencies=tuple(by_seq[seq] for seq in row.dependency_seqs if seq in by_seq),
        parent_seq=row.parent_seq,
        created_at=row.created_at,
        limits=graph.limits_of_call(row.function, row.limit_keys) if row.limit_keys else (),
    )
    is_free = row.state is NodeState.STARTED and not row.function.at_most_once
    node.state = NodeState.WAITING if is_free else row.state
    node.finished_at = row.finished_at
    node.attempts = row.attempts
    node.tries = row.tries
    node.losses = row.losses
    node.payload = row.payload
    node.failures = row.failures or None
    if node.limits:
        graph.limits.respecify(node, graph.limits.restored_at)
    instance.nodes[node.id] = node
    if instance.whole:
        instance.counts[node.state] += 1
        instance.live += row.state not in TERMINAL
        instance.failed |= row.state in UNSUCCESSFUL
        hold_node(node)
    if instance.hooks and instance.blamed is None and row.state is NodeState.FAILED:
        instance.blamed = node
    return node


def _relink_node(graph: Graph, node: Node, row: StoredNode, by_seq: dict[int, Node], now: float) -> None:
    """Restore the relations to other nodes, maybe younger ones, and put the node in its place."""
    if node.state is NodeState.COMPLETED and node.payload is None:
        node.source = by_seq.get(row.source_seq)
        if node.source is None:
            _find_source(node)
    if row.cause_seq != row.seq:
        node.cause = by_seq.get(row.cause_seq)
    if node.state is NodeState.STARTED:
        node.function.lane.active += 1
        graph.unclaimed.append(node)
    elif row.state is NodeState.STARTED:
        graph.make_ready(node, now)  # who had it may be back any moment; if not, its time in the queue begins only now
    elif node.state is NodeState.WAITING:
        if graph.wait_for(node, node.dependencies) is not None:
            graph.tell_again(node, node.dependencies)
        elif not node.missing:
            graph.make_ready(node, min(now, _ready_since(node, row)))
    elif node.state is NodeState.JOINING:
        if graph.wait_for(node, node.promises) is not None or not node.missing:
            graph.tell_again(node, node.promises)
    elif node.state is NodeState.BACKOFF:
        node.function.lane.active += 1
        graph.back_off(node, _retry_at(row, now))


def _ready_since(node: Node, row: StoredNode) -> float:
    """Return when a node that was never leased since became ready, as far as that is durable."""
    since = [node.created_at, row.waiting_since]
    since += [dependency.finished_at for dependency in node.dependencies]
    since += [failed.ended_at for failed in node.failures or ()]  # its worker was lost
    return max(since)


def _retry_at(row: StoredNode, now: float) -> float:
    """Return when a backoff ends: not later than if it began now, or the clock that said when it did was ahead."""
    began_at = row.failures[-1].ended_at if row.failures else now
    return min(row.retry_at, now + max(0.0, row.retry_at - began_at))


def _find_source(node: Node) -> None:
    """Note the node that the value of a completed alias comes from, there and at every alias on the way to it."""
    aliases: list[Node] = []
    while node.source is None and node.payload is None and node.promises:
        aliases.append(node)
        node = node.promises[0]
    source = node.source or node
    for alias in aliases:
        alias.source = source
