"""Values in memory, for brokers that keep nothing when they stop."""

import time
from collections.abc import Collection, Sequence
from hashlib import sha256

from dagorama_broker.values.faults import BadOffset, BadUpload, UnknownValue
from dagorama_broker.values.store import Place, Stored


class MemoryStore:
    """A store without a disk."""

    location = "memory"
    threads_max = 4

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._wanted_at: dict[bytes, float] = {}
        self._incoming: dict[bytes, tuple[bytearray, float]] = {}  #: each with when its upload was broken off

    def open(self, owner_id: bytes, *, is_used: bool) -> Place:
        """Return no place that others could read."""
        return Place()

    def find(self, digests: Sequence[bytes], now: float, refresh_s: float) -> dict[bytes, int]:
        """Return the sizes of those that are there."""
        found = {digest: len(self._values[digest]) for digest in digests if digest in self._values}
        self._wanted_at.update(dict.fromkeys(found, now))
        return found

    def received(self, digest: bytes) -> int:
        """Return how much is there of an upload."""
        return len(self._incoming[digest][0]) if digest in self._incoming else 0

    def begin(self, digest: bytes, size: int, offset: int) -> "_Writing":
        """Begin an upload, or go on with one."""
        data, _ = self._incoming.pop(digest, (bytearray(), 0.0))
        if offset > len(data):
            self._incoming[digest] = data, time.time()
            raise BadOffset(digest=digest, offset=offset, received=len(data))
        del data[offset:]
        return _Writing(self, digest, size, data)

    def adopt(self, digest: bytes, size: int, file_name: str) -> None:
        """Refuse: nobody can put a file in here."""
        raise BadUpload("the broker keeps its values in memory, so it can adopt no file; put the value")

    def read(self, digest: bytes) -> "_Reading":
        """Begin to read a value."""
        if digest not in self._values:
            raise UnknownValue(digest=digest)
        return _Reading(self._values[digest])

    def delete(self, digest: bytes) -> int | None:
        """Remove a value."""
        self._wanted_at.pop(digest, None)
        value = self._values.pop(digest, None)
        return None if value is None else len(value)

    def shards(self) -> Sequence[int]:
        """Return the first bytes of the digests that values have."""
        return sorted({digest[0] for digest in list(self._values)})

    def list(self, shard: int) -> list[Stored]:
        """Return the values whose digests begin with this byte."""
        values = list(self._values.items())  # at once: others put and delete meanwhile
        return [
            Stored(digest, len(value), self._wanted_at.get(digest, 0.0))
            for digest, value in values
            if digest[0] == shard
        ]

    def clear_incoming(self, before: float, underway: Collection[bytes]) -> int:
        """Remove what is left of uploads."""
        left = [digest for digest, (_, at) in list(self._incoming.items()) if at < before]
        return sum(len(self._incoming.pop(digest)[0]) for digest in left)

    def close(self) -> None:
        """Do nothing: there is nothing to let go."""

    def keep(self, digest: bytes, value: bytes) -> None:
        """Keep a value that is whole."""
        self._values[digest] = value
        self._wanted_at[digest] = time.time()

    def put_aside(self, digest: bytes, data: bytearray) -> None:
        """Keep what has come of a value."""
        if data:
            self._incoming[digest] = data, time.time()


class _Writing:
    """An upload under way."""

    def __init__(self, store: MemoryStore, digest: bytes, size: int, data: bytearray) -> None:
        self._store = store
        self._digest = digest
        self._size = size
        self._data = data
        self._is_over = False

    @property
    def received(self) -> int:
        """Return how many bytes are there."""
        return len(self._data)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        check_room(self._digest, self._size, self.received + len(chunk))
        self._data += chunk

    def finish(self) -> None:
        """Let the value be found."""
        check_complete(self._digest, self._size, self.received)
        self._is_over = True
        check_digest(self._digest, sha256(self._data).digest())
        self._store.keep(self._digest, bytes(self._data))

    def close(self) -> None:
        """Put aside what has come."""
        if not self._is_over:
            self._is_over = True
            self._store.put_aside(self._digest, self._data)


class _Reading:
    """A value that is being read."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self.size = len(value)

    def read(self, offset: int, size: int) -> bytes:
        """Return some of its bytes."""
        return self._value[offset : offset + size]

    def close(self) -> None:
        """Do nothing."""


def check_room(digest: bytes, size: int, received: int) -> None:
    """Raise `BadUpload` where more has come than was announced."""
    if received > size:
        raise BadUpload(f"value {digest.hex()} is to have {size} bytes, and {received} have come")


def check_complete(digest: bytes, size: int, received: int) -> None:
    """Raise `BadUpload` where less has come than was announced."""
    if received < size:
        raise BadUpload(
            f"value {digest.hex()} is to have {size} bytes, and the upload has ended after {received}; go on from there"
        )


def check_digest(digest: bytes, found: bytes) -> None:
    """Raise `BadUpload` where other bytes have come than were announced."""
    if found != digest:
        raise BadUpload(
            f"value {digest.hex()} was announced, and the bytes that came have the digest {found.hex()}; they are not "
            "kept"
        )
