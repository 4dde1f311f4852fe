"""Tell how nodes have ended: from memory, or from the journal where their instance has left memory."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

from dagorama_broker.core.errors import UnknownNode
from dagorama_broker.core.graph.payloads import collect_values
from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.states import TERMINAL, NodeState
from dagorama_broker.core.model.stored import StoredNode
from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.requests.answers import Cause, Outcome
from dagorama_broker.requests.looking import Looking

#: So many nodes of an instance that has left memory are looked up at once, and the values of so many read, if they are
#: no larger than this in all.
_LOOKED_UP_MAX = 500
_READ_MAX = 100
_READ_BYTES_MAX = 1 << 20


def outcome_of(node: Node) -> Outcome:
    """Return the outcome of a node in memory that has ended: its value, or the failure of the root cause."""
    if node.state is NodeState.COMPLETED:
        return Outcome(node.id, node.state, collect_values([node]))
    cause = node.cause or node
    failure = cause.failures[-1].failure if cause.failures else None
    return Outcome(node.id, node.state, cause=Cause(cause.id, cause.function.spec.name, cause.attempts, failure))


class Outcomes(Looking):
    """Answer the requests for outcomes that are there."""

    async def outcome(self, instance_id: InstanceId, node_id: NodeId) -> Outcome:
        """Return how a node has ended. Raises `UnknownInstance`, or `UnknownNode` also for one that has not."""
        node = self.live_node(instance_id, node_id)
        if node is not None and node.state in TERMINAL:
            await self._keeper.flush()
            return outcome_of(node)
        async with aclosing(self.stored_outcomes(instance_id, [node_id])) as outcomes:
            return await anext(outcomes)

    async def has_ended(self, instance_id: InstanceId, node_id: NodeId) -> bool:
        """Tell whether a node has ended. Raises `UnknownInstance` or `UnknownNode`."""
        node: Node | StoredNode | None = self.live_node(instance_id, node_id)
        if node is None:
            node = await self.find_node(instance_id, node_id)
        return node.state in TERMINAL

    async def find_ended(self, instance_id: InstanceId, node_ids: Sequence[NodeId]) -> list[Outcome]:
        """Return those of the nodes that have ended, without values and causes.

        Raises `UnknownInstance` or `UnknownNode`.
        """
        ended: list[Outcome] = []
        elsewhere: list[NodeId] = []
        for node_id in node_ids:
            node = self.live_node(instance_id, node_id)
            if node is None:
                elsewhere.append(node_id)
            elif node.state in TERMINAL:
                ended.append(Outcome(node_id, node.state))
        await self._keeper.flush()
        for start in range(0, len(elsewhere), _LOOKED_UP_MAX):
            wanted = elsewhere[start : start + _LOOKED_UP_MAX]
            found = await self._keeper.read(self._keeper.journal.find_by_id, instance_id, wanted)
            for node_id in wanted:
                stored = found.get(node_id) or await self.find_node(instance_id, node_id)
                if stored.state in TERMINAL:
                    ended.append(Outcome(node_id, stored.state))
        return ended

    async def stored_outcomes(
        self, instance_id: InstanceId, node_ids: Sequence[NodeId]
    ) -> AsyncGenerator[Outcome, None]:
        """Yield the outcomes of nodes whose instance has left memory.

        Raises `UnknownInstance`, or `UnknownNode` also for a node that has not ended.
        """
        for start in range(0, len(node_ids), _LOOKED_UP_MAX):
            wanted = node_ids[start : start + _LOOKED_UP_MAX]
            found = await self._read_ended(instance_id, wanted)
            known: dict[int, StoredNode] = {}
            for place, node_id in enumerate(wanted):
                stored = found[node_id]
                if stored.state is not NodeState.COMPLETED:
                    yield await self._stored_failure(instance_id, stored)
                    continue
                if stored.seq not in known:
                    known = await self._read_values(stored, [found[other] for other in wanted[place:][:_READ_MAX]])
                    await self.get_instance(
                        instance_id
                    )  # of one that was pruned meanwhile, not all may have been there
                values = [(known[seq].id, payload) for seq, payload in _in_order(known[stored.seq], known)]
                yield Outcome(node_id, stored.state, values)

    async def _read_ended(self, instance_id: InstanceId, node_ids: Sequence[NodeId]) -> dict[NodeId, StoredNode]:
        """Return these nodes without their values. Raises `UnknownInstance` or `UnknownNode`."""
        found = await self._keeper.read(self._keeper.journal.find_by_id, instance_id, node_ids)
        for node_id in node_ids:
            if node_id not in found:
                await self.find_node(instance_id, node_id)
            elif found[node_id].state not in TERMINAL:  # it came into being after the watch, which was for nothing then
                raise UnknownNode(instance_id=instance_id, node_id=node_id)
        return found

    async def _read_values(self, first: StoredNode, ahead: list[StoredNode]) -> dict[int, StoredNode]:
        """Return what the value of a node is made of, and of those after it if that is little."""
        seqs, payload_bytes = [first.seq], 0
        for stored in ahead[1:]:
            payload_bytes += stored.payload_bytes
            if stored.state is not NodeState.COMPLETED or stored.promise_seqs or payload_bytes > _READ_BYTES_MAX:
                break
            seqs.append(stored.seq)
        return await self._keeper.read(self._keeper.journal.find_values, seqs)

    async def _stored_failure(self, instance_id: InstanceId, stored: StoredNode) -> Outcome:
        """Return the outcome of a node without a value, with its root cause. Raises what `stored_outcomes` does."""
        cause = await self.find_cause(instance_id, stored)
        if cause is None:
            raise UnknownNode(instance_id=instance_id, node_id=stored.id)
        failure = cause.failures[-1].failure if cause.failures else None
        return Outcome(stored.id, stored.state, cause=Cause(cause.id, cause.function.name, cause.attempts, failure))


def _in_order(root: StoredNode, known: dict[int, StoredNode]) -> Iterable[tuple[int, bytes]]:
    """Return number and payload of each node that the root's value is made of, what others refer to first."""
    payloads: dict[int, bytes] = {}
    stack = [root.seq]
    while stack:
        source = known[stack[-1]]
        while source.payload is None and source.promise_seqs:  # an alias
            source = known[source.source_seq or source.promise_seqs[0]]
        pending = [seq for seq in source.promise_seqs if seq not in payloads]
        if pending:
            stack.extend(reversed(pending))
        else:
            payloads[stack.pop()] = source.payload or b""
    return payloads.items()
