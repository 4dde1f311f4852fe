"""Bringing back from the journal what a command needs of an instance that has left memory, and no more.

A call from outside needs the nodes that it depends on, with what their values are made of; a request that is repeated
needs nothing. So what a call costs does not grow with the instance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from dagorama_broker.core.commands import NodeResult, RerunNode, RetryInstance, SubmitNodes
from dagorama_broker.core.graph.resetting import Plan, is_done, make_plan
from dagorama_broker.core.graph.restoring import Restoring
from dagorama_broker.core.graph.submitting import check_repeated
from dagorama_broker.core.model.entities import Instance
from dagorama_broker.core.model.keeping import told_by
from dagorama_broker.core.model.references import referring, stored_references
from dagorama_broker.core.model.stored import StoredInstance, StoredNode
from dagorama_broker.core.model.values import InstanceId, NewCall, NodeId
from dagorama_broker.core.scheduler import Scheduler
from dagorama_broker.storage.journal import Journal

T = TypeVar("T")

#: So many nodes are looked up, or compared, at once: others come between.
_AT_ONCE = 1_000

#: Values that are read only because they are beside something else come to no more than this at once, or are one.
_BESIDE_BYTES_MAX = 4 << 20


class _Reads(Protocol):
    """The part of the host that is needed here."""

    @property
    def scheduler(self) -> Scheduler: ...

    @property
    def journal(self) -> Journal: ...

    async def read(self, function: Callable[..., T], *args: object) -> T: ...

    async def flush(self) -> None: ...

    def now(self) -> float: ...


async def bring_back(host: _Reads, command: SubmitNodes) -> SubmitNodes | None:
    """Restore what a command needs that is not in memory; give what is left to do of it, None for nothing.

    No two may do that for one instance at a time. Between this and the command nothing may be awaited. Raises
    `ConflictingNode` or `PrunedInstance`.
    """
    instances, instance_id = host.scheduler.instances, command.instance_id
    while True:
        await _settle(host, instance_id)
        instance = instances.get(instance_id)
        if instance is not None and instance.whole:
            return command
        stored = None if instance is not None else await _read_head(host, instance_id)
        if instance is None and stored is None:
            await _refuse_pruned(host, instance_id)
            return command
        calls = await _new_calls(host, instance_id, command.calls)
        referred = [dependency_id for call in calls for dependency_id in call.dependency_ids]
        rows = await _read_values(host, instance_id, instance, referred)
        head = stored or _head_of(instance)
        held = await _find_held(host, head.seq, _payloads_of(calls))
        if instances.get(instance_id) is instance:
            break
    if not calls:
        return None
    _restore(host, replace(head, held=held), rows)
    return replace(command, calls=calls)


async def _settle(host: _Reads, instance_id: InstanceId) -> None:
    """Return when an instance that is not in memory is in the journal as it has ended."""
    is_there = True
    while is_there:
        # It may end while this waits, and so leave memory with a later batch than those that are waited for.
        is_there = instance_id in host.scheduler.instances
        await host.flush()
        is_there = is_there and instance_id not in host.scheduler.instances


async def bring_back_all(host: _Reads, command: RetryInstance | RerunNode) -> None:
    """Restore an instance in which nodes are to begin anew, and have that done but for letting others know of it.

    All of it goes in slices or in a thread: others come between. For a command that is refused at once, or has been
    carried out, nothing is read. As with `bring_back`, nothing may be awaited between this and the command. Raises what
    the command would.
    """
    instance_id, graph = command.instance_id, host.scheduler.graph
    await _settle(host, instance_id)
    if instance_id in graph.instances:
        return
    head = await host.read(host.journal.find_head, instance_id)
    if head is None:
        await _refuse_pruned(host, instance_id)
        return
    restoring = Restoring(graph, head, host.now())
    if not is_done(restoring.instance, command):
        try:
            host.scheduler.resets.plans[instance_id] = await _prepare(host, restoring, command)
        except BaseException:
            restoring.give_up()
            raise
    restoring.enter(host.now())


async def _refuse_pruned(host: _Reads, instance_id: InstanceId) -> None:
    """Raise `PrunedInstance` where there was such an instance."""
    tombstone = await host.read(host.journal.find_tombstone, instance_id)
    if tombstone is not None:
        raise told_by(tombstone)


async def _prepare(host: _Reads, restoring: Restoring, command: RetryInstance | RerunNode) -> Plan:
    """Restore all of an instance, and do there what a command asks for. Raises what the command would."""
    instance = restoring.instance
    after_seq = 0
    while rows := await host.read(
        lambda: host.journal.list_nodes(instance.id, after_seq=after_seq, limit=_AT_ONCE, values=True)  # noqa: B023
    ):
        restoring.add(rows)
        after_seq = rows[-1].seq
        await asyncio.sleep(0)
    for _ in restoring.link(host.now()):
        await asyncio.sleep(0)
    plan = await asyncio.get_running_loop().run_in_executor(None, make_plan, instance, command)
    assert plan is not None, "the request has been done, although it had not"
    for _ in plan.carry_out(host.scheduler.graph):
        await asyncio.sleep(0)
    return plan


async def bring_back_referred(host: _Reads, instance: Instance, result: NodeResult) -> None:
    """Restore the nodes that a result of a node refers to and that had ended before its instance was restored.

    Also note the large values in it that the instance had before.
    """
    made = {call.node_id for call in result.children}
    referred = [*result.promise_ids, *(() if result.alias_id is None else (result.alias_id,))]
    referred += [dependency_id for call in result.children for dependency_id in call.dependency_ids]
    rows = await _read_values(host, instance.id, instance, [id for id in referred if id not in made])
    payloads = [result.payload or b"", *_payloads_of(result.children)]
    if result.failure is not None:
        payloads.append(result.failure.exception)
    held = await _find_held(host, instance.seq, payloads)
    if (rows or held) and host.scheduler.instances.get(instance.id) is instance:
        _restore(host, replace(_head_of(instance), held=held), rows)


def _payloads_of(calls: Sequence[NewCall]) -> list[bytes]:
    functions = {id(call.function): call.function for call in calls}  # few, and slow to hash
    return [
        *(call.arguments for call in calls),
        *(function.definition_arguments for function in functions.values()),
    ]


async def _find_held(host: _Reads, instance_seq: int, payloads: Sequence[bytes]) -> set[bytes]:
    """Return the values that some payloads refer to, and the journal knows that the instance does."""
    found = referring(payloads)
    digests = {reference.digest for place in found for reference in stored_references(payloads[place])}
    return await host.read(host.journal.find_held, instance_seq, list(digests)) if digests else set()


def _restore(host: _Reads, stored: StoredInstance, rows: list[StoredNode]) -> None:
    host.scheduler.restore_instance(replace(stored, nodes=rows), host.now())


def _head_of(instance: Instance | None) -> StoredInstance:
    """Give what nodes are added with to an instance that is in memory: it keeps what it has."""
    assert instance is not None
    return StoredInstance(
        seq=instance.seq,
        id=instance.id,
        definition=instance.definition,
        state=instance.state,
        created_at=instance.created_at,
        counts={},
    )


async def _read_head(host: _Reads, instance_id: InstanceId) -> StoredInstance | None:
    head = await host.read(host.journal.find_head, instance_id)
    if head is None:
        return None
    summary = await host.read(host.journal.summarize_instance, instance_id)
    return replace(head, counts=summary.counts if summary else {})


async def _find(
    host: _Reads, instance_id: InstanceId, node_ids: Iterable[NodeId], *, values: bool = False
) -> dict[NodeId, StoredNode]:
    ids = list(dict.fromkeys(node_ids))
    found: dict[NodeId, StoredNode] = {}
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        found |= await host.read(lambda some=some: host.journal.find_by_id(instance_id, some, values=values))
    return found


async def _new_calls(host: _Reads, instance_id: InstanceId, calls: Sequence[NewCall]) -> list[NewCall]:
    """Give the calls, out of some, that the journal does not have. Raises `ConflictingNode` where it has another one.

    The core cannot do that for calls in memory: the nodes that these depend on may not be there.
    """
    new: list[NewCall] = []
    for start in range(0, len(calls), _AT_ONCE):
        some = calls[start : start + _AT_ONCE]
        found = await _find(host, instance_id, [call.node_id for call in some])
        repeated = {call.node_id: call for call in some if call.node_id in found}
        others = await _find(host, instance_id, [id for call in repeated.values() for id in call.dependency_ids])
        for node_ids in _portions([found[node_id] for node_id in repeated]):
            for row in (await _find(host, instance_id, node_ids, values=True)).values():
                call = repeated[row.id]
                seqs = [others[other].seq for other in call.dependency_ids if other in others]
                check_repeated(instance_id, row, call, seqs)
        new += [call for call in some if call.node_id not in found]
    return new


def _portions(rows: Iterable[StoredNode]) -> Iterator[list[NodeId]]:
    """Give the ids of nodes, so many at a time that their values are not too much to be read at once."""
    portion: list[NodeId] = []
    payload_bytes = 0
    for row in rows:
        payload_bytes += row.payload_bytes
        if portion and payload_bytes > _BESIDE_BYTES_MAX:
            yield portion
            portion, payload_bytes = [], row.payload_bytes
        portion.append(row.id)
    yield portion


async def _read_values(
    host: _Reads, instance_id: InstanceId, instance: Instance | None, node_ids: Iterable[NodeId]
) -> list[StoredNode]:
    """Give, in creation order, those of some nodes that are not in memory, and what is needed of others for them."""
    known = instance.nodes if instance is not None else {}
    found = await _find(host, instance_id, [node_id for node_id in node_ids if node_id not in known])
    seqs = sorted(node.seq for node in found.values())
    rows: dict[int, StoredNode] = {}
    for start in range(0, len(seqs), _AT_ONCE):
        rows |= await host.read(host.journal.find_values, seqs[start : start + _AT_ONCE])
    causes = sorted({row.cause_seq for row in rows.values()} - rows.keys() - {0})
    if causes:
        rows |= await host.read(lambda: host.journal.find_nodes(causes, values=True))
    return [rows[seq] for seq in sorted(rows)]
