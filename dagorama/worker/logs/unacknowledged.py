"""The blocks of lines that are on their way to the broker, or lost with a stream: they are kept until it has them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from dagorama.v1.logs_pb2 import LogBlock
from dagorama.worker.logs.intake import EVENT_BYTES

#: So much may wait to be acknowledged.
UNACKNOWLEDGED_BYTES_MAX = 16 * 2**20
#: A request has no more than so many bytes of blocks, and blocks.
REQUEST_BYTES = 2**20
REQUEST_BLOCKS = 500


class Unacknowledged:
    """Blocks in the order of their numbers. The caller holds the sender's lock."""

    def __init__(self) -> None:
        """Begin without any."""
        self._blocks: deque[tuple[LogBlock, int]] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self._blocks)

    def __iter__(self) -> Iterator[LogBlock]:
        """Yield them."""
        return (block for block, _ in self._blocks)

    @property
    def is_full(self) -> bool:
        """Return whether no more may be sent before some are acknowledged."""
        return self._bytes >= UNACKNOWLEDGED_BYTES_MAX

    def add(self, blocks: Iterable[LogBlock]) -> None:
        """Keep blocks that are about to be sent."""
        for block in blocks:
            size = len(block.data) + EVENT_BYTES * (1 + len(block.parts))
            self._blocks.append((block, size))
            self._bytes += size

    def acknowledged(self, number: int) -> None:
        """Forget the blocks up to this number, which the broker has."""
        while self._blocks and self._blocks[0][0].sequence <= number:
            self._bytes -= self._blocks.popleft()[1]

    def clear(self) -> None:
        """Forget all."""
        self._blocks.clear()
        self._bytes = 0


def by_request(blocks: Iterable[LogBlock]) -> Iterator[list[LogBlock]]:
    """Yield blocks as they go into requests."""
    taken: list[LogBlock] = []
    size = 0
    for block in blocks:
        more = len(block.data) + EVENT_BYTES * len(block.parts)
        if taken and (size + more > REQUEST_BYTES or len(taken) >= REQUEST_BLOCKS):
            yield taken
            taken, size = [], 0
        taken.append(block)
        size += more
    if taken:
        yield taken
