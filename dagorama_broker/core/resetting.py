"""Letting nodes that have ended begin anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import UnfitInstance
from dagorama_broker.core.graph import Graph
from dagorama_broker.core.model import Instance, Node
from dagorama_broker.core.states import UNSUCCESSFUL, InstanceState, NodeState


def retry_instance(graph: Graph, command: c.RetryInstance, now: float) -> None:
    """Let a failed instance go on from where it failed."""
    instance = graph.instance(command.instance_id)
    if instance.state is not InstanceState.FAILED:
        raise UnfitInstance(instance_id=instance.id, state=instance.state, wanted="retried", needed="has failed")
    _reset(graph, instance, [node for node in instance.nodes.values() if node.state in UNSUCCESSFUL], now)


def _reset(graph: Graph, instance: Instance, nodes: Sequence[Node], now: float) -> None:
    """Reopen an instance, of which these nodes begin anew; they wait for each other where they did."""
    instance.state = InstanceState.RUNNING
    instance.finished_at = instance.deadline_at = 0.0
    instance.failed = False
    instance.live += len(nodes)
    resets = [_reset_node(graph, node) for node in nodes]
    graph.events.append(e.InstanceReopened(instance=instance))
    graph.events.append(e.NodesReset(instance=instance, resets=resets))
    for node in nodes:
        graph.wait_for(node, node.promises or node.dependencies)
    for node in nodes:
        if not node.missing:
            graph.make_ready(node, now)


def _reset_node(graph: Graph, node: Node) -> e.Reset:
    """Take a node back to before its failure. What its function has returned stays: that is not run again."""
    joins = bool(node.promises)
    if not joins:
        # Whoever resets it has changed the code, or knows that it need not be changed.
        spec = replace(node.function.spec, code_version="")
        node.function = graph.function(spec, node.instance.group)
    node.move(NodeState.JOINING if joins else NodeState.WAITING)
    node.attempts = node.losses = 0
    node.finished_at = node.retry_at = 0.0
    node.cause = None
    return e.Reset(node, node.function, joins)
