"""Auditing a journal: the uses of values, and their bytes, as it has written them, and as its payloads have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dagorama_broker.core.model.references import SIZE_END
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.stored import InstanceSummary, ValueUse
from dagorama_broker.storage.journal import Journal
from dagorama_broker.storage.uses import uses_of_hooks, uses_of_node

#: So many rows are read at once.
_AT_ONCE = 1_000


class HeldFault(NamedTuple):
    """A number of bytes that is written of an instance which has ended, and that its uses do not come to."""

    instance_seq: int
    written_bytes: int
    counted_bytes: int

    def __str__(self) -> str:
        return (
            f"of the large values of instance {self.instance_seq}, {self.written_bytes} bytes are written, and they "
            f"come to {self.counted_bytes}"
        )


class UseFault(NamedTuple):
    """A use that is written and that no payload has, or the reverse."""

    use: ValueUse
    is_written: bool

    def __str__(self) -> str:
        instance, node, part, digest, _ = self.use
        told = "is written, and the payload does not refer to it" if self.is_written else "is not written"
        return f"the use of value {digest.hex()} by the {part} of node {node} of instance {instance} {told}"


def audit_uses(journal: Journal) -> Iterator[UseFault | HeldFault]:
    """Yield each use of a value, and each sum of their bytes, that is not written as the payloads have it.

    One instance at a time is in memory.
    """
    known = set()
    for instance in _instances(journal):
        known.add(instance.seq)
        counted, written = _counted(journal, instance), set(_written(journal, instance.seq))
        yield from (UseFault(use, is_written=use in written) for use in sorted(counted ^ written))
        held_bytes = min(sum({use.digest: use.size for use in counted}.values()), SIZE_END - 1)
        if instance.held_bytes != held_bytes and instance.state is not InstanceState.RUNNING:
            yield HeldFault(instance.seq, instance.held_bytes, held_bytes)
    for use in list_all_uses(journal):
        if use.instance_seq not in known:
            yield UseFault(use, is_written=True)


def list_all_uses(journal: Journal) -> Iterator[ValueUse]:
    """Yield the uses that are written, in order."""
    after: ValueUse | None = None
    while uses := journal.list_uses(after=after, limit=_AT_ONCE):
        yield from uses
        after = uses[-1]


def _instances(journal: Journal) -> Iterator[InstanceSummary]:
    before: int | None = None
    while some := journal.list_instances(before_seq=before, limit=_AT_ONCE):
        yield from some
        before = some[-1].seq


def _counted(journal: Journal, instance: InstanceSummary) -> set[ValueUse]:
    head = journal.find_head(instance.id)
    assert head is not None, "an instance that is listed is there"
    uses = set(uses_of_hooks(head.seq, head.hooks))
    after = 0
    while nodes := journal.list_nodes(instance.id, after_seq=after, limit=_AT_ONCE, values=True):
        for node in nodes:
            uses.update(uses_of_node(head.seq, node))
        after = nodes[-1].seq
    return uses


def _written(journal: Journal, instance_seq: int) -> Iterator[ValueUse]:
    after = ValueUse(instance_seq, -1, "", b"", 0)
    while uses := journal.list_uses(after=after, limit=_AT_ONCE):
        for use in uses:
            if use.instance_seq != instance_seq:
                return
            yield use
        after = uses[-1]
