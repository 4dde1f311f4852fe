"""The bytes of a file as a value: large ones go to the value store, and are mapped from there and not copied."""

from __future__ import annotations

import os
from mmap import ACCESS_READ, mmap
from pickle import PickleBuffer
from typing import Any, BinaryIO

#: Written at a time.
_STEP_BYTES = 4 * 2**20


class FileData:
    """The bytes of a file, which cannot be changed. `bytes(data)` copies them, `len(data)` counts them."""

    __slots__ = ("_buffer",)

    def __init__(self, buffer: Any) -> None:
        """Take bytes, or anything that gives a view of some that nobody changes."""
        self._buffer = buffer if isinstance(buffer, bytes) else memoryview(buffer).toreadonly()

    @classmethod
    def of_file(cls, opened: BinaryIO) -> FileData:
        """Map a file that nobody changes or shortens any more."""
        size = os.fstat(opened.fileno()).st_size
        return cls(mmap(opened.fileno(), size, access=ACCESS_READ) if size else b"")

    def write_to(self, opened: BinaryIO) -> None:
        """Write all bytes to a file."""
        with memoryview(self._buffer) as view:
            for place in range(0, len(view), _STEP_BYTES):
                opened.write(view[place : place + _STEP_BYTES])

    def __bytes__(self) -> bytes:
        """Return a copy."""
        return bytes(self._buffer)

    def __len__(self) -> int:
        """Return how many bytes there are."""
        return len(self._buffer)

    def __eq__(self, other: object) -> bool:
        """Compare the bytes."""
        return isinstance(other, FileData) and bool(self._buffer == other._buffer)

    def __hash__(self) -> int:
        """Return a number that equal data share."""
        return hash(len(self._buffer))

    def __repr__(self) -> str:
        """Tell the size."""
        return f"FileData({len(self._buffer)} bytes)"

    def __reduce_ex__(self, protocol: Any) -> tuple[object, ...]:
        """Give the bytes as a buffer, which large values leave a payload by."""
        return FileData, (PickleBuffer(self._buffer) if protocol >= 5 else bytes(self._buffer),)
