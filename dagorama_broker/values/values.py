"""The value store on an event loop: files are used in threads, and only so many values are on their way at once.

A value that somebody has asked for is kept for a while, so that there is time to commit what refers to it. The
collector (`collecting`) goes by the times that are noted here: on the loop, where nothing comes between a look at them
and a deletion that begins.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from hashlib import sha256
from threading import Lock
from typing import TypeVar

from dagorama_broker.values.faults import (
    BadUpload,
    DamagedValue,
    StoreAway,
    UnknownValue,
    UploadIdle,
    ValuesError,
    ValueTooLarge,
)
from dagorama_broker.values.seen import Seen
from dagorama_broker.values.store import CHUNK_BYTES, Place, Reading, ValueStore, Writing
from dagorama_broker.values.waiting import Waiting

T = TypeVar("T")
Opened = TypeVar("Opened", Reading, Writing)

#: A value may have so many bytes, unless the broker is told otherwise.
VALUE_BYTES_MAX = 64 * 2**30

#: A value that nobody uses and nobody has asked for is kept for so long.
UNUSED_S = 3600.0

#: One that somebody has asked for is kept for so long at least, whatever is set: its use is being committed.
_SEEN_MIN_S = 60.0

#: So many values come at once, and go: each has a chunk or two in memory. The others wait.
UPLOADS_MAX, DOWNLOADS_MAX = 16, 64

#: An upload of which nothing comes for so long is broken off.
IDLE_S = 60.0

#: Gives the next bytes of an upload, None at its end.
ReadChunk = Callable[[], Awaitable[bytes | None]]


class Values:
    """Put, get and find values. Used from one event loop."""

    def __init__(
        self,
        store: ValueStore,
        *,
        size_max: int = VALUE_BYTES_MAX,
        unused_s: float = UNUSED_S,
        idle_s: float = IDLE_S,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        executor: Executor | None = None,
    ) -> None:
        """Have `executor` do whatever uses the disk; the default is a few threads.

        `now` is the time of files. It may be set, so `clock` has the time that matters while the broker runs.
        """
        self.store = store
        self.size_max = size_max
        self.unused_s = unused_s
        self.place = Place()
        self._idle_s = idle_s
        self.now = now
        self._clock = clock
        self._threads = executor or ThreadPoolExecutor(store.threads_max, thread_name_prefix="values")
        #: Reports wait for a look, which is not to wait for gigabytes that are synced.
        self._looks = executor or ThreadPoolExecutor(max(1, store.threads_max // 4), thread_name_prefix="values-look")
        self._uploading = asyncio.Semaphore(UPLOADS_MAX)
        self._downloading = asyncio.Semaphore(DOWNLOADS_MAX)
        self._seen = Seen()
        self.waiting = Waiting(now, clock)
        self._looking: Counter[bytes] = Counter()  #: those that are being looked for
        self._writing: dict[bytes, asyncio.Future[None]] = {}  #: those that are being put, until they no longer are
        self._dying: dict[bytes, asyncio.Future[None]] = {}  #: the same for those that are being deleted
        self._holds = 0  #: who wants all that is used to stay
        self.uploads = 0
        self.downloads = 0
        self.put_bytes = 0  #: that have come, since the start
        self.got_bytes = 0  #: that have gone
        self.stored_bytes = 0  #: of all values that are there, once they have been counted
        self.stored_count = 0
        self.stored_ever = 0  #: that have been put, since the start

    @property
    def refresh_s(self) -> float:
        """Return for how long it is good enough to have noted that a value is wanted."""
        return self.unused_s / 4

    async def open(self, owner_id: bytes, *, is_used: bool) -> None:
        """Take the store. Raises `StoreUnusable`."""
        self.place = await self.run(lambda: self.store.open(owner_id, is_used=is_used))

    async def close(self) -> None:
        """Let the store go, when nothing is on its way any more."""
        await self.run(self.store.close)
        self._threads.shutdown()
        self._looks.shutdown()

    # -- what is there ------------------------------------------------------------------------------------------------

    async def sizes(self, digests: Iterable[bytes]) -> dict[bytes, int]:
        """Return the sizes of those, of some values, that are there. They are kept for a while. Raises `StoreAway`."""
        sizes, unseen = self._seen_of(digests)
        return sizes | await self._find(unseen)

    async def whole(self, wanted: Mapping[bytes, int]) -> dict[bytes, int]:
        """Do as `sizes`, for values of which somebody says what sizes they have; see `_without_damaged`."""
        return await self._without_damaged(await self.sizes(wanted), wanted)

    async def whole_now(self, wanted: Mapping[bytes, int]) -> dict[bytes, int]:
        """Do as `whole`; of values that the store cannot tell of now, return none."""
        sizes, unseen = self._seen_of(wanted)
        with suppress(StoreAway):
            sizes |= await self._find(unseen)
        return await self._without_damaged(sizes, wanted)

    async def _without_damaged(self, sizes: dict[bytes, int], wanted: Mapping[bytes, int]) -> dict[bytes, int]:
        """Remove those that have another size than is said because they were cut short, so that they are put again.

        Their bytes tell whether that is so, or whoever says it is wrong.
        """
        for digest in [digest for digest, size in sizes.items() if size != wanted.get(digest, size)]:
            del sizes[digest]
            with suppress(ValuesError):  # it cannot be read now, so nobody is blamed for what is said of it
                await self._remove(digest)
                sizes |= await self._find([digest])
        return sizes

    def _seen_of(self, digests: Iterable[bytes]) -> tuple[dict[bytes, int], list[bytes]]:
        """Return the sizes of those, of some values, that were seen to be there a short time ago, and the others."""
        now = self._clock()
        sizes: dict[bytes, int] = {}
        unseen: list[bytes] = []
        for digest in digests:
            seen = self._seen.get(digest)
            if seen is not None and now - seen[1] < self.refresh_s and digest not in self._dying:
                sizes[digest] = seen[0]
            else:
                unseen.append(digest)
        return sizes, unseen

    async def missing(
        self, digests: Sequence[bytes], said: Mapping[bytes, int] | None = None
    ) -> list[tuple[bytes, int]]:
        """Return those, of some values, that are not there, with how much is there of a broken upload of each.

        `said` has the sizes that they are said to have; see `_without_damaged`.
        """
        found = await self._find(digests)
        if said:
            found = await self._without_damaged(found, said)
        missing = [digest for digest in dict.fromkeys(digests) if digest not in found]
        received = await self.run(lambda: [self.store.received(digest) for digest in missing]) if missing else []
        return list(zip(missing, received, strict=True))

    async def _find(self, digests: Sequence[bytes]) -> dict[bytes, int]:
        """Do as `_look`, for those that are to be durable: a file may be found a moment before it is."""
        found = await self._look(digests)
        while settling := {self._writing[digest] for digest in found if digest in self._writing}:
            await asyncio.wait(settling)
            found = await self._look(digests)
        return found

    async def _look(self, digests: Sequence[bytes]) -> dict[bytes, int]:
        """Return the sizes of those that are there, which are not deleted from now on."""
        if not digests:
            return {}
        while dying := {self._dying[digest] for digest in digests if digest in self._dying}:
            await asyncio.wait(dying)
        self._looking.update(digests)  # nothing was awaited since they were seen not to be dying
        try:
            at = self._clock()
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._looks, self.store.find, digests, self.now(), self.refresh_s)
            for digest in digests:
                self._seen.forget(digest)
            for digest, size in found.items():
                if digest not in self._writing:
                    self._seen.note(digest, size, at)
            return found
        finally:
            self._looking.subtract(digests)
            self._looking += Counter()  # without those that are at 0

    # -- uploads ------------------------------------------------------------------------------------------------------

    async def put(self, digest: bytes, size: int, offset: int, read: ReadChunk) -> None:
        """Take a value, from `offset` on, unless it is there. Return when it is durable.

        Uploads of one value come one after the other: the later ones find it. One that is there and was cut short is
        taken anew, from its beginning. Raises `ValuesError`.
        """
        if size > self.size_max:
            raise ValueTooLarge(digest=digest, size=size, size_max=self.size_max)
        while True:
            async with self._claimed(digest) as stored:
                if stored == size:
                    return
                if stored is None:
                    async with self._uploading:
                        self.uploads += 1
                        try:
                            await self._take(digest, size, offset, read)
                        finally:
                            self.uploads -= 1
                    break
            await self._remove_cut(digest, size)
        self._note_put(digest, size)

    async def adopt(self, digest: bytes, size: int, file_name: str) -> None:
        """Take a file over that a client on this host has written. Raises `ValuesError`."""
        if size > self.size_max:
            raise ValueTooLarge(digest=digest, size=size, size_max=self.size_max)
        while True:
            async with self._claimed(digest) as stored:
                if stored is None or stored == size:
                    await self.run(self.store.adopt, digest, size, file_name)
                    break
            await self._remove_cut(digest, size)
        if stored is None:
            self._note_put(digest, size)

    async def _remove_cut(self, digest: bytes, size: int) -> None:
        """Remove a value that is there with another size than it has; raise `BadUpload` where its bytes are right."""
        await self._remove(digest)
        found = (await self._find([digest])).get(digest, size)
        if found != size:
            raise BadUpload(f"value {digest.hex()} is there with {found} bytes, and was announced with {size}")

    def _note_put(self, digest: bytes, size: int) -> None:
        self.stored_bytes += size
        self.stored_count += 1
        self.stored_ever += 1
        self._seen.note(digest, size, self._clock())

    @asynccontextmanager
    async def _claimed(self, digest: bytes) -> AsyncIterator[int | None]:
        """Put a value alone; give the size with which it is there by now."""
        while digest in self._writing:
            await asyncio.wait({self._writing[digest]})
        done = self._writing[digest] = asyncio.get_running_loop().create_future()
        try:
            try:
                found = await self._look([digest])
            except StoreAway:  # where a file that is there is broken, another is put over it; else that says the same
                found = {}
            if found:
                self._seen.note(digest, found[digest], self._clock())
            yield found.get(digest)
        finally:
            del self._writing[digest]
            done.set_result(None)

    async def _take(self, digest: bytes, size: int, offset: int, read: ReadChunk) -> None:
        writing = _Guarded(await self._open(self.store.begin, digest, size, offset))
        try:
            while True:
                try:
                    async with asyncio.timeout(self._idle_s):
                        chunk = await read()
                except TimeoutError:
                    raise UploadIdle(digest=digest, idle_s=self._idle_s) from None
                if chunk is None:
                    break
                self.put_bytes += len(chunk)
                await self.run(writing.write, chunk)
            await self.run(writing.finish)
        finally:
            # Also where the call was given up: a thread may still be writing, and nobody else begins before that ends.
            await asyncio.shield(self.run(writing.close))

    # -- downloads ----------------------------------------------------------------------------------------------------

    async def get(self, digest: bytes, offset: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield a value from `offset` on, in chunks, each with the size of the whole; at least one, maybe empty.

        All of it is checked on the way, so nothing that has come is to be used before the end. Raises `UnknownValue`,
        or `DamagedValue` at the end.
        """
        async with self._downloading:
            self.downloads += 1
            try:
                reading = await self._open(self.store.read, digest)
            except BaseException:
                self.downloads -= 1
                self._seen.forget(digest)
                raise
            try:
                checksum = _Checked(reading)
                at = 0
                while at < reading.size or at == 0:
                    chunk = await self.run(checksum.read, at)
                    if not chunk and at < reading.size:
                        break  # it was cut off
                    start, at = at, at + max(1, len(chunk))
                    if at > offset or at >= reading.size:
                        self.got_bytes += len(chunk)
                        yield reading.size, chunk[max(0, offset - start) :]
                found = checksum.sum.digest()
                if found != digest:
                    await self._remove(digest)
                    raise DamagedValue(digest=digest, found=found, location=self.store.location)
            finally:
                self.downloads -= 1
                await asyncio.shield(self.run(reading.close))

    async def _remove(self, digest: bytes) -> None:
        """Remove a value that is damaged, so that it can be put again: unless that has happened meanwhile."""
        # Also where the call was given up: a thread may be at it, and would remove what is put meanwhile.
        await asyncio.shield(self._remove_damaged(digest))

    async def _remove_damaged(self, digest: bytes) -> None:
        while busy := self._dying.get(digest) or self._writing.get(digest):
            await asyncio.wait({busy})
        async with self.dying([digest]):
            freed = await self.run(self._delete_damaged, digest)
        if freed is not None:
            self.note_deleted(1, freed)

    def _delete_damaged(self, digest: bytes) -> int | None:
        """Remove a value where the bytes that are stored now are not its own."""
        try:
            reading = self.store.read(digest)
        except UnknownValue:
            return None
        try:
            checksum = _Checked(reading)
            at = 0
            while chunk := checksum.read(at):
                at += len(chunk)
        finally:
            reading.close()
        return None if checksum.sum.digest() == digest else self.store.delete(digest)

    def note_deleted(self, count: int, size: int) -> None:
        """Note that so many values are gone, of so many bytes."""
        self.stored_count -= count
        self.stored_bytes -= size

    # -- for the collector --------------------------------------------------------------------------------------------

    @property
    def is_held(self) -> bool:
        """Tell whether no value at all may be collected now."""
        return self._holds > 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have all values stay that are used now, also where nothing uses them any more later on: they are copied."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def is_wanted(self, digest: bytes) -> bool:
        """Tell whether a value must not be deleted now, whether it is used or not."""
        seen = self._seen.get(digest)
        kept_s = max(_SEEN_MIN_S, self.unused_s + self.refresh_s)
        recently = seen is not None and self._clock() - seen[1] < kept_s
        return recently or digest in self._looking or digest in self._writing or digest in self._dying

    @asynccontextmanager
    async def dying(self, digests: Sequence[bytes]) -> AsyncIterator[None]:
        """Have others wait that ask for these while they are being deleted."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._dying.update(dict.fromkeys(digests, done))
        try:
            yield
        finally:
            for digest in digests:
                del self._dying[digest]
                self._seen.forget(digest)
            done.set_result(None)

    @property
    def underway(self) -> list[bytes]:
        """Return the values that are being put."""
        return list(self._writing)

    async def _open(self, function: Callable[..., Opened], *args: object) -> Opened:
        """Call a function that opens something, which is closed again where the caller is called off meanwhile."""
        opening = asyncio.ensure_future(self.run(function, *args))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            with suppress(ValuesError):
                await self.run((await opening).close)
            raise

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Call a function that uses the disk, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)


class _Checked:
    """A value that is read from its beginning to its end, with the digest of what was read."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.sum = sha256()

    def read(self, at: int) -> bytes:
        """Return the next chunk."""
        chunk = self._reading.read(at, CHUNK_BYTES)
        self.sum.update(chunk)
        return chunk


class _Guarded:
    """An upload whose writer may have given up while a thread is at it: nothing is closed under that."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing
        self._lock = Lock()
        self._is_closed = False

    def write(self, chunk: bytes) -> None:
        """Take the next bytes, unless it is closed."""
        with self._lock:
            if not self._is_closed:
                self._writing.write(chunk)

    def finish(self) -> None:
        """Make the value durable, unless it is closed."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._writing.finish()

    def close(self) -> None:
        """Let go of it, once no thread is at it any more."""
        with self._lock, suppress(OSError):
            if not self._is_closed:
                self._is_closed = True
                self._writing.close()
