"""Taking instances over from the journal."""

from __future__ import annotations

from dagorama_broker.core.attempts import Attempts
from dagorama_broker.core.digests import Comparison
from dagorama_broker.core.errors import show_id
from dagorama_broker.core.graph import Graph
from dagorama_broker.core.model import Instance, Node
from dagorama_broker.core.states import TERMINAL, UNSUCCESSFUL, InstanceState, NodeState
from dagorama_broker.core.stored import StoredInstance, StoredNode


def restore_instance(graph: Graph, attempts: Attempts, stored: StoredInstance, now: float) -> None:
    """Take an instance back into memory, so that nodes can be added to it. A no-op when it is there.

    What is stored may be of a time when the clock was ahead. No wait becomes longer than it was to be in all.
    """
    if stored.id in graph.instances:
        return
    instance = Instance(
        seq=stored.seq,
        id=stored.id,
        definition=stored.definition,
        created_at=min(stored.created_at, now),
        deadline_at=stored.deadline_at - max(0.0, stored.created_at - now) if stored.deadline_at else 0.0,
        group=stored.group,
        control=stored.control,
    )
    instance.limit = graph.limits.recap(None, f"instance {show_id(instance.id)}", instance.control.running_max, ())
    instance.state = stored.state
    instance.finished_at = stored.finished_at
    instance.request = stored.request
    instance.void_token = stored.void_token
    instance.cancelled = stored.state is InstanceState.CANCELLED
    by_seq: dict[int, Node] = {}
    for row in stored.nodes:
        by_seq[row.seq] = _restore_node(graph, row, instance, by_seq)
    for row in stored.nodes:
        by_seq[row.seq].promises = tuple(by_seq[seq] for seq in row.promise_seqs)
    previous = [(by_seq[row.seq], row.previous) for row in stored.nodes if row.previous is not None]
    instance.comparison = Comparison(previous) if previous else None
    for row in stored.nodes:
        _relink_node(graph, attempts, by_seq[row.seq], row, by_seq, now)
    graph.instances[instance.id] = instance
    if instance.state is InstanceState.RUNNING:
        graph.watch_deadline(instance, now)
    if not instance.live:
        graph.touched[instance] = None  # unless the next command adds nodes it leaves memory, also when refused


def _restore_node(graph: Graph, row: StoredNode, instance: Instance, by_seq: dict[int, Node]) -> Node:
    node = Node(
        seq=row.seq,
        id=row.id,
        instance=instance,
        function=graph.function(row.function, instance.group),
        arguments=row.arguments,
        dependencies=tuple(by_seq[seq] for seq in row.dependency_seqs),
        parent_seq=row.parent_seq,
        created_at=row.created_at,
        limits=graph.limits_of_call(row.function, row.limit_keys) if row.limit_keys else (),
    )
    is_free = row.state is NodeState.STARTED and not row.function.at_most_once
    node.state = NodeState.WAITING if is_free else row.state
    node.finished_at = row.finished_at
    node.attempts = row.attempts
    node.losses = row.losses
    node.payload = row.payload
    node.failures = row.failures or None
    if node.limits:
        graph.limits.respecify(node, graph.limits.restored_at)
    instance.nodes[node.id] = node
    instance.live += row.state not in TERMINAL
    instance.failed |= row.state in UNSUCCESSFUL
    return node


def _relink_node(
    graph: Graph, attempts: Attempts, node: Node, row: StoredNode, by_seq: dict[int, Node], now: float
) -> None:
    """Restore what depends on other nodes, maybe younger ones, and put the node where it belongs."""
    if node.state is NodeState.COMPLETED and node.payload is None:
        _find_source(node)
    if row.cause_seq != row.seq:
        node.cause = by_seq.get(row.cause_seq)
    if node.state is NodeState.STARTED:
        node.function.lane.active += 1
        graph.unclaimed.append(node)
    elif row.state is NodeState.STARTED:
        graph.make_ready(node, now)  # who had it may be back any moment; if not, its time in the queue begins only now
    elif node.state is NodeState.WAITING:
        graph.wait_for(node, node.dependencies)
        if not node.missing:
            graph.make_ready(node, min(now, _ready_since(node, row)))
    elif node.state is NodeState.JOINING:
        graph.wait_for(node, node.promises)
    elif node.state is NodeState.BACKOFF:
        node.function.lane.active += 1
        attempts.back_off(node, _retry_at(row, now))


def _ready_since(node: Node, row: StoredNode) -> float:
    """Tell from what is durable when a node that was never leased since has become ready."""
    since = [node.created_at, row.waiting_since]
    since += [dependency.finished_at for dependency in node.dependencies]
    since += [failed.ended_at for failed in node.failures or ()]  # its worker was lost
    return max(since)


def _retry_at(row: StoredNode, now: float) -> float:
    """Tell when a backoff ends: not later than if it began now, or the clock that said when it did was ahead."""
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
