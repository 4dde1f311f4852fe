"""What the broker remembers: the interface that every storage implements.

The ordering contract: the host calls `commit` with the durable events of a batch, in the order in which the core gave
them, and releases nothing that depends on them (replies, grants, notifications) before `commit` has returned. When
`commit` raises, the broker stops; it never goes on from memory that the storage lacks.

One thread at a time calls a journal, not always the same one.
"""

from collections.abc import Sequence
from typing import Protocol

from dagorama_broker.core.events import DurableEvent
from dagorama_broker.core.model import InstanceId, NodeId
from dagorama_broker.core.stored import InstanceSummary, Snapshot, StoredInstance, StoredNode


class StorageError(Exception):
    """The storage cannot be used; the message names it, the reason and the way out."""


class Journal(Protocol):
    """Ordered batches on storage."""

    blocking: bool  #: whether its calls may block, so that they belong in a thread of their own
    location: str  #: for people: where the data is

    def open(self) -> Snapshot:
        """Take the storage for this broker alone and give what is live in it.

        Stores the new epoch before it returns. Raises `StorageError` when the storage is taken by another broker,
        cannot be written, is damaged or is newer than this code.
        """
        ...

    def commit(self, events: Sequence[DurableEvent]) -> None:
        """Make a batch durable, all or nothing. After this call, and not before, the batch may be acknowledged."""
        ...

    def find_instance(self, instance_id: InstanceId) -> StoredInstance | None:
        """Give an instance, running or finished, with all its nodes."""
        ...

    def summarize_instance(self, instance_id: InstanceId) -> InstanceSummary | None:
        """Give an instance without its nodes."""
        ...

    def list_instances(self, *, before_seq: int | None, limit: int) -> list[InstanceSummary]:
        """Give up to `limit` instances created before the one with that number, newest first; None: from the newest."""
        ...

    def list_nodes(self, instance_id: InstanceId, *, after_seq: int, limit: int) -> list[StoredNode]:
        """Give up to `limit` nodes of an instance with higher numbers, in creation order; none where it is unknown."""
        ...

    def find_node(self, instance_id: InstanceId, node_id: NodeId) -> StoredNode | None:
        """Give one node."""
        ...

    def find_nodes(self, seqs: Sequence[int]) -> dict[int, StoredNode]:
        """Give these nodes by number; those that do not exist are left out."""
        ...

    def close(self) -> None:
        """Let the storage go. Nothing may be called after this."""
        ...
