"""Values in files of their own, hashed on the way there."""

from __future__ import annotations

import os
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from mmap import PROT_READ, mmap
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from dagorama.calls.large import Content
from dagorama.calls.references import Reference
from dagorama.client.values.cache import spool_name
from dagorama.logging import get_logger

#: Written and hashed at a time.
_STEP_BYTES = 4 * 2**20
#: So much is written before the disk is to begin, while more comes.
_SYNC_BYTES = 64 * 2**20
#: Left free for others on a disk, as the broker does; on a small one this share of it.
_SPARE_BYTES, _SPARE_SHARE = 256 * 2**20, 0.05


class Spooled(NamedTuple):
    """A value in a file of its own, which is open."""

    reference: Reference
    descriptor: int
    path: str


class _EarlySync:
    """Has the disk write what there is of a file while more comes. At its end, less is left to wait for."""

    def __init__(self, descriptor: int, beside: Executor) -> None:
        """Take an open file, and a thread that may wait for the disk."""
        self._descriptor = descriptor
        self._beside = beside
        self._unsynced_bytes = 0
        self._syncing: Future[None] | None = None

    def wrote(self, size: int) -> None:
        """Note that so many bytes were written."""
        self._unsynced_bytes += size
        if self._unsynced_bytes >= _SYNC_BYTES and (self._syncing is None or self._syncing.done()):
            self.end()
            self._unsynced_bytes = 0
            self._syncing = self._beside.submit(os.fdatasync, self._descriptor)

    def end(self) -> None:
        """Wait for the disk. Raises `OSError`: the system tells of an error once, and a later sync would succeed."""
        if self._syncing is not None:
            self._syncing.result()


def spool(content: Content, directory: Path, *, syncs: bool = False) -> Spooled | None:
    """Write a value to a new file; return None where there is no room for one.

    With `syncs` the disk begins early, as the file will be synced: the caller still has to do that.
    """
    path = str(directory / spool_name())
    descriptor = -1
    try:
        if not has_room(directory, content.size):
            return None
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        return Spooled(Reference(_written(content, descriptor, syncs=syncs), content.size), descriptor, path)
    except OSError as error:
        get_logger().debug("no file could be written in %s: %s", directory, error)
        if descriptor >= 0:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(path)
        return None


def has_room(directory: Path, size: int) -> bool:
    """Return whether so many bytes leave others room on a disk: the broker's database may be there, too."""
    disk = os.statvfs(directory)
    spare = min(_SPARE_BYTES, int(disk.f_blocks * disk.f_frsize * _SPARE_SHARE))
    return size <= disk.f_bavail * disk.f_frsize - spare


def _written(content: Content, descriptor: int, *, syncs: bool) -> bytes:
    """Write a value; return the digest of what was written, also where somebody changes the value meanwhile.

    Other threads hash the file behind this one, and sync it, where that takes a while.
    """
    if content.size < _STEP_BYTES:
        whole = bytes(content.whole())
        write(descriptor, memoryview(whole))
        return sha256(whole).digest()
    os.ftruncate(descriptor, content.size)
    written: SimpleQueue[int] = SimpleQueue()
    with (
        mmap(descriptor, content.size, prot=PROT_READ) as file,
        ThreadPoolExecutor(2, "dagorama-hash") as beside,
    ):
        digest = beside.submit(_hashed, file, written)
        early = _EarlySync(descriptor, beside) if syncs else None
        try:
            for view in content.views():
                for first in range(0, view.nbytes, _STEP_BYTES):
                    with view[first : first + _STEP_BYTES] as step:
                        write(descriptor, step)
                        written.put(step.nbytes)
                        if early is not None:
                            early.wrote(step.nbytes)
        finally:
            written.put(0)
        if early is not None:
            early.end()
        return digest.result()


def _hashed(file: mmap, written: SimpleQueue[int]) -> bytes:
    """Return the digest of a file that is being written, in steps of so many bytes; 0 is the end."""
    digest, place = sha256(), 0
    with memoryview(file) as whole:
        while size := written.get():
            with whole[place : place + size] as step:
                digest.update(step)
            place += size
    return digest.digest()


def write(descriptor: int, data: memoryview) -> None:
    """Write all of some bytes."""
    while data.nbytes:
        data = data[os.write(descriptor, data) :]
