"""Which nodes a worker process runs, in memory that its parent shares: there it can be read when the process has died.

The process can't say it then, and the broker only knows what it held, of which most had not been started.
"""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.context import BaseContext
from uuid import UUID

from dagorama.worker.held import Held

#: A place is a node's id, whose first byte is 0 where no node runs, the length of its function's name, and the name.
#: After all places a byte tells whether any node has ended.
ID_BYTES = 16
PLACE_BYTES = 256
NAME_BYTES_MAX = PLACE_BYTES - ID_BYTES - 1


class Board:
    """What the nodes that run are, a place for each slot. Made by the parent, and written by one process."""

    def __init__(self, places: int, context: BaseContext) -> None:
        """Travels only as an argument of a process that is started with `context`."""
        self._places = places
        array = context.RawArray("B", places * PLACE_BYTES + 1)
        self._array: Sequence[int] = array
        self._memory = memoryview(array).cast("B")
        self._free = list(range(places))
        self._names = [""] * places

    def __reduce__(self) -> tuple[object, ...]:
        """Leaves the views behind: they are made anew over the same memory."""
        return _board_over, (self._places, self._array)

    def begins(self, held: Held) -> None:
        """Notes a node. It may have been noted before, when it was on its way to the event loop."""
        if held.place >= 0 or not self._free:
            return
        held.place = place = self._free.pop()
        at = place * PLACE_BYTES
        name = held.function.name
        if name != self._names[place]:
            self._names[place] = name
            written = name.encode()[:NAME_BYTES_MAX]
            self._memory[at + ID_BYTES] = len(written)
            self._memory[at + ID_BYTES + 1 : at + ID_BYTES + 1 + len(written)] = written
        self._memory[at : at + ID_BYTES] = held.node_id

    def ends(self, held: Held) -> None:
        """Takes a node off."""
        if held.place >= 0:
            self._memory[held.place * PLACE_BYTES] = 0
            self._free.append(held.place)
            held.place = -1
            self._memory[-1] = 1

    @property
    def has_ended_some(self) -> bool:
        """Whether any node has ended, however it did, but for those with which the process died."""
        return self._memory[-1] != 0

    def running(self) -> list[str]:
        """Names the nodes that are on it, as "node ID (function)"."""
        nodes = []
        for at in range(0, self._places * PLACE_BYTES, PLACE_BYTES):
            if self._memory[at]:
                node_id = UUID(bytes=bytes(self._memory[at : at + ID_BYTES]))
                end = at + ID_BYTES + 1 + self._memory[at + ID_BYTES]
                name = bytes(self._memory[at + ID_BYTES + 1 : end]).decode(errors="ignore")
                nodes.append(f"node {node_id} ({name})")
        return nodes


def _board_over(places: int, array: Sequence[int]) -> Board:
    board = Board.__new__(Board)
    board._places, board._array = places, array
    board._memory = memoryview(array).cast("B")  # type: ignore[arg-type]
    board._free, board._names = list(range(places)), [""] * places
    return board
