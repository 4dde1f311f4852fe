"""Tell the whole of a large instance at a glance: its graph folded, and the times of its nodes in columns.

Both are read and put together bit by bit, so that others have their turn meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.stored import ShapePart, StoredNode, StoredTimes
from dagorama_broker.core.model.values import InstanceId, measure
from dagorama_broker.requests.answers import NodeTimes, Shape, ShapeEdge, ShapeGroup
from dagorama_broker.requests.describing import state_now
from dagorama_broker.requests.looking import Looking, seq_in

#: So many nodes are looked at before others have their turn: about a millisecond in memory, five to ten on a disk.
_FOLDED_AT_ONCE = 500
_READ_AT_ONCE = 5_000
_TOLD_AT_ONCE = 1_000

#: A page of times has so many nodes, unless fewer are asked for.
_TIMES_MAX = 10_000

#: A group: the name of a function, and that of the nodes that made its nodes; empty for calls from outside.
_Group = tuple[str, str]


class Shaping(Looking):
    """Answer the requests for the shape and the times of an instance."""

    async def get_shape(self, instance_id: InstanceId) -> Shape:
        """Return the graph of an instance, its nodes folded by function and maker's function. Raises `UnknownInstance`.

        Each node is looked at at a moment of its own.
        """
        keeper = self._keeper
        instance = keeper.scheduler.instances.get(instance_id)
        nodes = list(instance.nodes.values()) if instance is not None else []
        folding = _Folding()
        if instance is None or not instance.whole:
            await self._fold_stored(instance_id, [node.seq for node in nodes], folding)
            await self._know_makers(nodes, folding)
            await self.get_instance(instance_id)  # raises for one that does not exist, or no longer
        for start in range(0, len(nodes), _FOLDED_AT_ONCE):
            folding.take_nodes(nodes[start : start + _FOLDED_AT_ONCE])
            await keeper.flush()  # memory may be ahead of the journal
        return folding.shape()

    async def _fold_stored(self, instance_id: InstanceId, without: Sequence[int], folding: _Folding) -> None:
        """Add the nodes that are in the journal alone."""
        keeper = self._keeper
        await keeper.flush()  # it may be on its way to the journal
        after_seq = 0
        while True:
            ask = partial(keeper.journal.fold_nodes, after_seq=after_seq, limit=_READ_AT_ONCE, without=without)
            part = await keeper.read(ask, instance_id)
            folding.take_part(part)
            after_seq = part.seq_last
            if not after_seq:
                return

    async def _know_makers(self, nodes: Sequence[Node], folding: _Folding) -> None:
        """Have the groups known of nodes that are in the journal alone, and that made or gave something to these."""
        here = {node.seq for node in nodes}
        beside = {dependency.seq for node in nodes for dependency in node.dependencies}
        wanted = ({node.parent_seq for node in nodes} | beside) - here - {0}
        found: dict[int, StoredNode] = {}
        for _ in range(2):  # the makers, and theirs
            missing = sorted(wanted - found.keys())
            for start in range(0, len(missing), _READ_AT_ONCE):
                found |= await self._keeper.read(
                    self._keeper.journal.find_nodes, missing[start : start + _READ_AT_ONCE]
                )
            wanted = {stored.parent_seq for stored in found.values() if stored.parent_seq} - here
        names = {seq: stored.function.name for seq, stored in found.items()}
        names |= {node.seq: node.function.spec.name for node in nodes}
        for seq, stored in found.items():
            folding.know(seq, (stored.function.name, names.get(stored.parent_seq, "")))

    async def list_times(self, instance_id: InstanceId, page_size: int = 0, page_token: str = "") -> NodeTimes:
        """Return a page of an instance's nodes in creation order, with the times of each. Raises `UnknownInstance`."""
        size = min(page_size or _TIMES_MAX, _TIMES_MAX)
        after_seq = seq_in(page_token) or 0
        summary = await self.get_instance(instance_id)
        keeper, times = (
            self._keeper,
            NodeTimes(began_at=summary.created_at, revived_at=[pause.revived_at for pause in summary.pauses]),
        )
        while len(times.numbers) < size:
            limit = min(_READ_AT_ONCE, size - len(times.numbers))
            read = partial(keeper.journal.list_times, after_seq=after_seq, limit=limit)
            rows = await keeper.read(read, instance_id)
            for start in range(0, len(rows), _TOLD_AT_ONCE):
                for row in rows[start : start + _TOLD_AT_ONCE]:
                    _tell(times, row, self.live_node(instance_id, row.id))
                await keeper.flush()
            if len(rows) < limit:
                if not rows:
                    await self.get_instance(instance_id)  # raises for one that was pruned meanwhile
                return times
            after_seq = rows[-1].seq
        times.next_page_token = str(after_seq)
        return times


class _Folding:
    """The groups of nodes that have been looked at, and the edges between them."""

    def __init__(self) -> None:
        self.counts: dict[_Group, Counter[NodeState]] = {}
        self._edges: Counter[tuple[_Group, _Group, bool]] = Counter()
        #: The group of each node that others may refer to.
        self._group_of: dict[int, _Group] = {}
        self._groups: dict[_Group, _Group] = {}  #: each once: a hundred thousand nodes hold the same few

    def know(self, seq: int, group: _Group) -> None:
        """Note the group of a node that is counted elsewhere."""
        self._group_of[seq] = self._groups.setdefault(group, group)

    def take_part(self, part: ShapePart) -> None:
        """Count nodes that were folded by the journal."""
        for group, counts in part.counts.items():
            self.counts.setdefault(group, Counter()).update(counts)
        self._edges.update(part.edges)

    def take_nodes(self, nodes: Sequence[Node]) -> None:
        """Count nodes, in creation order, so that all nodes that they refer to are known by then."""
        group_of, groups, counts, edges = self._group_of, self._groups, self.counts, self._edges
        for node in nodes:
            name, maker = node.function.spec.name, group_of.get(node.parent_seq)
            key = (name, maker[0] if maker is not None else "")
            group = group_of[node.seq] = groups.setdefault(key, key)
            of_group = counts.get(group)
            if of_group is None:
                of_group = counts[group] = Counter()
            of_group[node.state] += 1
            if maker is not None:
                edges[maker, group, True] += 1
            for dependency in node.dependencies:
                source = group_of.get(dependency.seq)
                if source is not None:
                    edges[source, group, False] += 1

    def shape(self) -> Shape:
        """Return what has been found, edges without an end left out."""
        places = {group: place for place, group in enumerate(self.counts)}
        return Shape(
            [ShapeGroup(function, maker, counts) for (function, maker), counts in self.counts.items()],
            [
                ShapeEdge(places[source], places[target], is_call, count)
                for (source, target, is_call), count in self._edges.items()
                if source in places and target in places
            ],
        )


def _tell(times: NodeTimes, row: StoredTimes, node: Node | None) -> None:
    """Add a node to the columns, with what only memory knows of it."""
    state = state_now(row.state, node)
    worker, granted_at, started_at, returned_at = "", 0.0, 0.0, 0.0
    if node is not None and node.worker is not None:
        worker, granted_at, started_at = node.worker.name, node.leased_at, node.leased_at
    elif row.run is not None:
        worker, granted_at, returned_at, told_s = row.run
        started_at, _ = measure(granted_at, returned_at, told_s)
    times.node_ids += row.id
    times.numbers.append(row.seq)
    times.function_places.append(times.functions.setdefault(row.function, len(times.functions)))
    times.worker_places.append(times.workers.setdefault(worker, len(times.workers)))
    times.states.append(state)
    times.parents.append(row.parent_seq)
    times.dependency_counts.append(len(row.dependency_seqs))
    times.dependencies += row.dependency_seqs
    times.labels.append(row.label)
    times.created_at.append(row.created_at)
    times.granted_at.append(granted_at)
    times.started_at.append(started_at)
    times.returned_at.append(returned_at)
    times.finished_at.append(row.finished_at)
    for worker, granted_at, ended_at, told_s in row.attempts:
        if granted_at > 0:  # else nothing ran, or a broker before 0.2 has noted it
            times.attempt_numbers.append(row.seq)
            times.attempt_worker_places.append(times.workers.setdefault(worker, len(times.workers)))
            times.attempt_granted_at.append(granted_at)
            times.attempt_started_at.append(measure(granted_at, ended_at, told_s)[0])
            times.attempt_ended_at.append(ended_at)
