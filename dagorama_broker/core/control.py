"""What people ask of instances that run."""

from __future__ import annotations

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.dispatch import Dispatcher
from dagorama_broker.core.errors import InstanceEnded
from dagorama_broker.core.graph import Graph
from dagorama_broker.core.model import Node, Worker
from dagorama_broker.core.states import ACTIVE, TERMINAL, InstanceState, NodeState


def cancel_instance(graph: Graph, dispatcher: Dispatcher, command: c.CancelInstance, now: float) -> None:
    """Stop an instance: what has not started never does, and what runs loses its lease."""
    instance = graph.instance(command.instance_id)
    if instance.state is not InstanceState.RUNNING:
        raise InstanceEnded(instance_id=instance.id, state=instance.state, wanted="cancelled")
    instance.cancelled = True
    nodes = [node for node in instance.nodes.values() if node.state not in TERMINAL]
    revoked: dict[Worker, list[tuple[Node, int]]] = {}
    for node in nodes:
        if node.state is NodeState.LEASED and node.worker is not None:
            revoked.setdefault(node.worker, []).append((node, node.token))
            dispatcher.revoke(node, node.worker, now)
        elif node.state is NodeState.READY:
            node.function.lane.ready -= 1
        if node.state in ACTIVE:
            node.function.lane.active -= 1
        node.move(NodeState.CANCELLED)
        node.dependents = None
        node.cause = node
        graph.end(node, now)
    if nodes:
        instance.failed = True
        graph.events.append(e.NodesCancelled(nodes=nodes, at=now))
    graph.events.extend(e.LeasesRevoked(worker=worker, leases=leases) for worker, leases in revoked.items())
    graph.touched[instance] = None
