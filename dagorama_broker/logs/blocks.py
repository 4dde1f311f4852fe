"""Define blocks of lines as they come from workers and as they are kept. Nobody here opens their data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import NamedTuple

from dagorama_broker.core.model.values import InstanceId, NodeId

#: Numbers of blocks, and of the blocks of a sender, are below this: SQLite has no larger ones.
NUMBER_MAX = 2**63 - 1

#: Tells whether an instance is running. It is called in the store's thread.
IsRunning = Callable[[InstanceId], bool]


class Part(NamedTuple):
    """Tell of one attempt in a block."""

    node_id: NodeId
    attempt: int
    token: int  #: the fencing token under which it began
    lines: int
    text_bytes: int
    dropped_lines: int  #: by the worker, since the block before
    dropped_bytes: int
    ended: bool  #: no further block has lines of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Hold lines of one instance."""

    instance_id: InstanceId
    sequence: int  #: among the blocks of its sender, from 1
    parts: Sequence[Part]
    data: bytes
    compression: int  #: as on the wire; readers know what it means

    def count(self) -> tuple[int, int]:
        """Return how many lines it has, and how many bytes their texts have."""
        return sum(part.lines for part in self.parts), sum(part.text_bytes for part in self.parts)


class Arrival(NamedTuple):
    """A block, and who has sent it."""

    sender_id: bytes
    worker: str  #: for people
    block: Block


class StoredBlock(NamedTuple):
    """A block that is kept, under the number by which all that is kept is ordered."""

    number: int
    worker: str
    block: Block


class Awaited(NamedTuple):
    """Name an attempt that is over, and of which lines may be on their way, or lost with their worker."""

    instance_id: InstanceId
    node_id: NodeId
    attempt: int
    worker: str  #: for people


class Loss(Enum):
    """Why lines of an instance are missing."""

    FULL = "full"  #: The store was full when they came.
    FAILED = "failed"  #: The store could not be written when they came.
    REMOVED = "removed"  #: They were kept, and have made room for later ones.
    SKIPPED = "skipped"  #: Their sender goes on after them, and the store has never seen them; how many is not known.


class Missing(NamedTuple):
    """Count what is missing of an instance for one reason."""

    loss: Loss
    blocks: int
    lines: int
    text_bytes: int
    first_at: float  #: when it was first found missing, and last, in seconds since the epoch
    last_at: float

    def add(self, other: "Missing") -> "Missing":
        """Return the two together."""
        return Missing(
            self.loss,
            self.blocks + other.blocks,
            self.lines + other.lines,
            self.text_bytes + other.text_bytes,
            min(self.first_at, other.first_at),
            max(self.last_at, other.last_at),
        )


class Chunk(NamedTuple):
    """A part of what is kept of an instance."""

    blocks: Sequence[StoredBlock]
    cursor: int  #: the place after the last of them
    gaps: Sequence[str] = ()  #: what is missing and why, for people
    last: bool = False  #: nothing is after it


_PART = Struct("<16sIQIQQQ?")


def pack(parts: Sequence[Part]) -> bytes:
    """Return parts as bytes."""
    return b"".join([_PART.pack(*part) for part in parts])


def unpack(raw: bytes) -> list[Part]:
    """Return the parts that `pack` was given."""
    return [Part(NodeId(fields[0]), *fields[1:]) for fields in _PART.iter_unpack(raw)]
