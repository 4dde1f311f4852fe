"""Values on their way from one store to another, each checked by its digest as it comes."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeVar

from dagorama_broker.values.faults import BadUpload
from dagorama_broker.values.store import CHUNK_BYTES, ValueStore

T = TypeVar("T")

#: Where values are that are no files: a scheme and a place.
_ELSEWHERE = "://"


#: So many values are on their way at once, as each waits for the broker and for the disk; and so many are next.
_AT_ONCE, _BATCH = 8, 1_000

#: Gives a value, by digest and size, in chunks. Raises `NotThere`.
ReadValue = Callable[[bytes, int], Iterator[bytes]]


class Kept(NamedTuple):
    """What has become of values."""

    values: int
    values_bytes: int
    problems: tuple[str, ...]


class NotThere(Exception):
    """A value is not where it should be, or is damaged; the message says so."""


def are_elsewhere(location: str) -> bool:
    """Tell whether values are in an object store, which outlives the machine that has the database."""
    return _ELSEWHERE in location


def read_only(database: Path) -> sqlite3.Connection:
    """Open a database that nobody writes, without leaving anything beside it."""
    return sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)


def used_values(database: Path) -> dict[bytes, int]:
    """Return the values that a database refers to, each with its size."""
    with closing(read_only(database)) as connection:
        return used_in(connection)


def used_in(connection: sqlite3.Connection) -> dict[bytes, int]:
    """Return the values that an open database of any schema refers to, each with its size."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "value_uses" not in tables:
        return {}  # from before large values
    # Rows of pruned instances are removed later than the values that they refer to.
    among = "instance NOT IN (SELECT instance FROM sweeps)" if "sweeps" in tables else "TRUE"
    return dict(connection.execute(f"SELECT digest, max(size) FROM value_uses WHERE {among} GROUP BY digest"))


def keep_values(store: ValueStore, wanted: Mapping[bytes, int], read: ReadValue, now: float) -> Kept:
    """Put all of some values into an open store that lacks them, and tell which could not be had.

    Those that are there, from an earlier time that was broken off, are read, and put again where they are damaged.
    Raises `ValuesError` where the store cannot take them. `read` is called in several threads.
    """

    def keep(value: tuple[bytes, int]) -> str:
        digest, size = value
        try:
            found = store.find([digest], now, math.inf).get(digest)
            is_whole = found is not None and _is_whole(store, digest)
            if found != size or not is_whole:
                _put(store, digest, size, read(digest, size))
        except (NotThere, BadUpload) as error:
            return str(error)
        return ""

    problems: list[str] = []
    size_all = 0
    values = list(wanted.items())
    for start in range(0, len(values), _BATCH):
        batch = values[start : start + _BATCH]
        for (_, size), problem in zip(batch, _each(keep, batch), strict=True):
            if problem:
                problems.append(problem)
            else:
                size_all += size
    return Kept(len(values) - len(problems), size_all, tuple(problems))


def _each(function: Callable[[T], str], many: Sequence[T]) -> list[str]:
    """Call a function with each of many, several at once. The first error calls off the calls that have not begun."""
    if len(many) <= _AT_ONCE:
        return [function(one) for one in many]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="values") as threads:
        try:
            return list(threads.map(function, many))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def remove_others(store: ValueStore, wanted: Mapping[bytes, int]) -> None:
    """Remove the values that are not wanted, from a backup that was broken off and gone on with."""
    for shard in store.shards():
        for one in store.list(shard):
            if one.digest not in wanted:
                store.delete(one.digest)


def _is_whole(store: ValueStore, digest: bytes) -> bool:
    """Tell whether the bytes of a value that is there are its own; it is removed else."""
    found = sha256()
    with closing(store.read(digest)) as reading:
        for at in range(0, reading.size, CHUNK_BYTES):
            found.update(reading.read(at, CHUNK_BYTES))
    if found.digest() == digest:
        return True
    store.delete(digest)
    return False


def _put(store: ValueStore, digest: bytes, size: int, chunks: Iterable[bytes]) -> None:
    writing = store.begin(digest, size, 0)
    try:
        for chunk in chunks:
            writing.write(chunk)
        writing.finish()
    finally:
        writing.close()
