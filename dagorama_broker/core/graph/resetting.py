"""Resets: nodes that have ended begin anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import ConflictingRequest, NodeInUse, UnfitInstance, UnknownNode, show_id
from dagorama_broker.core.graph.digests import Comparison, digest_node
from dagorama_broker.core.graph.graph import Graph
from dagorama_broker.core.graph.holding import recount
from dagorama_broker.core.model.entities import Function, Instance, Node
from dagorama_broker.core.model.states import UNSUCCESSFUL, InstanceState, NodeState
from dagorama_broker.core.model.values import InstanceId, NodeId, Pause, Request
from dagorama_broker.core.noting import note_action, note_end

#: So many nodes are reset before others may come between: that takes some milliseconds.
_STEP = 1_000


def is_done(instance: Instance, command: c.RetryInstance | c.RerunNode) -> bool:
    """Return whether a request has been done. Raises `ConflictingRequest` or `UnfitInstance`. It looks at no nodes."""
    node_id = command.node_id if isinstance(command, c.RerunNode) else None
    done = instance.request
    if done is not None and done.id == command.request_id:
        if done.node_id != node_id:
            raise ConflictingRequest(instance_id=instance.id, request_id=done.id)
        return True
    if node_id is None and instance.state is not InstanceState.FAILED:
        raise UnfitInstance(instance_id=instance.id, state=instance.state, wanted="retried", needed="has failed")
    if instance.state not in {InstanceState.COMPLETED, InstanceState.FAILED}:
        needed = "has completed or failed"
        raise UnfitInstance(instance_id=instance.id, state=instance.state, wanted="rerun", needed=needed)
    return False


class Plan:
    """The nodes that are to begin anew in an instance: found, and then reset, bit by bit, unknown to all others."""

    def __init__(self, instance: Instance, request: Request | None, nodes: Sequence[Node], joins: set[Node]) -> None:
        self.instance = instance
        self.request = request
        self.resets: list[e.Reset] = []
        self.removed: dict[Node, None] = {}
        self.previous: list[bytes] = []  #: of a rerun, the digests of the values of `nodes`
        self.causes: list[tuple[Node, Node]] = []  #: nodes that cannot begin again, with the reasons
        self.ready: list[Node] = []
        self.edited: Node | None = None  #: the node that gets other arguments
        self.edits = b""  #: what is put before those that it has
        self._nodes = nodes
        self._joins = joins

    def carry_out(self, graph: Graph) -> Iterator[None]:
        """Reset the nodes, which wait for each other as they did. Give way to others now and then."""
        instance = self.instance
        for node in self.removed:
            del instance.nodes[node.id]
            instance.counts[node.state] -= 1
        if self.previous:
            graph.comparisons[instance] = Comparison(zip(self._nodes, self.previous, strict=True))
        functions: dict[Function, Function] = {}
        for place, node in enumerate(self._nodes):
            if node not in self.removed:
                previous = self.previous[place] if self.previous else None
                reset = _reset_node(graph, node, functions, joins=node in self._joins, previous=previous)
                if node is self.edited:
                    node.arguments = self.edits + node.arguments
                    reset = reset._replace(arguments=node.arguments)
                self.resets.append(reset)
            if place % _STEP == _STEP - 1:
                yield
        for place, reset in enumerate(self.resets):
            node = reset.node
            cause = graph.wait_for(node, node.promises or node.dependencies)
            if cause is not None:
                self.causes.append((node, cause))
            elif node.state is NodeState.WAITING and not node.missing:
                self.ready.append(node)
            if place % _STEP == _STEP - 1:
                yield
        yield from recount(instance)


def plan_retry(instance: Instance, command: c.RetryInstance) -> Plan | None:
    """Find the nodes that begin anew where a failed instance goes on; return None where that has been done."""
    if is_done(instance, command):
        return None
    failed = [node for node in instance.nodes.values() if node.state in UNSUCCESSFUL]
    joined = {node: None for node in failed if node.promises}
    joins = _without_circles(failed, joined)
    request = Request(command.request_id, None, ()) if command.request_id else None
    plan = Plan(instance, request, failed, joins)
    if len(joins) < len(joined):
        plan.removed = _removed_calls(_Links(instance), joined, joins, {})
    return plan


def plan_rerun(instance: Instance, command: c.RerunNode) -> Plan | None:
    """Find the nodes that begin anew where a node is run again; return None where that has been done."""
    if is_done(instance, command):
        return None
    start = instance.nodes.get(command.node_id)
    if start is None:
        raise UnknownNode(instance_id=instance.id, node_id=command.node_id)
    links = _Links(instance)
    cone = _Cone(links, start)
    digests: dict[NodeId, bytes] = {}
    nodes = [node for node in instance.nodes.values() if node in cone.again or node in cone.joins]
    previous = [digest_node(node, digests) for node in nodes]
    joins = _without_circles(nodes, cone.joins)
    removed = _removed_calls(links, cone.joins, joins, cone.again)
    seqs = tuple(node.seq for node in nodes if node not in removed)
    request = Request(command.request_id, command.node_id, seqs) if command.request_id else None
    plan = Plan(instance, request, nodes, joins)
    plan.previous, plan.removed = previous, removed
    if command.edits:
        plan.edited, plan.edits = start, command.edits
    return plan


def make_plan(instance: Instance, command: c.RetryInstance | c.RerunNode) -> Plan | None:
    """Find the nodes that begin anew; return None where the request has been done."""
    return plan_retry(instance, command) if isinstance(command, c.RetryInstance) else plan_rerun(instance, command)


class Resets:
    """Lets nodes of instances that have ended begin anew."""

    def __init__(self, graph: Graph) -> None:
        self.plans: dict[InstanceId, Plan] = {}  #: for the command that follows, where that was prepared
        self._graph = graph

    def begin_anew(self, command: c.RetryInstance | c.RerunNode, void_token: int, now: float) -> None:
        """Let a failed instance go on from where it failed, or a node and all that its value went into run again.

        `void_token` is the last fencing token that was given: no worker goes on under it or an earlier one.
        """
        graph, instance_id = self._graph, command.instance_id
        plan = self.plans.pop(instance_id, None)  # else what follows takes as long as the instance is large
        if plan is None:
            instance = graph.instance(instance_id)
            plan = make_plan(instance, command)
            if plan is None:
                assert instance.request is not None
                graph.events.append(e.RequestRepeated(instance=instance, seqs=instance.request.seqs))
                return
            for _ in plan.carry_out(graph):
                pass
        note_end(graph.events, plan.instance)
        _note(graph, plan, command, now)
        _reopen(graph, plan, void_token, now)


def _note(graph: Graph, plan: Plan, command: c.RetryInstance | c.RerunNode, now: float) -> None:
    """Note who has nodes begin anew."""
    details: dict[str, object] = {"nodes": len(plan.resets)}
    verb = "retry"
    if isinstance(command, c.RerunNode):
        verb = "rerun"
        node = plan.instance.nodes[command.node_id]
        details = {"node": show_id(node.id), "function": node.function.spec.name, **details}
        if command.edits:
            details["arguments"] = command.edits_shown
    note_action(graph.events, verb, command.by, now, of=plan.instance, details=details)


def _without_circles(nodes: Sequence[Node], joins: Iterable[Node]) -> set[Node]:
    """Return the nodes of `joins` that can join again; the others must run again, or they would wait for themselves.

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
    """The makers of the nodes of an instance, and the nodes that refer to them."""

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
        """Return the calls that the functions of some nodes have made, and the calls of these in turn."""
        found: dict[Node, None] = {}
        stack = [child for node in nodes for child in self.children[node.seq]]
        while stack:
            node = stack.pop()
            if node not in found:
                found[node] = None
                stack += self.children[node.seq]
        return found


def _removed_calls(
    links: _Links, joined: Iterable[Node], joins: set[Node], again: dict[Node, None]
) -> dict[Node, None]:
    """Return the calls made by nodes that run `again`, or that cannot join as they had: they are to be removed.

    Raises `NodeInUse` where something refers to one of them, which would be made anew, under another id.
    """
    again = again | {node: None for node in joined if node not in joins}
    removed = links.descendants(again)
    for node in removed:
        users = [user for user in links.dependents[node] if user not in removed]
        users += [user for user in links.joiners[node] if user not in removed and user not in again]
        if users:
            raise NodeInUse(node_id=node.id, user_id=users[0].id)
    return removed


class _Cone:
    """The nodes that a rerun touches: `again` run again and make new calls, `joins` wait again for their promises."""

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


def _reopen(graph: Graph, plan: Plan, void_token: int, now: float) -> None:
    """Reopen an instance after some of its nodes have been reset."""
    instance, resets = plan.instance, plan.resets
    instance.pauses += (Pause(instance.finished_at, max(now, instance.finished_at)),)
    instance.request = plan.request
    instance.void_token = void_token
    instance.state = InstanceState.RUNNING
    instance.finished_at = instance.deadline_at = 0.0
    instance.failed = any(instance.counts[state] for state in UNSUCCESSFUL)
    if instance.hooks:
        failed = (node for node in instance.nodes.values() if node.state is NodeState.FAILED)
        instance.blamed = next(failed, None)
    instance.live += len(resets)
    graph.events.append(e.InstanceReopened(instance=instance))
    if plan.removed:
        graph.events.append(e.NodesRemoved(instance=instance, nodes=list(plan.removed)))
    graph.events.append(
        e.NodesReset(instance=instance, resets=resets, at=now, request=instance.request, void_token=instance.void_token)
    )
    graph.doomed.extend(plan.causes)
    graph.fail_doomed(now)
    graph.make_all_ready(plan.ready, now)


def _reset_node(
    graph: Graph, node: Node, functions: dict[Function, Function], *, joins: bool, previous: bytes | None = None
) -> e.Reset:
    """Take a node back to before it ended: before it ran, or where it joins to when its function had returned."""
    if not joins:
        # Whoever resets it has changed the code, or knows that it need not be changed.
        function = functions.get(node.function)
        if function is None:
            spec = replace(node.function.spec, code_version="", release="")
            function = functions[node.function] = graph.function(spec, node.instance.group)
        node.function = function
        # An alias or a value of a broker of old may have been given without an attempt that is known; it was one.
        node.tries += node.state is NodeState.COMPLETED or bool(node.promises)
        node.payload = None
        node.promises = ()
    node.move(NodeState.JOINING if joins else NodeState.WAITING)
    node.attempts = node.losses = 0
    node.finished_at = node.retry_at = 0.0
    node.cause = node.source = None
    return e.Reset(node, node.function, joins, previous, tries=node.tries)
