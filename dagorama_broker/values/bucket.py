"""Values as objects in a bucket of an object store; `naming` says under which names.

Only the broker that has taken the place writes there. Nothing that others might be writing is ever written over, or
gone on with: whatever a broker that was killed, or that another one has superseded, still has on its way comes under
names that no other broker uses.
"""

import secrets
import time
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock

from dagorama_broker.values.claiming import claim, read_owner
from dagorama_broker.values.faults import BadOffset, BadUpload, StoreAway, StoreUnusable, UnknownValue
from dagorama_broker.values.naming import (
    PARTS,
    VALUES,
    Entry,
    Part,
    by_upload,
    chain_of,
    entries_in,
    entry_name,
    folder_of,
    parts_in,
    shard_of,
)
from dagorama_broker.values.objects import Objects
from dagorama_broker.values.readers import Readers
from dagorama_broker.values.store import Place, Stored
from dagorama_broker.values.uploading import Downloading, Uploading
from dagorama_broker.values.wanted import Wanted

#: Larger values are kept in parts of so many bytes. An upload and a download have one of them in memory.
PART_BYTES = 4 * 2**20

#: So many questions are asked at once where many values are looked for.
_QUESTIONS_MAX = 16

#: It is looked so often at most whether the place is still ours before values are found or put; each time before any is
#: deleted.
_OURS_S = 10.0

#: The name of an upload begins with so many bytes for the start of the broker, which no other start has.
_START_BYTES, _UPLOAD_BYTES = 4, 4


class BucketStore:
    """A store in a bucket."""

    threads_max = 16

    def __init__(self, url: str, *, part_bytes: int = PART_BYTES) -> None:
        """Name the place by its URL. Raises `StoreUnusable` where it is none, or without obstore."""
        self.location = url
        self._objects = Objects(url)
        self._part_bytes = part_bytes
        self._wanted = Wanted()
        self._readers = Readers(self._remove)
        self._lock = Lock()
        self._uploads: Counter[bytes] = Counter()  #: those that are under way
        self._owner = b""
        self._start = secrets.token_hex(_START_BYTES)
        self._ours_at = 0.0  #: when it was last seen, by the monotonic clock
        self._asking: ThreadPoolExecutor | None = None

    def open(self, owner_id: bytes, *, is_used: bool) -> Place:
        """Take the place for one broker; no client can read there."""
        self._owner = claim(self._objects, owner_id, VALUES, is_used=is_used)
        self._ours_at = time.monotonic()
        # It is not known who has asked for what is there, and when: all of it may have been wanted just now.
        self._wanted = Wanted(time.time())
        self._asking = ThreadPoolExecutor(_QUESTIONS_MAX, thread_name_prefix="objects")
        return Place()

    def find(self, digests: Sequence[bytes], now: float, refresh_s: float) -> dict[bytes, int]:
        """Return the sizes of those that are there."""
        assert self._asking is not None, "the store is not open"
        self._check_ours(seen_s=_OURS_S)
        asked = [self._entry(digest) for digest in digests] if len(digests) == 1 else []
        found = {}
        for digest, entry in zip(digests, asked or self._asking.map(self._entry, digests), strict=True):
            if entry is not None:
                found[digest] = entry.size
                self._wanted.note(digest, now)
        return found

    def received(self, digest: bytes) -> int:
        """Return how much is there of an upload, the one that came furthest."""
        chain = self._longest(digest)
        if not chain or self._entry(digest) is not None:
            return 0
        return chain[-1].start + chain[-1].size

    def begin(self, digest: bytes, size: int, offset: int) -> Uploading:
        """Begin an upload, or go on with one."""
        self._check_ours(seen_s=_OURS_S)
        chain = self._longest(digest) if offset else []
        there = chain[-1].start + chain[-1].size if chain else 0
        if offset > there:
            raise BadOffset(digest=digest, offset=offset, received=there)
        with self._lock:
            is_alone = digest not in self._uploads
            self._uploads[digest] += 1
        try:
            upload = f"{self._start}{secrets.token_hex(_UPLOAD_BYTES)}"
            writing = Uploading(self, self._objects, digest, size, self._part_bytes, upload)
            if chain and is_alone and self._is_left(digest, chain[0].upload):
                writing.resume(chain, offset)
            elif chain:
                writing.copy(chain, offset)
        except BaseException:
            self.forget(digest)
            raise
        return writing

    def adopt(self, digest: bytes, size: int, file_name: str) -> None:
        """Refuse: no client can put a file in here."""
        raise BadUpload("the broker keeps its values in an object store, so it can adopt no file; put the value")

    def read(self, digest: bytes) -> Downloading:
        """Begin to read a value."""
        if not self._readers.enter(digest):
            raise UnknownValue(digest=digest)
        leave = partial(self._readers.leave, digest)
        try:
            entry = self._entry(digest)
            if entry is None:
                raise UnknownValue(digest=digest)
            if entry.upload:
                parts = chain_of(self._parts(digest, entry.upload))
            else:
                parts = [Part(entry.name, digest, "", 0, entry.size, 0.0)]
        except BaseException:
            leave()
            raise
        return Downloading(self._objects, entry.size, parts, leave)

    def delete(self, digest: bytes) -> int | None:
        """Remove a value, once nobody reads it."""
        entry = self._entry(digest)
        if entry is None:
            return None
        self._readers.delete(digest)
        return entry.size

    def shards(self) -> Sequence[int]:
        """Return the first bytes of the digests that values have."""
        return self._shards(VALUES)

    def list(self, shard: int) -> list[Stored]:
        """Return the values whose digests begin with this byte."""
        entries = {entry.digest: entry for entry in entries_in(self._objects.names(shard_of(VALUES, shard)))}
        return [
            Stored(digest, entry.size, self._wanted.at(digest))
            for digest, entry in entries.items()
            if not self._readers.is_hidden(digest)
        ]

    def clear_incoming(self, before: float, underway: Collection[bytes]) -> int:
        """Remove the parts of uploads that nobody has gone on with, and of values that are no more."""
        self._check_ours(seen_s=_OURS_S)
        return sum(self._clear_shard(shard, before, {*underway}) for shard in self._shards(PARTS))

    def _clear_shard(self, shard: int, before: float, underway: set[bytes]) -> int:
        uploads = by_upload(parts_in(self._objects.names(shard_of(PARTS, shard))))
        old = {key for key, parts in uploads.items() if max(part.written_at for part in parts) < before}
        if not old:
            return 0
        # Their values are looked for after their parts: one that was finished in between is seen.
        whole = {(entry.digest, entry.upload) for entry in entries_in(self._objects.names(shard_of(VALUES, shard)))}
        freed = 0
        self._check_ours()
        for key in old - whole:
            digest = key[0]
            if digest not in underway and not self._is_busy(digest):
                self._objects.delete(part.name for part in uploads[key])
                freed += sum(part.size for part in uploads[key])
        return freed

    def close(self) -> None:
        """Let the place go. It stays that of its database."""
        if self._asking is not None:
            self._asking.shutdown()

    # -- for uploads --------------------------------------------------------------------------------------------------

    def settle(self, digest: bytes, size: int, data: bytearray) -> None:
        """Write a value that is one object, and let it be found."""
        self._check_ours(seen_s=_OURS_S)
        self._readers.spare(
            digest
        )  # an object that was deleted under this name is compared, and replaced if it differs
        self._objects.write(entry_name(digest, size), data)
        self._wanted.note(digest, time.time())

    def settle_parts(self, digest: bytes, size: int, upload: str) -> None:
        """Let a value be found whose parts are there."""
        self._check_ours(seen_s=_OURS_S)
        chain = chain_of(self._parts(digest, upload))
        there = chain[-1].start + chain[-1].size if chain else 0
        if there != size:
            raise StoreUnusable(
                self.location, f"{size} bytes of value {digest.hex()} were written, and {there} can be found again"
            )
        was_deleted = self._readers.spare(digest)
        name = entry_name(digest, size, upload)
        others = [entry.name for entry in self._entries(digest) if entry.name != name] if was_deleted else []
        self._objects.write(name, f"{len(chain)} objects in {folder_of(PARTS, digest)}/{upload}\n".encode())
        self._objects.delete(others)
        self._wanted.note(digest, time.time())

    def drop_upload(self, digest: bytes, upload: str) -> None:
        """Remove the parts of an upload."""
        self._objects.delete(part.name for part in self._parts(digest, upload))

    def forget(self, digest: bytes) -> None:
        """Note that an upload is over."""
        with self._lock:
            self._uploads[digest] -= 1
            if not self._uploads[digest]:
                del self._uploads[digest]

    # -- objects ------------------------------------------------------------------------------------------------------

    def _is_busy(self, digest: bytes) -> bool:
        with self._lock:
            is_written = digest in self._uploads
        return is_written or self._readers.is_read(digest)

    def _shards(self, kind: str) -> Sequence[int]:
        names = [name.rpartition("/")[2] for name in self._objects.folders(kind)]
        return sorted(int(name, 16) for name in names if len(name) == 2 and not set(name) - set("0123456789abcdef"))

    def _entry(self, digest: bytes) -> Entry | None:
        """Return a value that is there and not deleted."""
        entries = self._entries(digest)
        return entries[0] if entries and not self._readers.is_hidden(digest) else None

    def _entries(self, digest: bytes) -> Sequence[Entry]:
        return entries_in(self._objects.names(folder_of(VALUES, digest)))

    def _parts(self, digest: bytes, upload: str) -> Sequence[Part]:
        return parts_in(self._objects.names(f"{folder_of(PARTS, digest)}/{upload}"))

    def _longest(self, digest: bytes) -> Sequence[Part]:
        """Return the parts of the upload of a value that came furthest."""
        uploads = by_upload(parts_in(self._objects.names(folder_of(PARTS, digest))))
        chains = [chain_of(parts) for parts in uploads.values()]
        return max(chains, key=lambda chain: chain[-1].start + chain[-1].size if chain else 0, default=[])

    def _remove(self, digest: bytes) -> None:
        """Remove the objects of a value: first those by which it is there."""
        self._check_ours()
        entries = self._entries(digest)
        self._objects.delete(entry.name for entry in entries)
        for entry in entries:
            if entry.upload:
                self.drop_upload(digest, entry.upload)
        self._wanted.forget(digest)

    def _is_left(self, digest: bytes, upload: str) -> bool:
        """Tell whether an upload was begun by this broker since its start, and never ended: then nobody else has it."""
        return upload.startswith(self._start) and all(entry.upload != upload for entry in self._entries(digest))

    def _check_ours(self, *, seen_s: float = 0.0) -> None:
        """Raise `StoreAway` where another broker has taken the place: each would remove what the other uses.

        It need not be looked where that was done so many seconds ago.
        """
        now = time.monotonic()
        if now - self._ours_at < seen_s:
            return
        if read_owner(self._objects) != self._owner:
            raise StoreAway(
                location=self.location,
                problem="another broker has taken it while this one ran. Stop one of the two, and start again the one "
                "that is to have it",
                is_refusal=True,
            )
        self._ours_at = now
