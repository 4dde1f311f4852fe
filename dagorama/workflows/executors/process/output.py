"""The output of a job, which its processes write to files, and followers read, each piece once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dagorama.workflows.executors.port import Output

#: So much of a stream is read at once.
READ_BYTES = 256 * 1024
_FILES = {1: "out", 2: "err"}


class ProcessLogs:
    """The output of a job, from where the last follower has left off, even where that was killed."""

    def __init__(self, folder: Path) -> None:
        """Begin where `told` says."""
        self._folder = folder
        self._files: dict[int, int] = {}
        self._told = os.open(folder / "told", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        numbers = [int(word) for word in os.read(self._told, 100).split()] or [0, 0]
        self.offsets = {1: numbers[0], 2: numbers[1]}

    def read(self) -> Sequence[Output]:
        """Return what has come since the last call, without waiting; empty for nothing."""
        pieces = [Output(stream=stream, data=data) for stream in _FILES if (data := self._more(stream))]
        if pieces:
            # First, so that a piece is told once at most; in one write of a fixed length, so that it is never half.
            os.pwrite(self._told, f"{self.offsets[1]:020} {self.offsets[2]:020}".encode(), 0)
        return pieces

    def _more(self, stream: int) -> bytes:
        if stream not in self._files:
            try:
                self._files[stream] = os.open(self._folder / _FILES[stream], os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # the job has not begun
                return b""
        data = os.pread(self._files[stream], READ_BYTES, self.offsets[stream])
        self.offsets[stream] += len(data)
        return data

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
