"""Values as files in a directory, each named by its digest.

`ab/cd/abcd...` are the values, which never change; `incoming/` has uploads under way and files that are to be adopted;
`owner` names the storage whose values these are, and `lock` is held by the broker that runs. A value is written in
`incoming`, synced, renamed, and its folder synced: after a crash it is there as a whole or not at all.
"""

import errno
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Literal, NoReturn

from dagorama_broker.values.faults import BadOffset, BadUpload, StoreAway, StoreFull, StoreUnusable, UnknownValue
from dagorama_broker.values.holding import hold, sync_folder
from dagorama_broker.values.memory import check_complete, check_digest, check_room
from dagorama_broker.values.store import CHUNK_BYTES, Place, Stored

log = logging.getLogger("dagorama.broker")

INCOMING = "incoming"
_PART = ".part"
_HEX = 64
_SHARD = re.compile("[0-9a-f]{2}")

#: Left free for others on the disk, above all for the database, which stops the broker where it has no room: so many
#: bytes, or on a small disk this share of it.
_SPARE_BYTES, _SPARE_SHARE = 256 * 2**20, 0.05
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DirectoryStore:
    """A store in a directory, which one broker holds while it runs."""

    threads_max = 4

    def __init__(self, path: Path) -> None:
        """Name the directory; it is made where it is missing."""
        self.location = str(path)
        self._path = path
        self._root = -1
        self._close: list[Callable[[], None]] = []
        self._shape = Lock()  #: held while folders are made or removed, and files put into them
        self._made: set[str] = set()  #: folders of which it is known that they are there after a crash
        self._promised: dict[bytes, int] = {}  #: bytes that are still to come of uploads under way
        self._has_told = False  #: that a file cannot be looked at

    def open(self, owner_id: bytes, *, is_used: bool) -> Place:
        """Take the directory for one broker alone."""
        try:
            self._root, close = hold(self._path, owner_id, is_used=is_used)
            self._close.append(close)
            os.makedirs(self._path / INCOMING, mode=0o700, exist_ok=True)
            if stat.S_ISLNK(os.lstat(self._path / INCOMING).st_mode):
                raise StoreUnusable(self._path / INCOMING, "it is a link, and files are renamed from there")
            return self._prove()
        except OSError as error:
            self.close()
            raise self.unusable(error) from error
        except StoreUnusable:
            self.close()
            raise

    def _prove(self) -> Place:
        """Write a file that tells clients whether they see this directory."""
        for name in os.listdir(self._root):
            if name.startswith("proof-"):
                os.unlink(name, dir_fd=self._root)
        name, token = f"proof-{secrets.token_hex(8)}", secrets.token_hex(16)
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._root)
        with os.fdopen(handle, "w") as file:
            file.write(token)
        self._close.append(lambda: os.unlink(name, dir_fd=self._root))
        return Place(os.path.realpath(self._path), name, token)

    def find(self, digests: Sequence[bytes], now: float, refresh_s: float) -> dict[bytes, int]:
        """Return the sizes of those that are there; their files' times tell when they were wanted."""
        found = {}
        for digest in digests:
            name = _name(digest)
            status = self._status_now(name)
            if status is not None:
                found[digest] = status.st_size
                if status.st_mtime < now - refresh_s:
                    with suppress(OSError):  # then nothing can be collected either
                        os.utime(name, (now, now), dir_fd=self._root)
        return found

    def received(self, digest: bytes) -> int:
        """Return how much is there of an upload."""
        status = self._status(_part(digest))
        return status.st_size if status is not None else 0

    def begin(self, digest: bytes, size: int, offset: int) -> "_Writing":
        """Begin an upload, or go on with one."""
        with self.explained(digest, size):
            self._check_there()
            there = self.received(digest)
            if offset > there:
                raise BadOffset(digest=digest, offset=offset, received=there)
            self._check_room(digest, size, size - offset)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            handle = os.open(_part(digest), flags, 0o600, dir_fd=self._root)
            try:
                os.ftruncate(handle, offset)
                writing = _Writing(self, digest, size, handle, offset)
            except BaseException:
                os.close(handle)
                raise
            self._promised[digest] = size - offset
            return writing

    def adopt(self, digest: bytes, size: int, file_name: str) -> None:
        """Take over a file that a client has put into `incoming`."""
        if not file_name or "/" in file_name or "\0" in file_name or file_name[0] == "." or file_name.endswith(_PART):
            raise BadUpload(f"{file_name[:100]!r} is no name of a file to adopt")
        name = f"{INCOMING}/{file_name}"
        with self.explained(digest, size):
            self._check_there()
            try:
                handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._root)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ELOOP):
                    raise BadUpload(f"there is no file {file_name!r} to adopt in {self._path / INCOMING}") from error
                raise
            try:
                status = os.fstat(handle)
                if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                    raise BadUpload(f"{file_name!r} is no plain file with one name, so it cannot be adopted")
                if status.st_size != size:
                    raise BadUpload(
                        f"value {digest.hex()} is to have {size} bytes, and file {file_name!r} has {status.st_size}"
                    )
                stored = self._status(_name(digest))
                if stored is not None and stored.st_size == size:
                    os.unlink(name, dir_fd=self._root)  # the one that is there may have been checked
                else:
                    self.settle(handle, name, digest)
            finally:
                os.close(handle)

    def read(self, digest: bytes) -> "_Reading":
        """Begin to read a value."""
        try:
            handle = os.open(_name(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._root)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise UnknownValue(digest=digest) from error
            raise self.unusable(error, "read") from error
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            os.close(handle)
            raise UnknownValue(digest=digest)
        return _Reading(self, handle, status.st_size)

    def delete(self, digest: bytes) -> int | None:
        """Remove a value, and its folders where they are empty then."""
        name = _name(digest)
        status = self._status(name)
        if status is None:
            return None
        with self._shape, suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._root)
            with suppress(OSError):  # others are in it
                for folder in (name[:5], name[:2]):
                    os.rmdir(folder, dir_fd=self._root)
                    self._made.discard(folder)
        return status.st_size

    def shards(self) -> Sequence[int]:
        """Return the first bytes of the digests that values have, or had."""
        return sorted(int(name, 16) for name in self._names(".") if _SHARD.fullmatch(name))

    def list(self, shard: int) -> list[Stored]:
        """Return the values whose digests begin with this byte."""
        found = []
        first = f"{shard:02x}"
        for second in self._names(first):
            folder = f"{first}/{second}"
            for name in self._names(folder):
                status = self._status(f"{folder}/{name}") if len(name) == _HEX else None
                if status is not None and name.startswith(first + second):
                    with suppress(ValueError):
                        found.append(Stored(bytes.fromhex(name), status.st_size, status.st_mtime))
        return found

    def clear_incoming(self, before: float, underway: Collection[bytes]) -> int:
        """Remove what is left of uploads."""
        busy = {digest.hex() + _PART for digest in underway}
        freed = 0
        for name in self._names(INCOMING):
            status = self._status(f"{INCOMING}/{name}")
            if name not in busy and status is not None and status.st_mtime < before:
                with suppress(FileNotFoundError):
                    os.unlink(f"{INCOMING}/{name}", dir_fd=self._root)
                    freed += status.st_size
        return freed

    def close(self) -> None:
        """Let the directory go."""
        while self._close:
            with suppress(OSError):
                self._close.pop()()
        self._root = -1

    # -- for uploads --------------------------------------------------------------------------------------------------

    def settle(self, handle: int, name: str, digest: bytes) -> None:
        """Make an open file durable, and a value. `name` is the one that it has."""
        os.fchmod(handle, 0o400)
        os.utime(handle)
        os.fsync(handle)
        self._check_there()
        target = _name(digest)
        with self._shape:
            for folder, parent in ((target[:2], "."), (target[:5], target[:2])):
                if folder not in self._made:
                    with suppress(FileExistsError):
                        os.mkdir(folder, 0o700, dir_fd=self._root)
                    sync_folder(
                        parent, self._root
                    )  # also where it is there: whoever has made it may not have come to that
                    self._made.add(folder)
            os.rename(name, target, src_dir_fd=self._root, dst_dir_fd=self._root)
        sync_folder(target[:5], self._root)

    def note_received(self, digest: bytes, size: int) -> None:
        """Note that so many bytes of an upload have come."""
        self._promised[digest] -= size

    def forget(self, digest: bytes, *, remove: bool) -> None:
        """Note that an upload is over; `remove` what has come of it."""
        self._promised.pop(digest, None)
        if remove:
            with suppress(OSError):
                os.unlink(_part(digest), dir_fd=self._root)

    @contextmanager
    def explained(self, digest: bytes, size: int) -> Iterator[None]:
        """Raise the store's own errors for those of the system; where there is no room the upload is removed."""
        try:
            yield
        except OSError as error:
            # After an error of a disk the system takes what it has not written for written.
            self.forget(digest, remove=error.errno in _NO_ROOM or error.errno == errno.EIO)
            if error.errno in _NO_ROOM:
                self._refuse(digest, size, 0)
            raise self.unusable(error) from error

    def _check_room(self, digest: bytes, size: int, wanted: int) -> None:
        """Raise `StoreFull` where an upload would leave too little room on the disk."""
        disk = os.fstatvfs(self._root)
        spare = min(_SPARE_BYTES, int(disk.f_blocks * disk.f_frsize * _SPARE_SHARE))
        promised = sum(left for other, left in list(self._promised.items()) if other != digest)
        free = max(0, disk.f_bavail * disk.f_frsize - spare - promised)
        if wanted > free:
            self._refuse(digest, size, free)

    def _refuse(self, digest: bytes, size: int, free: int) -> NoReturn:
        raise StoreFull(digest=digest, size=size, location=self.location, free=free)

    def _check_there(self) -> None:
        """Raise `StoreUnusable` where the directory has been taken away, or another is in its place."""
        try:
            here = os.stat(self._path)
        except FileNotFoundError:
            here = None
        ours = os.fstat(self._root)
        if here is None or (here.st_dev, here.st_ino) != (ours.st_dev, ours.st_ino):
            raise StoreUnusable(
                self.location,
                "the directory was removed or moved, or another was put in its place, while the broker ran",
                "Put it back where it was, or restore it from a backup, then start the broker again",
            )

    def unusable(self, error: OSError, doing: Literal["read", "written"] = "written") -> StoreUnusable:
        """Return the error of the store for one of the system."""
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return StoreUnusable(
                self.location,
                f"it cannot be {doing} ({error.strerror})",
                "Give the broker's user the right to read and write it, or name another place in DAGORAMA_VALUES",
            )
        return StoreUnusable(self.location, f"the system says: {error.strerror or error}")

    def _status(self, name: str) -> os.stat_result | None:
        """Return the status of a plain file; None where there is none, or it cannot be told: the others go on."""
        try:
            return self._status_now(name)
        except StoreAway as error:
            if not self._has_told:
                self._has_told = True
                log.warning("%s, and maybe others, cannot be looked at, and is passed over: %s", name, error.problem)
            return None

    def _status_now(self, name: str) -> os.stat_result | None:
        """Return the status of a plain file, None where there is none. Raises `StoreAway` where that cannot be told."""
        try:
            status = os.stat(name, dir_fd=self._root, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:  # to say that it is not there would fail nodes whose values are
            raise StoreAway(location=self.location, problem=f"the system says: {error.strerror or error}") from error
        return status if stat.S_ISREG(status.st_mode) else None

    def _names(self, folder: str) -> Sequence[str]:
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._root)
        except OSError:
            return ()
        try:
            return os.listdir(handle)
        finally:
            os.close(handle)


class _Writing:
    """An upload under way."""

    def __init__(self, store: DirectoryStore, digest: bytes, size: int, handle: int, offset: int) -> None:
        self._store = store
        self._digest = digest
        self._size = size
        self._handle = handle
        self.received = offset
        self._sum = sha256()
        for at in range(0, offset, CHUNK_BYTES):
            self._sum.update(os.pread(handle, min(CHUNK_BYTES, offset - at), at))

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        try:
            check_room(self._digest, self._size, self.received + len(chunk))
            with self._store.explained(self._digest, self._size):
                left = memoryview(chunk)
                while left:
                    written = os.pwrite(self._handle, left, self.received)
                    self.received += written
                    left = left[written:]
                self._sum.update(chunk)
                self._store.note_received(self._digest, len(chunk))
        except BaseException:
            self.close()
            raise

    def finish(self) -> None:
        """Make the value durable and let it be found."""
        try:
            check_complete(self._digest, self._size, self.received)
            try:
                check_digest(self._digest, self._sum.digest())
            except BadUpload:
                self._store.forget(self._digest, remove=True)
                raise
            with self._store.explained(self._digest, self._size):
                self._store.settle(self._handle, _part(self._digest), self._digest)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of it; what has come is kept."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
            self._store.forget(self._digest, remove=not self.received and self._size > 0)


class _Reading:
    """A value that is being read."""

    def __init__(self, store: DirectoryStore, handle: int, size: int) -> None:
        self._store = store
        self._handle = handle
        self.size = size

    def read(self, offset: int, size: int) -> bytes:
        """Return some of its bytes."""
        try:
            return os.pread(self._handle, size, offset)
        except OSError as error:
            raise self._store.unusable(error, "read") from error

    def close(self) -> None:
        """Let the file go."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _name(digest: bytes) -> str:
    digits = digest.hex()
    return f"{digits[:2]}/{digits[2:4]}/{digits}"


def _part(digest: bytes) -> str:
    return f"{INCOMING}/{digest.hex()}{_PART}"
