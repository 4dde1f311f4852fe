"""Start instances, stop and control them, and let them begin anew. Every answer is durable."""

from asyncio import Lock
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from weakref import WeakValueDictionary

from dagorama_broker.core import commands as c
from dagorama_broker.core.errors import (
    InstanceEnded,
    PrunedInstance,
    UnfitInstance,
    UnfitNode,
    UnknownInstance,
    UnknownNode,
)
from dagorama_broker.core.events import NodesReset, RequestRepeated, StartRepeated
from dagorama_broker.core.model.keeping import told_by
from dagorama_broker.core.model.states import ENDED, InstanceState
from dagorama_broker.core.model.stored import InstanceSummary
from dagorama_broker.core.model.values import (
    HookCall,
    InstanceId,
    KnownStart,
    NewCall,
    NodeId,
    PruneReason,
    RequestId,
    WorkerId,
)
from dagorama_broker.requests.answers import Page, QueueInfo, Submitted
from dagorama_broker.requests.checks import (
    MalformedRequest,
    check_actor,
    check_control,
    check_edits,
    check_hooks,
    check_name,
    check_queue,
    start_of,
)
from dagorama_broker.requests.describing import describe_queues
from dagorama_broker.requests.keeper import Keeper
from dagorama_broker.requests.limits import LookingAtLimits
from dagorama_broker.requests.references import check_references, payloads_of_submit

#: How instances are run of which nothing is said.
NO_OPTIONS = c.InstanceOptions()

#: So many nodes are looked up at once.
_LOOKED_UP_MAX = 500


class Changing(LookingAtLimits):
    """Answer the requests that change something."""

    def __init__(self, keeper: Keeper) -> None:
        super().__init__(keeper)
        #: Held while an instance is started under a key: two that start at once would both find none.
        self._starting: WeakValueDictionary[str, Lock] = WeakValueDictionary()

    async def submit(
        self,
        instance_id: InstanceId,
        definition: str,
        calls: Sequence[NewCall],
        options: c.InstanceOptions = NO_OPTIONS,
        hooks: Sequence[HookCall] = (),
        by: str = "",
        *,
        opaque: bool = False,
    ) -> Submitted | None:
        """Make an instance, if it is new, with these options and hooks, and nodes in it. Repeating it is a no-op.

        `opaque` payloads are any bytes; others may refer to values, which have to be there.

        Return the other instance that was started under the key of the options, None where there is none. Raises
        `MalformedRequest`, `MissingValues`, `ConflictingNode`, `DuplicateCall`, `UnknownDependency`, `ConflictingKey`,
        `TooManyCalls`, `TooManyNodes` or `TooManyBytes`.
        """
        check_name("definition", definition)
        check_hooks(hooks)
        check_actor(by)
        command = c.SubmitNodes(
            instance_id=instance_id, definition=definition, calls=calls, options=options, hooks=tuple(hooks), by=by
        )
        if not opaque:
            await check_references(payloads_of_submit(command), self._keeper.find_values)
        if options.key:
            return await self._start(replace(command, start=start_of(command)))
        await self._keeper.submit(command)
        return None

    async def _start(self, command: c.SubmitNodes) -> Submitted | None:
        """Start an instance under a key, once: one after the other where several do so with the same key."""
        assert command.start is not None
        key = command.start.key
        keeper = self._keeper
        async with self._starting.setdefault(key, Lock()):
            holder = keeper.scheduler.graph.started.get(key)
            if holder is not None and holder.start is not None:
                known: KnownStart | None = KnownStart(holder.id, holder.start)
            else:
                await keeper.flush()  # it may be on its way to the journal
                known = await keeper.read(keeper.journal.find_start, key)
                if known is None:
                    await self._refuse_pruned(key)
            if known is not None and known.instance_id == command.instance_id:
                known = None
            for event in await keeper.submit(replace(command, known=known)):
                if isinstance(event, StartRepeated):
                    return Submitted(event.instance_id, event.node_id)
        return None

    async def _refuse_pruned(self, key: str) -> None:
        """Raise `PrunedInstance` where an instance was started under a key and is no more."""
        keeper = self._keeper
        tombstone = await keeper.read(keeper.journal.find_tombstone_of_key, key)
        if tombstone is not None:
            raise told_by(tombstone, key=key)

    async def cancel_instance(self, instance_id: InstanceId, by: str = "") -> None:
        """Stop an instance. Raises `UnknownInstance`, or `InstanceEnded` naming the state."""
        check_actor(by)
        await self._change(c.CancelInstance(instance_id=instance_id, by=by), "cancelled")

    async def control_instance(
        self,
        instance_id: InstanceId,
        priority: int | None = None,
        paused: bool | None = None,
        running_max: int | None = None,
        by: str = "",
    ) -> InstanceSummary:
        """Change how an instance is run, None leaving a thing as it is, and return how it stands then.

        Raises `MalformedRequest`, `UnknownInstance`, or `InstanceEnded` naming the state.
        """
        command = c.ControlInstance(
            instance_id=instance_id, priority=priority, paused=paused, running_max=running_max, by=by
        )
        check_control(command)
        check_actor(by)
        await self._change(command, command.wanted)
        return await self.get_instance(instance_id)

    async def control_queue(
        self, queue: str, paused: bool | None = None, running_max: int | None = None, by: str = ""
    ) -> list[QueueInfo]:
        """Change how a queue is run, which need not be known, and return how it stands then, by taint.

        Raises `MalformedRequest`.
        """
        check_queue(queue)
        check_actor(by)
        await self._keeper.commit(c.ControlQueue(queue=queue, paused=paused, running_max=running_max, by=by))
        return [info for info in describe_queues(self._keeper.scheduler.queues, always=queue) if info.queue == queue]

    async def retry_instance(self, instance_id: InstanceId, request_id: RequestId | None = None, by: str = "") -> None:
        """Let a failed instance go on from where it failed. Repeating it by the same id is a no-op.

        Raises `UnknownInstance`, `UnfitInstance`, `NodeInUse` or `ConflictingRequest`.
        """
        check_actor(by)
        await self._keeper.submit(c.RetryInstance(instance_id=instance_id, request_id=request_id, by=by))

    async def delete_instance(self, instance_id: InstanceId, by: str = "") -> None:
        """Remove an instance that has ended, with all that belongs to it. A no-op where it was removed before.

        Raises `UnfitInstance` for one that runs, or `UnknownInstance`.
        """
        check_actor(by)
        command = c.PruneInstances(reason=PruneReason.REQUEST, by=by)
        while not await self._keeper.prune([instance_id], command, waits=True):
            try:
                summary = await self.get_instance(instance_id)
            except PrunedInstance:
                return
            if summary.state is InstanceState.RUNNING:
                needed = "has ended, or is cancelled first,"
                raise UnfitInstance(instance_id=instance_id, state=summary.state, wanted="deleted", needed=needed)
            # It was brought back for a request that was refused, and is about to leave memory again.

    async def prune_instances(
        self,
        page_size: int = 0,
        page_token: str = "",
        states: Sequence[str] = (),
        definition: str = "",
        ended_until: float = 0.0,
        dry_run: bool = False,
        by: str = "",
    ) -> Page[InstanceSummary]:
        """Remove a page of instances that have ended, newest first, and return how they stood; or only return them.

        The page may be empty and not the last. Raises `MalformedRequest`.
        """
        check_actor(by)
        if not 0 <= ended_until < inf:  # NaN neither
            raise MalformedRequest(f"ended_until is {ended_until}; it must be a time in seconds since 1970, or 0")
        page = await self.list_instances(
            page_size, page_token, states=states or [state.value for state in ENDED], definition=definition
        )
        chosen = [
            one
            for one in page.items
            if one.state is not InstanceState.RUNNING and (not ended_until or one.finished_at < ended_until)
        ]
        if dry_run or not chosen:
            return Page(chosen, page.next_token)
        asked = [("states", ", ".join(states)), ("definition", definition), ("ended_until", ended_until)]
        wanted = tuple((name, value) for name, value in asked if value) or (("all", True),)
        command = c.PruneInstances(reason=PruneReason.REQUEST, by=by, asked=wanted)
        gone = await self._keeper.prune([one.id for one in chosen], command)
        ids = {one.id for one in gone}
        return Page([one for one in chosen if one.id in ids], page.next_token)

    async def retry_node(self, instance_id: InstanceId, node_id: NodeId, by: str = "") -> None:
        """Have a node that backs off run as soon as a worker takes it. Raises `UnknownNode` or `UnfitNode`.

        `UnknownInstance` stands for one that no broker knows of.
        """
        check_actor(by)
        keeper = self._keeper
        try:
            await keeper.commit(c.RetryNode(instance_id=instance_id, node_id=node_id, by=by))
        except (UnknownInstance, UnknownNode):  # at least to memory
            stored = await self.find_node(instance_id, node_id)
            needed = "backs off after a failed attempt"
            raise UnfitNode(node_id=node_id, state=stored.state, wanted="tried at once", needed=needed) from None

    async def drain_worker(self, worker_id: WorkerId, by: str = "") -> None:
        """Have a worker take no more nodes, finish what it runs, and end. Raises `UnknownWorker`."""
        check_actor(by)
        await self._keeper.commit(c.DrainWorker(worker_id=worker_id, is_asked=True, by=by))

    async def rerun_node(
        self,
        instance_id: InstanceId,
        node_id: NodeId,
        request_id: RequestId | None = None,
        by: str = "",
        edits: bytes = b"",
        edits_shown: str = "",
    ) -> list[NodeId]:
        """Run a node again, and whatever its value went into, and return all the nodes that begin anew.

        With `edits` it gets other arguments.

        Repeating it by the same id is a no-op with the same answer. Raises `UnknownNode`, and what `retry_instance`
        raises.
        """
        check_actor(by)
        check_edits(edits, edits_shown)
        command = c.RerunNode(
            instance_id=instance_id,
            node_id=node_id,
            request_id=request_id,
            by=by,
            edits=edits,
            edits_shown=edits_shown,
        )
        ids: list[NodeId] = []
        for event in await self._keeper.submit(command):
            if isinstance(event, NodesReset):
                ids += [reset.node.id for reset in event.resets]
            elif isinstance(event, RequestRepeated):
                ids += await self._ids_of(instance_id, event.seqs)
        return ids

    async def _change(self, command: c.CancelInstance | c.ControlInstance, wanted: str) -> None:
        """Commit a command to an instance that runs. Raises `UnknownInstance`, or `InstanceEnded` naming the state."""
        keeper = self._keeper
        try:
            await keeper.commit(command)
        except UnknownInstance:  # at least to memory
            await keeper.flush()  # it may be on its way to the journal
            summary = await keeper.read(keeper.journal.summarize_instance, command.instance_id)
            if summary is None:
                raise await self._unknown(command.instance_id) from None
            raise InstanceEnded(instance_id=command.instance_id, state=summary.state, wanted=wanted) from None

    async def _ids_of(self, instance_id: InstanceId, seqs: Sequence[int]) -> list[NodeId]:
        """Return the ids of nodes by number; they may be many, and have left memory. Raises `UnknownInstance`."""
        keeper = self._keeper
        ids: list[NodeId] = []
        for start in range(0, len(seqs), _LOOKED_UP_MAX):
            wanted = seqs[start : start + _LOOKED_UP_MAX]
            found = await keeper.read(keeper.journal.find_nodes, wanted)
            ids += [found[seq].id for seq in wanted if seq in found]
        if len(ids) < len(seqs):
            await self.get_instance(instance_id)  # raises for one that was pruned meanwhile
        return ids
