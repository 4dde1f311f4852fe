"""Letting nodes that have ended begin anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.digests import Comparison, digest_node
from dagorama_broker.core.dispatch import Dispatcher
from dagorama_broker.core.errors import ConflictingRequest, NodeInUse, UnfitInstance
from dagorama_broker.core.graph import Graph
from dagorama_broker.core.model import Instance, Node, NodeId, Request, RequestId
from dagorama_broker.core.states import UNSUCCESSFUL, InstanceState, NodeState


def retry_instance(graph: Graph, dispatcher: Dispatcher, command: c.RetryInstance, now: float) -> None:
    """Let a failed instance go on from where it failed."""
    instance = graph.instance(command.instance_id)
    if _is_repeated(graph, instance, command.request_id, None):
        return
    if instance.state is not InstanceState.FAILED:
        raise UnfitInstance(instance_id=instance.id, state=instance.state, wanted="retried", needed="has failed")
    failed = [node for node in instance.nodes.values() if node.state in UNSUCCESSFUL]
    joined = {node: None for node in failed if node.promises}
    joins = _without_circles(failed, joined)
    removed = _remove_calls(instance, _Links(instance), joined, joins, {}) if len(joins) < len(joined) else ()
    resets = [_reset_node(graph, node, joins=node in joins) for node in failed if node not in removed]
    instance.request = Request(command.request_id, None, ()) if command.request_id else None
    instance.void_token = dispatcher.token_last
    _reopen(graph, instance, resets, list(removed), now)


def rerun_node(graph: Graph, dispatcher: Dispatcher, command: c.RerunNode, now: float) -> None:
    """Let a node of a finished instance, and whatever its value went into, begin anew."""
    instance = graph.instance(command.instance_id)
    if _is_repeated(graph, instance, command.request_id, command.node_id):
        return
    if instance.state not in {InstanceState.COMPLETED, InstanceState.FAILED}:
        needed = "has completed or failed"
        raise UnfitInstance(instance_id=instance.id, state=instance.state, wanted="rerun", needed=needed)
    links = _Links(instance)
    cone = _Cone(links, graph.node(instance.id, command.node_id))
    digests: dict[NodeId, bytes] = {}
    nodes = [node for node in instance.nodes.values() if node in cone.again or node in cone.joins]
    previous = [digest_node(node, digests) for node in nodes]
    joins = _without_circles(nodes, cone.joins)
    removed = _remove_calls(instance, links, cone.joins, joins, cone.again)
    instance.comparison = Comparison(zip(nodes, previous, strict=True))
    resets = [
        _reset_node(graph, node, joins=node in joins, previous=digest)
        for node, digest in zip(nodes, previous, strict=True)
        if node not in removed
    ]
    seqs = tuple(reset.node.seq for reset in resets)
    instance.request = Request(command.request_id, command.node_id, seqs) if command.request_id else None
    instance.void_token = dispatcher.token_last
    _reopen(graph, instance, resets, list(removed), now)


def _is_repeated(graph: Graph, instance: Instance, request_id: RequestId | None, node_id: NodeId | None) -> bool:
    """Tell whether a request has been done, and answer it then; whoever sent it may not have heard of that.

    All nodes of that time are there: none is removed but by another such request. Raises `ConflictingRequest`.
    """
    done = instance.request
    if done is None or done.id != request_id:
        return False
    if done.node_id != node_id:
        raise ConflictingRequest(instance_id=instance.id, request_id=done.id)
    by_seq = {node.seq: node for node in instance.nodes.values()}
    graph.events.append(e.RequestRepeated(instance=instance, nodes=[by_seq[seq] for seq in done.seqs]))
    return True


def _without_circles(nodes: Sequence[Node], joins: Iterable[Node]) -> set[Node]:
    """Give those of `joins` that can join again; the others must run again, or they would wait for themselves.

    A node may have returned the promise of one that depends on it, but that had failed of something else by then.
    """
    joins = set(joins)
    reset = set(nodes)
    waiting = {node: _blockers(node, node in joins) & reset for node in nodes}
    blocked: defaultdict[Node, list[Node]] = defaultdict(list)
    for node, blockers in waiting.items():
        for blocker in blockers:
            blocked[blocker].append(node)
    free = [node for node, blockers in waiting.items() if not blockers]
    while waiting:
        if not free:  # every circle has a node that joins, as dependencies are older
            node = min((node for node in waiting if node in joins), key=lambda node: node.seq)
            joins.remove(node)
            waiting[node] = _blockers(node, False) & waiting.keys()
            free = [] if waiting[node] else [node]
            for blocker in waiting[node]:
                blocked[blocker].append(node)
            continue
        node = free.pop()
        if waiting.pop(node, None) is None:
            continue
        for other in blocked[node]:
            if other in waiting:
                waiting[other].discard(node)
                if not waiting[other]:
                    free.append(other)
    return joins


def _blockers(node: Node, joins: bool) -> set[Node]:
    return set(node.promises if joins else node.dependencies)


class _Links:
    """Who made the nodes of an instance, and who refers to them."""

    def __init__(self, instance: Instance) -> None:
        self.children: defaultdict[int, list[Node]] = defaultdict(list)
        self.dependents: defaultdict[Node, list[Node]] = defaultdict(list)
        self.joiners: defaultdict[Node, list[Node]] = defaultdict(list)
        for node in instance.nodes.values():
            self.children[node.parent_seq].append(node)
            for dependency in node.dependencies:
                self.dependents[dependency].append(node)
            for promise in node.promises:
                self.joiners[promise].append(node)

    def descendants(self, nodes: Iterable[Node]) -> dict[Node, None]:
        """Give what the functions of some nodes have called, and what these have in turn."""
        found: dict[Node, None] = {}
        stack = [child for node in nodes for child in self.children[node.seq]]
        while stack:
            node = stack.pop()
            if node not in found:
                found[node] = None
                stack += self.children[node.seq]
        return found


def _remove_calls(
    instance: Instance, links: _Links, joined: Iterable[Node], joins: set[Node], again: dict[Node, None]
) -> dict[Node, None]:
    """Take out what was called by nodes that run `again`, or that cannot join as they had, and give it.

    Raises `NodeInUse`, and has changed nothing, where somebody refers to what would be made anew, under another id.
    """
    again = again | {node: None for node in joined if node not in joins}
    removed = links.descendants(again)
    for node in removed:
        users = [user for user in links.dependents[node] if user not in removed]
        users += [user for user in links.joiners[node] if user not in removed and user not in again]
        if users:
            raise NodeInUse(node_id=node.id, user_id=users[0].id)
    for node in removed:
        del instance.nodes[node.id]
        instance.counts[node.state] -= 1
    return removed


class _Cone:
    """What a rerun touches: `again` run again and make their calls anew, `joins` wait again for what they returned."""

    def __init__(self, links: _Links, start: Node) -> None:
        self.again: dict[Node, None] = {}
        self.joins: dict[Node, None] = {}
        self._links = links
        self._spread(start)

    def _spread(self, start: Node) -> None:
        self.again[start] = None
        stack = [start]
        while stack:
            node = stack.pop()
            for dependent in self._links.dependents[node]:
                if dependent not in self.again:
                    self.joins.pop(dependent, None)
                    self.again[dependent] = None
                    stack.append(dependent)
            for joiner in self._links.joiners[node]:
                if joiner not in self.again and joiner not in self.joins:
                    self.joins[joiner] = None
                    stack.append(joiner)
        for removed in self._links.descendants(self.again):
            self.again.pop(removed, None)
            self.joins.pop(removed, None)


def _reopen(graph: Graph, instance: Instance, resets: Sequence[e.Reset], removed: Sequence[Node], now: float) -> None:
    """Reopen an instance, of which some nodes have been reset; they wait for each other where they did."""
    instance.state = InstanceState.RUNNING
    instance.finished_at = instance.deadline_at = 0.0
    instance.failed = any(node.state in UNSUCCESSFUL for node in instance.nodes.values())
    instance.live += len(resets)
    graph.events.append(e.InstanceReopened(instance=instance))
    if removed:
        graph.events.append(e.NodesRemoved(instance=instance, nodes=removed))
    graph.events.append(
        e.NodesReset(instance=instance, resets=resets, at=now, request=instance.request, void_token=instance.void_token)
    )
    nodes = [reset.node for reset in resets]
    for node in nodes:
        if node.state not in UNSUCCESSFUL:  # else one before it could not begin
            cause = graph.wait_for(node, node.promises or node.dependencies)
            if cause is not None:
                graph.fail_dependency(node, cause, now)
    for node in nodes:
        if node.state is NodeState.WAITING and not node.missing:
            graph.make_ready(node, now)


def _reset_node(graph: Graph, node: Node, *, joins: bool, previous: bytes | None = None) -> e.Reset:
    """Take a node back to before it ended: before it ran, or where it joins to what its function returned."""
    if not joins:
        # Whoever resets it has changed the code, or knows that it need not be changed.
        spec = replace(node.function.spec, code_version="", release="")
        node.function = graph.function(spec, node.instance.group)
        node.payload = None
        node.promises = ()
    node.move(NodeState.JOINING if joins else NodeState.WAITING)
    node.attempts = node.losses = 0
    node.finished_at = node.retry_at = 0.0
    node.cause = node.source = None
    return e.Reset(node, node.function, joins, previous)
