"""The output of a job, which its processes write to files, and followers read, each piece once."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dagorama.workflows.executors.port import Output

#: So much of a stream is read at once.
READ_BYTES = 256 * 1024
#: What was told takes no more room on the disk than about so much: it is given back as a hole in the file.
TOLD_BYTES_MAX = 2**20
_FILES = {1: "out", 2: "err"}
#: Flags of fallocate(2).
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
#: Holes begin and end at blocks of the file system; what is left of others is nulls, which nobody reads again.
_BLOCK_BYTES = 64 * 1024


class ProcessLogs:
    """The output of a job, from where the last follower has left off, even where that was killed."""

    def __init__(self, folder: Path, *, frees: bool = False) -> None:
        """Begin where `told` says. With `frees` the room of what was told is given back to the disk."""
        self._folder = folder
        self._files: dict[int, int] = {}
        self._frees = frees
        self._told = os.open(folder / "told", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        numbers = [int(word) for word in os.read(self._told, 100).split()] or [0, 0]
        self.offsets = {1: numbers[0], 2: numbers[1]}
        self._freed = {1: 0, 2: 0}

    def read(self) -> Sequence[Output]:
        """Return what has come since the last call, without waiting; empty for nothing."""
        pieces = [Output(stream=stream, data=data) for stream in _FILES if (data := self._more(stream))]
        if pieces:
            # First, so that a piece is told once at most; in one write of a fixed length, so that it is never half.
            os.pwrite(self._told, f"{self.offsets[1]:020} {self.offsets[2]:020}".encode(), 0)
        for piece in pieces if self._frees else ():
            self._free(piece.stream)
        return pieces

    def _more(self, stream: int) -> bytes:
        if stream not in self._files:
            flags = os.O_RDWR if self._frees else os.O_RDONLY
            try:
                self._files[stream] = os.open(self._folder / _FILES[stream], flags | os.O_CLOEXEC)
            except FileNotFoundError:  # the job has not begun
                return b""
        data = os.pread(self._files[stream], READ_BYTES, self.offsets[stream])
        self.offsets[stream] += len(data)
        return data

    def _free(self, stream: int) -> None:
        """Give back the room of what was told, once that is much."""
        end = self.offsets[stream] // _BLOCK_BYTES * _BLOCK_BYTES
        if end - self._freed[stream] >= TOLD_BYTES_MAX:
            self._frees = _punch(self._files[stream], end)
            self._freed[stream] = end

    def has_more(self) -> bool:
        """Return whether `read` would give anything."""
        for stream, name in _FILES.items():
            try:
                if (self._folder / name).stat().st_size > self.offsets[stream]:
                    return True
            except FileNotFoundError:
                continue
        return False

    def close(self) -> None:
        """Close the files."""
        for descriptor in (self._told, *self._files.values()):
            os.close(descriptor)
        self._files.clear()


def _punch(descriptor: int, end: int) -> bool:
    """Make a hole at the beginning of a file, which keeps its size; return whether that can be done here."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    punch = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    if punch is None:
        return False
    punch.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    done: int = punch(descriptor, _KEEP_SIZE | _PUNCH_HOLE, 0, end)
    return done == 0
