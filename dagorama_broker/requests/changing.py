"""Start instances, stop and control them, and let them begin anew. Every answer is durable."""

from collections.abc import Sequence

from dagorama_broker.core import commands as c
from dagorama_broker.core.errors import InstanceEnded, UnknownInstance
from dagorama_broker.core.events import NodesReset, RequestRepeated
from dagorama_broker.core.model.stored import InstanceSummary
from dagorama_broker.core.model.values import InstanceId, NewCall, NodeId, RequestId
from dagorama_broker.requests.answers import QueueInfo
from dagorama_broker.requests.checks import check_control, check_name, check_queue
from dagorama_broker.requests.describing import describe_queues
from dagorama_broker.requests.looking import Looking

#: How instances are run of which nothing is said.
NO_OPTIONS = c.InstanceOptions()

#: So many nodes are looked up at once.
_LOOKED_UP_MAX = 500


class Changing(Looking):
    """Answer the requests that change something."""

    async def submit(
        self,
        instance_id: InstanceId,
        definition: str,
        calls: Sequence[NewCall],
        options: c.InstanceOptions = NO_OPTIONS,
    ) -> None:
        """Make an instance, if it is new, with these options, and nodes in it. Repeating it is a no-op.

        Raises `MalformedRequest`, `ConflictingNode`, `DuplicateCall` or `UnknownDependency`.
        """
        check_name("definition", definition)
        await self._keeper.submit(
            c.SubmitNodes(instance_id=instance_id, definition=definition, calls=calls, options=options)
        )

    async def cancel_instance(self, instance_id: InstanceId) -> None:
        """Stop an instance. Raises `UnknownInstance`, or `InstanceEnded` naming the state."""
        await self._change(c.CancelInstance(instance_id=instance_id), "cancelled")

    async def control_instance(
        self,
        instance_id: InstanceId,
        priority: int | None = None,
        paused: bool | None = None,
        running_max: int | None = None,
    ) -> InstanceSummary:
        """Change how an instance is run, None leaving a thing as it is, and return how it stands then.

        Raises `MalformedRequest`, `UnknownInstance`, or `InstanceEnded` naming the state.
        """
        command = c.ControlInstance(instance_id=instance_id, priority=priority, paused=paused, running_max=running_max)
        check_control(command)
        await self._change(command, command.wanted)
        return await self.get_instance(instance_id)

    async def control_queue(
        self, queue: str, paused: bool | None = None, running_max: int | None = None
    ) -> list[QueueInfo]:
        """Change how a queue is run, which need not be known, and return how it stands then, by taint.

        Raises `MalformedRequest`.
        """
        check_queue(queue)
        await self._keeper.commit(c.ControlQueue(queue=queue, paused=paused, running_max=running_max))
        return [info for info in describe_queues(self._keeper.scheduler.queues, always=queue) if info.queue == queue]

    async def retry_instance(self, instance_id: InstanceId, request_id: RequestId | None = None) -> None:
        """Let a failed instance go on from where it failed. Repeating it by the same id is a no-op.

        Raises `UnknownInstance`, `UnfitInstance`, `NodeInUse` or `ConflictingRequest`.
        """
        await self._keeper.submit(c.RetryInstance(instance_id=instance_id, request_id=request_id))

    async def rerun_node(
        self, instance_id: InstanceId, node_id: NodeId, request_id: RequestId | None = None
    ) -> list[NodeId]:
        """Run a node again, and whatever its value went into, and return all the nodes that begin anew.

        Repeating it by the same id is a no-op with the same answer. Raises `UnknownNode`, and what `retry_instance`
        raises.
        """
        command = c.RerunNode(instance_id=instance_id, node_id=node_id, request_id=request_id)
        ids: list[NodeId] = []
        for event in await self._keeper.submit(command):
            if isinstance(event, NodesReset):
                ids += [reset.node.id for reset in event.resets]
            elif isinstance(event, RequestRepeated):
                ids += await self._ids_of(event.seqs)
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
                raise
            raise InstanceEnded(instance_id=command.instance_id, state=summary.state, wanted=wanted) from None

    async def _ids_of(self, seqs: Sequence[int]) -> list[NodeId]:
        """Return the ids of nodes by number; they may be many, and have left memory."""
        keeper = self._keeper
        ids: list[NodeId] = []
        for start in range(0, len(seqs), _LOOKED_UP_MAX):
            wanted = seqs[start : start + _LOOKED_UP_MAX]
            found = await keeper.read(keeper.journal.find_nodes, wanted)
            ids += [found[seq].id for seq in wanted if seq in found]
        return ids
