"""Uploads and downloads of values in a bucket, part by part: each has one part in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Protocol

from dagorama_broker.values.faults import BadUpload, StoreFull, ValuesError
from dagorama_broker.values.memory import check_complete, check_digest, check_room
from dagorama_broker.values.naming import Part, part_name
from dagorama_broker.values.objects import NoRoom, Objects


class Bucket(Protocol):
    """The store that an upload is for."""

    location: str

    def settle(self, digest: bytes, size: int, data: bytearray) -> None:
        """Write a value that is one object, and let it be found."""

    def settle_parts(self, digest: bytes, size: int, upload: str) -> None:
        """Let a value be found whose parts are there."""

    def drop_upload(self, digest: bytes, upload: str) -> None:
        """Remove the parts of an upload."""

    def forget(self, digest: bytes) -> None:
        """Note that an upload is over."""


class Uploading:
    """An upload under way. What is less than a part waits in memory, and a value that is less is one object."""

    def __init__(self, store: Bucket, objects: Objects, digest: bytes, size: int, part_bytes: int, upload: str) -> None:
        """Begin anew, under a name that no other upload has; `resume` or `copy` goes on with what is there."""
        self._store = store
        self._objects = objects
        self._digest = digest
        self._size = size
        self._part_bytes = part_bytes
        self._upload = upload
        self._written = 0  #: bytes in parts
        self._block = bytearray()  #: the next part, of which so much has come: it is the same for all parts
        self._filled = 0
        self._left: list[str] = []  #: objects that are of no use once the value is there
        self._sum = sha256()
        self._is_over = False

    @property
    def received(self) -> int:
        """Return how many bytes are there."""
        return self._written + self._filled

    def resume(self, chain: Sequence[Part], offset: int) -> None:
        """Go on with an upload that nobody else has, from a byte on: read what is before, and drop what is behind."""
        is_one_object = self._size <= self._part_bytes
        self._upload = chain[0].upload
        dropped = [] if is_one_object else [part.name for part in chain if part.start + part.size > offset]
        self._read(chain, offset, lambda part: part.name)
        self._left = [part.name for part in chain] if is_one_object else []
        self._objects.delete(dropped)

    def copy(self, chain: Sequence[Part], offset: int) -> None:
        """Go on as an upload that somebody may still be at, from a byte on: its parts stay, and are copied."""

        def copied(part: Part) -> str:
            name = part_name(self._digest, self._upload, part.start)
            self._explained(lambda: self._objects.copy(part.name, name))
            return name

        self._read(chain, offset, copied)

    def _read(self, chain: Sequence[Part], offset: int, own: Callable[[Part], str]) -> None:
        """Read the parts before a byte; `own` gives the name of one that is taken as a whole."""
        for part in chain:
            size = min(part.size, offset - part.start)
            if size <= 0:
                break
            is_taken = size == part.size and self._size > self._part_bytes
            data = memoryview(self._objects.get(own(part) if is_taken else part.name) or b"")[:size]
            if len(data) != size:
                raise BadUpload(f"what is there of an upload of value {self._digest.hex()} has changed; begin anew")
            self._sum.update(data)
            if is_taken:
                self._written += len(data)
            else:
                self._fill(data)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        try:
            check_room(self._digest, self._size, self.received + len(chunk))
            self._sum.update(chunk)
            left = memoryview(chunk)
            while left:
                if self._filled >= self._part_bytes:
                    self._flush()
                taken = left[: self._part_bytes - self._filled]
                self._fill(taken)
                left = left[len(taken) :]
        except BaseException:
            self._end()
            raise

    def _fill(self, data: memoryview) -> None:
        """Put bytes behind those of the next part."""
        if not self._block:
            self._block = bytearray(min(self._part_bytes, self._size))
        self._block[self._filled : self._filled + len(data)] = data
        self._filled += len(data)

    def _take_block(self) -> bytearray:
        """Return the next part as it has come. It is not cut: the request before may still have a hand on it."""
        return self._block if self._filled == len(self._block) else self._block[: self._filled]

    def finish(self) -> None:
        """Make the value durable and let it be found."""
        try:
            check_complete(self._digest, self._size, self.received)
        except BadUpload:
            self.close()
            raise
        try:
            check_digest(self._digest, self._sum.digest())
            self._explained(self._settle)
        except BadUpload:
            self._drop()
            raise
        finally:
            self._end()

    def _settle(self) -> None:
        if self._size <= self._part_bytes:
            self._store.settle(self._digest, self._size, self._take_block())
            self._filled = 0
            with suppress(ValuesError):  # they are collected else
                self._objects.delete(self._left)
        else:
            if self._filled:
                self._flush()
            self._store.settle_parts(self._digest, self._size, self._upload)

    def close(self) -> None:
        """Let go of it; what has come is kept."""
        if not self._is_over and self._filled:
            with suppress(ValuesError):
                self._flush()
        self._end()

    def _flush(self) -> None:
        """Write what is in memory as a part."""
        name = part_name(self._digest, self._upload, self._written)
        if name in self._left:  # the same bytes are there, and maybe more
            self._objects.delete([name])
        try:
            self._explained(lambda: self._objects.write(name, self._take_block()))
        except ValuesError:
            self._filled = 0  # it is not tried again: the store has been waited for
            raise
        self._written += self._filled
        self._filled = 0

    def _drop(self) -> None:
        """Remove what has come of it."""
        self._filled = 0
        with suppress(ValuesError):
            self._store.drop_upload(self._digest, self._upload)

    def _explained(self, function: Callable[[], None]) -> None:
        """Call a function that writes; raise `StoreFull` where there is no room for it."""
        try:
            function()
        except NoRoom as error:
            self._drop()
            raise StoreFull(digest=self._digest, size=self._size, location=self._store.location, free=0) from error

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._block, self._filled = bytearray(), 0
            self._store.forget(self._digest)


class Downloading:
    """A value that is being read, the object of one part after the other."""

    def __init__(self, objects: Objects, size: int, parts: Sequence[Part], leave: Callable[[], None]) -> None:
        """Have `leave` called at the end."""
        self.size = size
        self._objects = objects
        self._parts = parts
        self._leave = leave
        self._is_closed = False
        self._start = 0
        self._block = memoryview(b"")  #: the part that was read last, which begins at `_start`

    def read(self, offset: int, size: int) -> bytes:
        """Return some of its bytes; fewer where objects are missing."""
        found: list[memoryview] = []
        end = min(self.size, offset + size)
        while offset < end:
            piece = self._piece(offset, end - offset)
            if not piece:
                break
            found.append(piece)
            offset += len(piece)
        return b"".join(found)

    def _piece(self, offset: int, size: int) -> memoryview:
        if not self._start <= offset < self._start + len(self._block):
            part = next((part for part in self._parts if part.start <= offset < part.start + part.size), None)
            self._block = memoryview((part is not None and self._objects.get(part.name)) or b"")
            self._start = part.start if part is not None else 0
        return self._block[max(0, offset - self._start) :][:size]

    def close(self) -> None:
        """Let go of it."""
        if not self._is_closed:
            self._is_closed = True
            self._block = memoryview(b"")
            with suppress(ValuesError):  # then it is there again, and unused
                self._leave()
