"""The journal: the interface that every storage implements.

The ordering contract: the host calls `commit` with the durable events of a batch, in the order in which the core gave
them, and releases nothing that depends on them (replies, grants, notifications) before `commit` has returned. When
`commit` raises, the broker stops; it never goes on from memory that the storage lacks.

One thread at a time calls a journal, not always the same one.

Clients make the ids of instances and nodes: UUIDs of version 7 (RFC 9562), which begin with the time. So ids that are
made together stand together, and an index of them mostly appends (decision 0006). No order is taken from them, since
clocks differ: rows are numbered by the core.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from dagorama_broker.core.events import DurableEvent
from dagorama_broker.core.model.selections import InstanceSelection, NodeSelection, Selected
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.stored import (
    EndedInstance,
    InstanceSummary,
    NodeCounts,
    ShapePart,
    Snapshot,
    StoredAction,
    StoredEnd,
    StoredInstance,
    StoredNode,
    StoredTimes,
    Tombstone,
    Usage,
    ValueUse,
)
from dagorama_broker.core.model.values import InstanceId, KnownStart, NodeId


class StorageError(Exception):
    """The storage cannot be used; the message names it, the reason and the way out."""


class Journal(Protocol):
    """Ordered batches on storage."""

    blocking: bool  #: whether its calls may block, so that they belong in a thread of their own
    location: str  #: for people: where the data is
    sync_s: float  #: how long the last commit took to reach the disk, of all its time; 0 where nothing is synced
    owner_id: bytes  #: of 16 bytes: whose the values are that its payloads refer to; known once it is open

    def open(self) -> Snapshot:
        """Take the storage for this broker alone and return all that is live in it.

        Stores the new epoch before it returns. Raises `StorageError` when the storage is taken by another broker,
        cannot be written, is damaged or is newer than this code.
        """
        ...

    def commit(self, events: Sequence[DurableEvent]) -> None:
        """Make a batch durable, all or nothing. After this call, and not before, the batch may be acknowledged."""
        ...

    # Where nodes are read without `values`, their arguments, results and exceptions are left out, and the constructor
    # arguments of their functions: they may be of any size.

    def find_instance(self, instance_id: InstanceId) -> StoredInstance | None:
        """Return an instance, running or finished, with all its nodes and their values."""
        ...

    def find_head(self, instance_id: InstanceId) -> StoredInstance | None:
        """Return an instance as `find_instance` does, but with no nodes, for callers that read these bit by bit."""
        ...

    def find_start(self, key: str) -> KnownStart | None:
        """Return what was started under a key, and its instance, running or finished."""
        ...

    def summarize_instance(self, instance_id: InstanceId) -> InstanceSummary | None:
        """Return an instance without its nodes, which are counted."""
        ...

    def list_instances(self, *, before_seq: int | None, limit: int) -> list[InstanceSummary]:
        """Give up to `limit` instances created before the one with that number, newest first; None: from the newest.

        The nodes of running instances may not be counted.
        """
        ...

    def list_nodes(
        self, instance_id: InstanceId, *, after_seq: int, limit: int, values: bool = False, arguments_max: int = 0
    ) -> list[StoredNode]:
        """Return up to `limit` nodes of an instance with higher numbers, in creation order; none of an unknown one.

        Without `values` they have up to `arguments_max` bytes of their arguments.
        """
        ...

    # Of the selections below, a call looks at up to `looked_at_max` instances or nodes, so that it takes no longer
    # however few of many are wanted.

    def select_instances(
        self, selection: InstanceSelection, *, before_seq: int | None, limit: int, looked_at_max: int
    ) -> Selected[InstanceSummary]:
        """Return up to `limit` of these instances, as `list_instances` does. The state is that of the last commit."""
        ...

    def select_nodes(
        self,
        instance_id: InstanceId,
        selection: NodeSelection,
        *,
        after_seq: int,
        limit: int,
        looked_at_max: int,
        arguments_max: int = 0,
    ) -> Selected[StoredNode]:
        """Return up to `limit` nodes of an instance that may be among these, as `list_nodes` does, without values.

        States are as storage knows them: see `NodeSelection.stored_states`.
        """
        ...

    def count_nodes(
        self, instance_id: InstanceId, *, after_seq: int, limit: int, without: Sequence[int] = ()
    ) -> NodeCounts:
        """Count up to `limit` nodes of an instance with higher numbers, in creation order, without some of them.

        States are those of `StoredNode`.
        """
        ...

    def fold_nodes(
        self, instance_id: InstanceId, *, after_seq: int, limit: int, without: Sequence[int] = ()
    ) -> ShapePart:
        """Do as `count_nodes` by function and maker's function, and count the edges that lead to these nodes."""
        ...

    def list_times(self, instance_id: InstanceId, *, after_seq: int, limit: int) -> list[StoredTimes]:
        """Return the times of up to `limit` nodes of an instance with higher numbers, in creation order."""
        ...

    def find_by_id(
        self, instance_id: InstanceId, node_ids: Sequence[NodeId], *, values: bool = False
    ) -> dict[NodeId, StoredNode]:
        """Return these nodes of an instance by id, without any that do not exist."""
        ...

    def find_nodes(self, seqs: Sequence[int], *, values: bool = False) -> dict[int, StoredNode]:
        """Return these nodes by number, without any that do not exist."""
        ...

    def find_ends(self, seqs: Sequence[int]) -> dict[int, StoredEnd]:
        """Return the ids of these nodes by number, and how they have ended, without any that do not exist.

        That is a small part of them: a node may depend on a hundred thousand.
        """
        ...

    def find_values(self, seqs: Sequence[int]) -> dict[int, StoredNode]:
        """Return these nodes by number and all that their values are made of, with values.

        For an alias that is the node that its value comes from; the nodes on the way need not be returned.
        """
        ...

    def list_actions(self, instance_id: InstanceId, *, after_seq: int, limit: int) -> list[StoredAction]:
        """Return up to `limit` actions on an instance with higher numbers, in their order; none of an unknown one."""
        ...

    def list_all_actions(self, subject: str, *, before_seq: int | None, limit: int) -> list[StoredAction]:
        """Return up to `limit` actions before that number, newest first: on a subject, or, where it is empty, on all.

        None: from the newest.
        """
        ...

    def find_used(self, digests: Sequence[bytes]) -> set[bytes]:
        """Return the values, among these, that payloads refer to."""
        ...

    def list_uses(self, *, after: ValueUse | None, limit: int) -> list[ValueUse]:
        """Return up to `limit` uses of values after that one, in order; None: from the first."""
        ...

    def find_held(self, instance_seq: int, digests: Sequence[bytes]) -> set[bytes]:
        """Return the values, among these, that payloads of an instance refer to."""
        ...

    # Of retention. Lived time is that of `core.model.keeping`.

    def find_due(self, cutoffs: Mapping[InstanceState, float], *, lived_s: float, limit: int) -> list[EndedInstance]:
        """Return up to `limit` instances that are not to be kept any longer.

        Instances that have an option of their own are kept until the lived time that it gives; others are due where
        they had ended by the lived time in `cutoffs`.
        """
        ...

    def find_oldest(self, limit: int) -> list[EndedInstance]:
        """Return up to `limit` of the instances that ended first, but for any to be kept for ever."""
        ...

    def find_ended(self, instance_ids: Sequence[InstanceId]) -> list[EndedInstance]:
        """Return those of some instances that have ended, in any order."""
        ...

    def find_tombstone(self, instance_id: InstanceId) -> Tombstone | None:
        """Return the tombstone of an instance that was pruned."""
        ...

    def find_tombstone_of_key(self, key: str) -> Tombstone | None:
        """Return the tombstone of the last instance that was started under a key and was pruned."""
        ...

    def list_sweeps(self, limit: int) -> list[tuple[int, InstanceId]]:
        """Return up to `limit` instances, by number and id, that were pruned and have something left to be removed."""
        ...

    def sweep(self, instance_seqs: Sequence[int], *, rows_max: int) -> bool:
        """Remove up to so many rows of instances that `list_sweeps` has given; return whether all of them are gone.

        Nothing waits for that to be on the disk: after a crash an instance with rows is still listed.
        """
        ...

    def forget_tombstones(self, *, pruned_until: float, limit: int) -> int:
        """Remove up to `limit` tombstones of instances that were pruned by some lived time; return how many."""
        ...

    def tidy(self, *, rows_max: int) -> bool:
        """Remove up to so many rows that no instance needs any more; return whether that is through for now."""
        ...

    def measure(self) -> Usage:
        """Return the room that the storage takes on a disk, without values in the value store; 0 where it has none."""
        ...

    def measure_values(self, *, after: bytes, limit: int) -> tuple[int, bytes]:
        """Return the bytes of up to `limit` values that are used, and the last digest of these; empty for none.

        They come in the order of their digests.
        """
        ...

    def measure_freed(self, instance_seqs: Sequence[int]) -> int:
        """Return the bytes of the values that only these instances use, which were pruned and are not swept yet."""
        ...

    def give_back(self, bytes_max: int) -> int:
        """Give up to so many bytes back to the file system; return how many are still free.

        They may be back only after a call with 0.
        """
        ...

    def close(self) -> None:
        """Let the storage go. Nothing may be called after this."""
        ...
