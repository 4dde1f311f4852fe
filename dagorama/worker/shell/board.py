"""The nodes that a worker process runs, in memory that its parent shares and can read when the process has died.

The process can't name them then, and the broker only knows what it held, of which most had not been started.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.context import BaseContext
from struct import Struct
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:  # the parent reads what is written there, and holds no node
    from dagorama.worker.shell.held import Held

#: A place is a node's id, whose first byte is 0 where no node runs, the length of its function's name, and the name.
#: After all places stand when the alarm rings, or 0, the status that the worker itself ends its process with, or 0, and
#: whether any node has ended.
ID_BYTES = 16
PLACE_BYTES = 256
_write_id = Struct(f"{ID_BYTES}s").pack_into
_ALARM = Struct("d")
_TAIL_BYTES = _ALARM.size + 2
NAME_BYTES_MAX = PLACE_BYTES - ID_BYTES - 1


class Board:
    """The nodes that run, with a place for each slot. The parent makes it, and one process writes it."""

    def __init__(self, places: int, context: BaseContext) -> None:
        """Make one for a process that is started with `context`. It travels only as an argument of that."""
        self._open(places, context.RawArray("B", places * PLACE_BYTES + _TAIL_BYTES))

    def _open(self, places: int, array: Any) -> None:
        self._places = places
        self._array: Sequence[int] = array
        self._memory = memoryview(array).cast("B")
        #: Where the places begin that no node has.
        self._free = list(range(0, places * PLACE_BYTES, PLACE_BYTES))
        #: By place, the name that is written there.
        self._names = dict.fromkeys(self._free, "")
        self._has_told = False  #: that some node has ended

    def __reduce__(self) -> tuple[object, ...]:
        """Leave the views behind: they are made anew over the same memory."""
        return _board_over, (self._places, self._array)

    def begins(self, held: Held) -> None:
        """Note a node that has no place yet; it gets none where an abandoned one still has it."""
        with suppress(IndexError):
            self._write(held, self._free.pop())

    def follows(self, held: Held, ended: Held) -> None:
        """Note a node in the place of one that has ended."""
        at = ended.place
        if at < 0:
            self.begins(held)
            return
        ended.place = -1
        self._tell_of_end()
        self._write(held, at)

    def _write(self, held: Held, at: int) -> None:
        held.place = at
        name = held.function.name
        if name != self._names[at]:
            self._names[at] = name
            self._memory[at] = 0  # for the moment it is no node
            written = name.encode()[:NAME_BYTES_MAX]
            self._memory[at + ID_BYTES] = len(written)
            self._memory[at + ID_BYTES + 1 : at + ID_BYTES + 1 + len(written)] = written
        _write_id(self._memory, at, held.node_id)

    def ends(self, held: Held) -> None:
        """Take a node off."""
        at = held.place
        if at >= 0:
            self._memory[at] = 0
            self._free.append(at)
            held.place = -1
            self._tell_of_end()

    def _tell_of_end(self) -> None:
        if not self._has_told:
            self._memory[-1] = 1
            self._has_told = True

    @property
    def has_ended_some(self) -> bool:
        """Return whether any node has ended, except with the process."""
        return self._memory[-1] != 0

    def rings_at(self, at: float) -> None:
        """Note when the kernel ends the process by SIGALRM, by the clock of `monotonic`; 0 for never."""
        _ALARM.pack_into(self._memory, self._places * PLACE_BYTES, at)

    def leaves(self, exit_status: int) -> None:
        """Note that the worker itself ends its process with this status."""
        self._memory[-2] = exit_status

    def is_meant(self, exitcode: int | None) -> bool:
        """Return whether the worker has ended its process so, by its own exit or by the alarm; a node may do it, too.

        Call it when the process has ended: the alarm counts once it is time.
        """
        if exitcode == -signal.SIGALRM:
            at: float = _ALARM.unpack_from(self._memory, self._places * PLACE_BYTES)[0]
            return 0 < at <= monotonic()
        return exitcode is not None and 0 < exitcode == self._memory[-2]

    def running(self) -> list[str]:
        """Return the nodes that are on it, as "node ID (function)"."""
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
    board._open(places, array)
    return board
