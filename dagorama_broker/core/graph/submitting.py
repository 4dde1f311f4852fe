"""Taking calls in: from outside, and from nodes while they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import (
    ConflictingKey,
    ConflictingNode,
    DuplicateCall,
    InstanceEnded,
    UnknownDependency,
    show_id,
)
from dagorama_broker.core.graph.graph import Graph
from dagorama_broker.core.model.entities import Function, Instance, Node
from dagorama_broker.core.model.states import TERMINAL, InstanceState
from dagorama_broker.core.model.stored import StoredNode
from dagorama_broker.core.model.values import (
    Control,
    FunctionSpec,
    InstanceId,
    KnownStart,
    NewCall,
    NodeId,
    Start,
)
from dagorama_broker.core.noting import note_action, note_end

#: The parts of a `Body`, for people.
_PARTS = ("definition", "function", "definition arguments", "arguments")


def submit_nodes(graph: Graph, command: c.SubmitNodes, now: float) -> Instance | None:
    """Make an instance, where it is new, and nodes in it; None where another was started under the key."""
    instance = graph.instances.get(command.instance_id)
    is_new = instance is None
    if is_new and command.start is not None and (known := _known_start(graph, command.start, command.known)):
        graph.events.append(e.StartRepeated(instance_id=known.instance_id, node_id=known.start.node_id))
        return None
    if instance is None:
        instance = Instance(
            seq=graph.instance_seq + 1,
            id=command.instance_id,
            definition=command.definition,
            created_at=now,
            deadline_at=now + command.options.deadline_s if command.options.deadline_s else 0.0,
            group=command.options.group,
            control=Control(priority=command.options.priority, running_max=command.options.running_max),
            start=command.start,
            tags=command.options.tags,
            hooks=command.hooks,
            started_by=command.by,
            keep=command.options.keep,
        )
        instance.limit = graph.limits.recap(None, f"instance {show_id(instance.id)}", instance.control.running_max, ())
    calls = [call for call in command.calls if not _is_repeated(instance, call)]
    graph.bounds.check(instance, calls, None)
    nodes = build_nodes(graph, instance, calls, parent=None, now=now)
    is_reopened = bool(nodes) and not is_new and instance.state is not InstanceState.RUNNING
    if nodes and instance.state is InstanceState.CANCELLED:
        raise InstanceEnded(instance_id=instance.id, state=instance.state, wanted="given further nodes")
    graph.bounds.take_values(instance, nodes.values(), command.hooks if is_new else ())
    if is_new:
        graph.instance_seq = instance.seq
        graph.hold(instance)
        graph.events.append(e.InstanceCreated(instance=instance, control=instance.control))
    elif is_reopened:
        note_end(graph.events, instance)
        note_action(graph.events, "extend", command.by, now, of=instance, details={"nodes": len(nodes)})
        instance.state = InstanceState.RUNNING
        instance.finished_at = 0.0
        graph.events.append(e.InstanceReopened(instance=instance))
    graph.add_nodes(instance, nodes, now, *texts_of(calls))
    if is_new or is_reopened or not instance.nodes:
        graph.watch_deadline(instance, now)
    graph.touched[instance] = None
    return instance


def _known_start(graph: Graph, start: Start, known: KnownStart | None) -> KnownStart | None:
    """Return the start under this key that this one is; None for the first. Raises `ConflictingKey`."""
    holder = graph.started.get(start.key)
    if holder is not None and holder.start is not None:
        known = KnownStart(holder.id, holder.start)
    if known is not None and known.start.body != start.body:
        parts = zip(_PARTS, known.start.body, start.body, strict=True)
        differs = [part for part, before, now in parts if before != now]
        raise ConflictingKey(key=start.key, instance_id=known.instance_id, differs=differs)
    return known


def build_nodes(
    graph: Graph, instance: Instance, calls: Sequence[NewCall], *, parent: Node | None, now: float
) -> dict[NodeId, Node]:
    """Make nodes of calls, without adding them yet, so that a fault in one leaves no trace of the others.

    Calls made inside a node may depend only on each other and on what has ended, so that a node never waits for one
    that waits for it.
    """
    existing = instance.nodes
    nodes: dict[NodeId, Node] = {}
    seq = graph.node_seq
    parent_seq = parent.seq if parent else 0
    spec: FunctionSpec | None = None
    function: Function | None = None
    for node_id, call_spec, arguments, dependency_ids, limit_keys, _, _ in calls:
        if node_id in nodes:
            raise DuplicateCall(node_id=node_id)
        if node_id in existing:
            raise _conflict(existing[node_id], call_spec)
        if call_spec is not spec or function is None:  # calls of one function usually come in a row
            spec = call_spec
            function = graph.function(spec, instance.group)
        dependencies: tuple[Node, ...] = ()
        if dependency_ids:
            found = [nodes.get(dependency_id) or existing.get(dependency_id) for dependency_id in dependency_ids]
            for dependency, dependency_id in zip(found, dependency_ids, strict=True):
                if dependency is None or (parent and dependency.id not in nodes and dependency.state not in TERMINAL):
                    raise UnknownDependency(node_id=node_id, dependency_id=dependency_id, function=spec.name)
            dependencies = tuple(cast(list[Node], found))
        seq += 1
        nodes[node_id] = Node(
            seq=seq,
            id=node_id,
            instance=instance,
            function=function,
            arguments=arguments,
            dependencies=dependencies,
            parent_seq=parent_seq,
            created_at=now,
            limits=graph.limits_of_call(spec, limit_keys) if limit_keys else (),
        )
    return nodes


def texts_of(calls: Sequence[NewCall]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the labels and the inputs that calls came with; an empty column where none has any."""
    labels, inputs = [call.label for call in calls], [call.inputs for call in calls]
    return labels if any(labels) else (), inputs if any(inputs) else ()


def _is_repeated(instance: Instance, call: NewCall) -> bool:
    """Return whether the instance has this very call already. Raises `ConflictingNode` where it has another one."""
    node = instance.nodes.get(call.node_id)
    if node is None:
        return False
    if (
        _is_of(node.function.spec, call)
        and node.arguments == call.arguments
        and tuple(limit.key for limit in node.limits) == tuple(call.limit_keys)
        and tuple(dependency.id for dependency in node.dependencies) == tuple(call.dependency_ids)
    ):
        return True
    raise _conflict(node, call.function)


def check_repeated(instance_id: InstanceId, row: StoredNode, call: NewCall, dependency_seqs: Sequence[int]) -> None:
    """Raise `ConflictingNode` where a node in the journal is not this very call, with dependencies of these numbers."""
    if not (
        _is_of(row.function, call)
        and row.arguments == call.arguments
        and row.limit_keys == tuple(call.limit_keys)
        and row.dependency_seqs == tuple(dependency_seqs)
    ):
        raise ConflictingNode(
            instance_id=instance_id,
            node_id=row.id,
            function=call.function.name,
            existing_function=row.function.name,
        )


def _is_of(spec: FunctionSpec, call: NewCall) -> bool:
    return spec == call.function or spec == replace(call.function, code_version="", release="")  # it has been reset


def _conflict(node: Node, spec: FunctionSpec) -> ConflictingNode:
    return ConflictingNode(
        instance_id=node.instance.id,
        node_id=node.id,
        function=spec.name,
        existing_function=node.function.spec.name,
    )
