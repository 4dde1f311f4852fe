"""Look at instances, nodes, workers and queues, and say why a node is not running. Every answer is durable."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

from dagorama_broker.core.errors import EmptyInstance, UnknownInstance, UnknownNode
from dagorama_broker.core.model.entities import Instance, Node
from dagorama_broker.core.model.keeping import told_by
from dagorama_broker.core.model.selections import InstanceSelection, NodeSelection, Selected, is_end
from dagorama_broker.core.model.states import TERMINAL, InstanceState, NodeState
from dagorama_broker.core.model.stored import InstanceSummary, StoredEnd, StoredNode
from dagorama_broker.core.model.values import AnnouncedDefinition, FunctionSpec, InstanceId, NodeId
from dagorama_broker.core.why import (
    Reason,
    ended,
    explain,
    explain_function,
    explain_stopping,
    ids_in,
    unsure_workers,
    with_labels,
    with_store_waits,
)
from dagorama_broker.requests.answers import (
    ChangeBatch,
    DefinitionInfo,
    EventBatch,
    Explanation,
    FunctionCheck,
    FunctionCount,
    NodeArguments,
    NodeInfo,
    Page,
    QueueInfo,
    WorkerInfo,
)
from dagorama_broker.requests.checks import (
    ARGUMENT_BYTES_LISTED,
    ARGUMENT_BYTES_SHOWN,
    CHANGES_NAMED_MAX,
    MalformedRequest,
    check_ids,
    check_instance_selection,
    check_name,
    check_node_selection,
    to_states,
)
from dagorama_broker.requests.describing import (
    describe_instance,
    describe_node,
    describe_queues,
    describe_worker,
    state_now,
)
from dagorama_broker.requests.feed import Feed
from dagorama_broker.requests.keeper import Keeper
from dagorama_broker.requests.latest import Latest

_PAGE_SIZE = 100
_PAGE_SIZE_MAX = 1000
#: A token is the number of an instance or node, of which no storage has more than 2**63.
_PAGE_TOKEN_DIGITS = 18

#: A page of a selection is made of so many reads at most, each of which looks at so many instances or nodes: that takes
#: some milliseconds, in which nothing is committed.
_STEPS_MAX, _LOOKED_AT_MAX = 4, 5_000
#: So many nodes are counted before others have their turn: half a millisecond in memory, five to ten on a disk.
_COUNTED_AT_ONCE = 1_000
_READ_AT_ONCE = 5_000


class Looking:
    """Answer the requests that change nothing."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self.feed = Feed()
        self.latest = Latest()

    # -- instances ----------------------------------------------------------------------------------------------------

    async def get_instance(self, instance_id: InstanceId) -> InstanceSummary:
        """Return how an instance stands. Raises `UnknownInstance`."""
        live = self._live_summary(instance_id)
        await self._keeper.flush()  # what was seen in memory, or has left it
        if live is not None:
            return live
        summary = await self._keeper.read(self._keeper.journal.summarize_instance, instance_id)
        if summary is None:
            raise await self._unknown(instance_id)
        return summary

    async def _unknown(self, instance_id: InstanceId) -> UnknownInstance:
        """Return the error about an instance that there is not: there never was, or it was pruned."""
        tombstone = await self._keeper.read(self._keeper.journal.find_tombstone, instance_id)
        return UnknownInstance(instance_id=instance_id) if tombstone is None else told_by(tombstone)

    async def check_instance(self, instance_id: InstanceId) -> None:
        """Raise `UnknownInstance` where submitting would make one."""
        keeper = self._keeper
        if instance_id not in keeper.scheduler.instances:
            await keeper.flush()  # it may be on its way to the journal
            if await keeper.read(keeper.journal.summarize_instance, instance_id) is None:
                raise await self._unknown(instance_id)

    async def is_over(self, instance_id: InstanceId) -> bool:
        """Tell whether an instance runs no longer. Raises `UnknownInstance`."""
        instance = self._keeper.scheduler.instances.get(instance_id)
        state = instance.state if instance is not None else (await self.get_instance(instance_id)).state
        return state is not InstanceState.RUNNING

    async def list_instances(
        self,
        page_size: int = 0,
        page_token: str = "",
        states: Sequence[str] = (),
        definition: str = "",
        tags: Mapping[str, str] = MappingProxyType({}),
        key: str = "",
        created_since: float = 0.0,
        created_until: float = 0.0,
    ) -> Page[InstanceSummary]:
        """Return a page of instances, newest first: of all, or of a selection by the other arguments.

        The page may be empty and not the last. Raises `MalformedRequest` for what cannot be asked for.
        """
        size = page_size_of(page_size)
        before_seq = seq_in(page_token)
        selection = InstanceSelection(
            states=to_states(InstanceState, states),
            definition=definition,
            tags=tuple(sorted(tags.items())),
            key=key,
            created_since=created_since,
            created_until=created_until,
        )
        check_instance_selection(selection)
        found = await self._select_instances(selection, before_seq, size)
        summaries = [self._live_summary(summary.id) or summary for summary in found.items]
        await self._keeper.flush()
        # One that has ended since it was read is not counted in the summary.
        summaries = [
            summary
            if summary.counts or summary.state is not InstanceState.RUNNING
            else await self.get_instance(summary.id)
            for summary in summaries
        ]
        if selection.states:  # nothing else of an instance changes
            summaries = [summary for summary in summaries if summary.state in selection.states]
        return Page(summaries, "" if found.next_seq is None else str(found.next_seq))

    async def _select_instances(
        self, selection: InstanceSelection, before_seq: int | None, size: int
    ) -> Selected[InstanceSummary]:
        """Read a page of these instances, in steps between which others may read and write."""
        journal = self._keeper.journal
        if selection == InstanceSelection():
            stored = await self._keeper.read(lambda: journal.list_instances(before_seq=before_seq, limit=size + 1))
            return Selected(stored[:size], stored[size - 1].seq if len(stored) > size else None)
        found: list[InstanceSummary] = []
        for _ in range(_STEPS_MAX):
            limit = size - len(found)
            select = partial(journal.select_instances, selection, before_seq=before_seq, limit=limit)
            step = await self._keeper.read(partial(select, looked_at_max=_LOOKED_AT_MAX))
            found += step.items
            before_seq = step.next_seq
            if before_seq is None or len(found) >= size:
                break
        return Selected(found, before_seq)

    def _live_summary(self, instance_id: InstanceId) -> InstanceSummary | None:
        """Return how an instance stands that is in memory."""
        instance = self._keeper.scheduler.instances.get(instance_id)
        return None if instance is None else describe_instance(instance)

    # -- nodes --------------------------------------------------------------------------------------------------------

    async def get_node(self, instance_id: InstanceId, node_id: NodeId) -> NodeInfo:
        """Return how a node stands. Raises `UnknownInstance` or `UnknownNode`."""
        stored = await self.find_node(instance_id, node_id, values=True)
        value = await self._value_of(stored) if stored.function.shows_inputs else None
        (info,) = await self._describe(instance_id, [stored], ARGUMENT_BYTES_SHOWN, value)
        return info

    async def get_arguments(self, instance_id: InstanceId, node_id: NodeId) -> NodeArguments:
        """Return the arguments of a node. Raises `UnknownInstance` or `UnknownNode`."""
        stored = await self.find_node(instance_id, node_id, values=True)
        if not stored.function.shows_inputs:
            return NodeArguments(b"", 0, "")
        shown = stored.arguments[:ARGUMENT_BYTES_SHOWN]
        return NodeArguments(shown, stored.arguments_bytes, stored.function.parameters)

    async def _value_of(self, stored: StoredNode) -> bytes | None:
        """Return the payload of a node's value, or of that which it is an alias of; None while it has none."""
        if stored.state is not NodeState.COMPLETED:
            return None
        if stored.payload is not None:
            return stored.payload
        journal = self._keeper.journal
        parts = await self._keeper.read(lambda: journal.find_values([stored.seq]))
        seq, seen = stored.seq, set[int]()
        while seq in parts and seq not in seen:
            node = parts[seq]
            if node.payload is not None:
                return node.payload if node.function.shows_inputs else None
            seen.add(seq)
            seq = node.source_seq or next(iter(node.promise_seqs), 0)
        return None

    async def list_nodes(
        self,
        instance_id: InstanceId,
        page_size: int = 0,
        page_token: str = "",
        states: Sequence[str] = (),
        functions: Sequence[str] = (),
        with_inputs: bool = False,
        label: str = "",
    ) -> Page[NodeInfo]:
        """Return a page of an instance's nodes in creation order: of all, or of a selection by the other arguments.

        The page may be empty and not the last. Raises `UnknownInstance` or `MalformedRequest`.
        """
        arguments_max = ARGUMENT_BYTES_LISTED if with_inputs else 0
        size = page_size_of(page_size)
        after_seq = seq_in(page_token) or 0
        journal = self._keeper.journal
        selection = NodeSelection(states=to_states(NodeState, states), functions=tuple(functions), label=label)
        if selection != NodeSelection():
            check_node_selection(selection)
            return await self._select_nodes(instance_id, selection, after_seq, size, arguments_max)
        rows = await self._keeper.read(
            lambda: journal.list_nodes(instance_id, after_seq=after_seq, limit=size + 1, arguments_max=arguments_max)
        )
        if not rows:
            await self.get_instance(instance_id)  # raises for one that does not exist, or no longer
        infos = await self._describe(instance_id, rows[:size], arguments_max)
        return Page(infos, str(rows[size - 1].seq) if len(rows) > size else "")

    async def _select_nodes(
        self, instance_id: InstanceId, selection: NodeSelection, after_seq: int, size: int, arguments_max: int
    ) -> Page[NodeInfo]:
        """Return a page of these nodes, read in steps between which others may read and write."""
        journal = self._keeper.journal
        rows: list[StoredNode] = []
        for _ in range(_STEPS_MAX):
            limit = size - len(rows)
            select = partial(journal.select_nodes, instance_id, selection, after_seq=after_seq, limit=limit)
            step = await self._keeper.read(partial(select, looked_at_max=_LOOKED_AT_MAX, arguments_max=arguments_max))
            rows += [row for row in step.items if self._is_among(row, instance_id, selection)]
            if step.next_seq is None or len(rows) >= size:
                break
            after_seq = step.next_seq
        if not rows:
            await self.get_instance(instance_id)  # raises for one that does not exist, or no longer
        infos = await self._describe(instance_id, rows, arguments_max)
        # Their states may have changed meanwhile.
        found = [info for info in infos if not selection.states or info.state in selection.states]
        return Page(found, "" if step.next_seq is None else str(step.next_seq))

    def _is_among(self, row: StoredNode, instance_id: InstanceId, selection: NodeSelection) -> bool:
        """Return whether a node from the journal is in one of the states, by what memory knows."""
        states = selection.states
        return not states or state_now(row.state, self.live_node(instance_id, row.id)) in states

    async def count_nodes(self, instance_id: InstanceId) -> list[FunctionCount]:
        """Count the nodes of an instance by function and state. Raises `UnknownInstance`.

        They are counted bit by bit, and others go on meanwhile, so that each node is counted at a moment of its own.
        """
        keeper = self._keeper
        instance = keeper.scheduler.instances.get(instance_id)
        counts: dict[str, Counter[NodeState]] = {}
        nodes = list(instance.nodes.values()) if instance is not None else []
        if instance is None or not instance.whole:
            await self._count_stored(instance_id, [node.seq for node in nodes], counts)
            await self.get_instance(instance_id)  # raises for one that does not exist, or no longer
        for start in range(0, len(nodes), _COUNTED_AT_ONCE):
            of_parts = Counter([(node.function, node.state) for node in nodes[start : start + _COUNTED_AT_ONCE]])
            for (function, state), count in of_parts.items():
                counts.setdefault(function.spec.name, Counter())[state] += count
            await keeper.flush()  # memory may be ahead of the journal
        return [FunctionCount(name, of_function) for name, of_function in counts.items()]

    async def _count_stored(
        self, instance_id: InstanceId, without: Sequence[int], counts: dict[str, Counter[NodeState]]
    ) -> None:
        """Add the nodes that are in the journal alone; of an instance in memory these have ended."""
        keeper = self._keeper
        await keeper.flush()  # it may be on its way to the journal
        after_seq = 0
        while True:
            ask = partial(keeper.journal.count_nodes, after_seq=after_seq, limit=_READ_AT_ONCE, without=without)
            found, after_seq = await keeper.read(ask, instance_id)
            for name, of_function in found.items():
                counts.setdefault(name, Counter()).update(of_function)
            if not after_seq:
                return

    async def find_node(self, instance_id: InstanceId, node_id: NodeId, *, values: bool = False) -> StoredNode:
        """Return a node from the journal. Raises `UnknownInstance` or `UnknownNode`."""
        journal = self._keeper.journal
        found = await self._keeper.read(lambda: journal.find_by_id(instance_id, [node_id], values=values))
        stored = found.get(node_id)
        if stored is None:
            if await self._keeper.read(journal.summarize_instance, instance_id) is None:
                raise await self._unknown(instance_id)
            raise UnknownNode(instance_id=instance_id, node_id=node_id)
        return stored

    def live_node(self, instance_id: InstanceId, node_id: NodeId) -> Node | None:
        """Return a node that is in memory; None for others. Its state may not be durable yet."""
        instance = self._keeper.scheduler.instances.get(instance_id)
        return instance.nodes.get(node_id) if instance is not None else None

    async def _describe(
        self, instance_id: InstanceId, rows: Sequence[StoredNode], arguments_max: int = 0, value: bytes | None = None
    ) -> list[NodeInfo]:
        """Return how nodes from the journal stand, with what only memory knows, and the value of a single one."""
        wanted = {seq for row in rows for seq in (*row.dependency_seqs, row.parent_seq, row.cause_seq) if seq}
        seqs = sorted(wanted)
        others: dict[int, StoredEnd] = {}
        for start in range(0, len(seqs), _READ_AT_ONCE):  # others read and commit meanwhile
            part = seqs[start : start + _READ_AT_ONCE]
            others |= await self._keeper.read(self._keeper.journal.find_ends, part)
        pauses = (await self.get_instance(instance_id)).pauses if rows else ()
        infos = [
            describe_node(
                row,
                instance_id,
                others,
                self.live_node(instance_id, row.id),
                pauses=pauses,
                arguments_max=arguments_max,
                value=value,
            )
            for row in rows
        ]
        await self._keeper.flush()  # what memory has told may rest on something that is on its way to the journal
        return infos

    # -- events -------------------------------------------------------------------------------------------------------

    async def watch_events(
        self, after: str = "", instance_id: InstanceId | None = None, wait_s: float = 0.0
    ) -> EventBatch:
        """Return what has happened after a cursor, to an instance or at all, without waiting for it.

        With no cursor, return the cursor of now. Raises `ExpiredCursor`.
        """
        now = self._keeper.now()
        if self.feed.begin(now):
            self._keeper.onlook(self.feed.take)
        return self.feed.read(after, instance_id)

    async def watch_changes(
        self, after: str = "", instance_ids: Sequence[InstanceId] = (), wait_s: float = 0.0
    ) -> ChangeBatch:
        """Return what has changed after a cursor, each instance once, as it stands, without waiting for it.

        Of the nodes those of the named instances are told. With no cursor, return the cursor of now.
        Raises `ExpiredCursor`, or `MalformedRequest` for too many names.
        """
        check_ids(instance_ids, "instance_ids")
        if len(instance_ids) > CHANGES_NAMED_MAX:
            raise MalformedRequest(f"{len(instance_ids)} instance_ids; at most {CHANGES_NAMED_MAX} are watched by node")
        now, instances = self._keeper.now(), self._keeper.scheduler.instances
        if self.latest.begin(instances, now):
            self._keeper.onlook(self.latest.take)
        self.latest.look(instances, now)
        batch = self.latest.read(after, instance_ids, instances, now)
        if batch.instances:
            await self._keeper.flush()  # memory may be ahead of the journal
        return batch

    # -- workers and queues -------------------------------------------------------------------------------------------

    async def list_workers(self) -> list[WorkerInfo]:
        """Return the connected workers, in the order in which they came."""
        scheduler = self._keeper.scheduler
        lanes = scheduler.queues.lanes.values()
        return [describe_worker(worker, lanes) for worker in scheduler.workers.values()]

    async def list_queues(self) -> list[QueueInfo]:
        """Return what is ready and running, by queue and taint."""
        return describe_queues(self._keeper.scheduler.queues)

    async def list_definitions(self, name: str = "") -> list[DefinitionInfo]:
        """Return the definitions that connected workers have told of: all, or any that end in a name."""
        check_name("name", name)
        found: dict[str, AnnouncedDefinition] = {}
        workers: dict[str, list[str]] = {}
        for worker in self._keeper.scheduler.workers.values():
            for definition in worker.definitions:
                if not name or is_end(name, definition.name):
                    found[definition.name] = definition
                    workers.setdefault(definition.name, []).append(worker.name)
        return [DefinitionInfo(found[one], workers[one]) for one in sorted(found)]

    async def check_functions(self, functions: Sequence[FunctionSpec]) -> list[FunctionCheck]:
        """Return for each function what would keep its nodes from every connected worker, in the same order."""
        scheduler = self._keeper.scheduler
        return [
            FunctionCheck(list(explain_function(scheduler, spec)), unsure_workers(scheduler, spec))
            for spec in functions
        ]

    # -- why ----------------------------------------------------------------------------------------------------------

    async def why(self, instance_id: InstanceId, node_id: NodeId | None = None) -> Explanation:
        """Return what holds a node; with no id, the instance's first that has not ended.

        Raises `UnknownInstance`, `UnknownNode` or `EmptyInstance`.
        """
        keeper = self._keeper
        await keeper.flush()
        instance = keeper.scheduler.instances.get(instance_id)
        if node_id is None:
            node_id = await self._first_live(instance_id, instance)
        stored = await self.find_node(instance_id, node_id)
        (info,) = await self._describe(instance_id, [stored])
        node = instance.nodes.get(node_id) if instance else None
        stopping = list(explain_stopping(keeper.scheduler, node_id)) if info.state in TERMINAL else []
        if node is not None:
            reasons = explain(keeper.scheduler, node, keeper.now())
            told = with_store_waits(reasons, node_id, keeper.store_wait, keeper.now())
        else:
            reason = await self._why_ended(instance_id, stored)
            if reason is None:
                return await self.why(instance_id, node_id)
            told = [reason]
        return Explanation(info, [*await self._labelled(instance_id, told), *stopping])

    async def _labelled(self, instance_id: InstanceId, reasons: Sequence[Reason]) -> list[Reason]:
        """Return reasons with the labels of the nodes of the instance that they name."""
        named = list(dict.fromkeys(ids_in(reasons)))
        journal = self._keeper.journal
        found = await self._keeper.read(lambda: journal.find_by_id(instance_id, named)) if named else {}
        return with_labels(reasons, {node_id: one.note.label for node_id, one in found.items() if one.note is not None})

    async def _why_ended(self, instance_id: InstanceId, stored: StoredNode) -> Reason | None:
        """Return the reason of a node whose instance has left memory; None where it has begun anew meanwhile."""
        is_caused = stored.cause_seq not in (0, stored.seq)
        cause = await self.find_cause(instance_id, stored) if is_caused else stored
        if cause is None:
            return None
        failure = cause.failures[-1].failure if cause.failures else None
        return ended(stored.state, cause.id, cause.function.name, cause.attempts, failure)

    async def find_cause(self, instance_id: InstanceId, stored: StoredNode) -> StoredNode | None:
        """Return the root cause of a node without a value, with its failures, from the journal.

        None where it is no more, as the node has begun anew since it was read. Raises `UnknownInstance` for an instance
        that was pruned since.
        """
        if not stored.cause_seq:
            return stored
        journal = self._keeper.journal
        causes = await self._keeper.read(lambda: journal.find_nodes([stored.cause_seq], values=True))
        if stored.cause_seq not in causes:
            await self.get_instance(instance_id)
        return causes.get(stored.cause_seq)

    async def _first_live(self, instance_id: InstanceId, instance: Instance | None) -> NodeId:
        """Return the node of an instance that it makes most sense to ask about."""
        for node in instance.nodes.values() if instance else ():
            if node.state not in TERMINAL:
                return node.id
        for worker in self._keeper.scheduler.workers.values():
            for node in worker.stopping.values():
                if node.instance.id == instance_id:
                    return node.id
        journal = self._keeper.journal
        rows = await self._keeper.read(lambda: journal.list_nodes(instance_id, after_seq=0, limit=1))
        if not rows:
            await self.get_instance(instance_id)  # raises for one that does not exist
            raise EmptyInstance(instance_id=instance_id)
        return rows[0].id


def page_size_of(asked: int) -> int:
    """Return how many items a page is to have."""
    return min(asked or _PAGE_SIZE, _PAGE_SIZE_MAX)


def seq_in(token: str) -> int | None:
    """Return the number that the token of a page names; None for the first page. Raises `MalformedRequest`."""
    if not token:
        return None
    if not (token.isascii() and token.isdigit() and len(token) <= _PAGE_TOKEN_DIGITS):
        raise MalformedRequest(f"page_token {token!r} is none that this broker gave")
    return int(token)
