"""The interface of a value store. Everything in it may block, so it is called in threads.

A value is complete or absent: `Writing.finish` returns when it will be there after any crash, and before that nobody
finds it. No two uploads of one value are written at a time; whoever calls sees to that.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

#: What reads and writes go by.
CHUNK_BYTES = 2**20


class Stored(NamedTuple):
    """A value in a store."""

    digest: bytes
    size: int
    wanted_at: (
        float  #: when it was put, or somebody has last asked whether it is there, give or take; seconds since 1970
    )


class Place(NamedTuple):
    """Where clients on the same host may read the values, and how they know that they are there."""

    directory: str = ""  #: absolute; empty where there is none
    proof_name: str = ""
    proof_token: str = ""


class Writing(Protocol):
    """An upload under way. After an error of `write` or `finish` it is over."""

    @property
    def received(self) -> int:
        """Return how many bytes are there."""
        ...

    def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises `BadUpload` where they are too many, or `StoreFull`."""
        ...

    def finish(self) -> None:
        """Make the value durable and let it be found. Raises `BadUpload`, `StoreFull` or `StoreUnusable`."""
        ...

    def close(self) -> None:
        """Let go of it; what has come is kept for another upload. A no-op after `finish`."""
        ...


class Reading(Protocol):
    """A value that is being read, also where it is deleted meanwhile."""

    @property
    def size(self) -> int:
        """Return how many bytes it has."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Return up to so many bytes from there on."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class ValueStore(Protocol):
    """Values by their digests."""

    location: str  #: for people
    threads_max: int  #: so many calls do well at once

    def open(self, owner_id: bytes, *, is_used: bool) -> Place:
        """Take the store for one broker alone, by the id of whose values they are.

        `is_used` tells whether its storage refers to any. Raises `StoreUnusable`.
        """
        ...

    def find(self, digests: Sequence[bytes], now: float, refresh_s: float) -> dict[bytes, int]:
        """Return the sizes of those that are there, and note that they are wanted.

        Where that was noted less than `refresh_s` ago it need not be noted again.
        """
        ...

    def received(self, digest: bytes) -> int:
        """Return how much is there of an upload that was broken off."""
        ...

    def begin(self, digest: bytes, size: int, offset: int) -> Writing:
        """Begin an upload, or go on with one from `offset`. Raises `BadOffset`, `StoreFull` or `StoreUnusable`."""
        ...

    def adopt(self, digest: bytes, size: int, file_name: str) -> None:
        """Take over a file that somebody has put into the place for them. Raises `BadUpload` or `StoreUnusable`."""
        ...

    def read(self, digest: bytes) -> Reading:
        """Begin to read a value. Raises `UnknownValue`."""
        ...

    def delete(self, digest: bytes) -> int | None:
        """Remove a value; return how many bytes it had, None where it is not there."""
        ...

    def shards(self) -> Sequence[int]:
        """Return the first bytes of the digests that values have."""
        ...

    def list(self, shard: int) -> list[Stored]:
        """Return the values whose digests begin with this byte."""
        ...

    def clear_incoming(self, before: float, underway: Collection[bytes]) -> int:
        """Remove what is left of uploads that nobody has gone on with since then, but for those under way.

        Return how many bytes that were.
        """
        ...

    def close(self) -> None:
        """Let the store go."""
        ...
