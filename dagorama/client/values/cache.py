"""The values that a host has fetched: files that all its processes share, each fetched once, within bounds.

A process that wants a value locks the file that it is to arrive in. Others wait for the lock meanwhile, and find the
value there; where the process has died, the next one goes on from where it was, and where it gets nothing, another
begins anew. Nobody ever waits for room: files
are removed, the least recently used first, also of values that are in use, as these stay mapped.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from time import monotonic, sleep, time
from typing import NamedTuple

from dagorama.calls.references import Reference
from dagorama.client.values.checked import TABLE
from dagorama.client.values.mapped import open_regular

#: The bytes of all files, unless `DAGORAMA_VALUE_CACHE_MAX` says otherwise.
CACHE_BYTES_MAX = 10 * 2**30
#: Who waits for a part that has not grown for so long begins anew: the process that writes to it may be stopped.
STALLED_S = 60.0
#: A part of a value that nobody has written to for so long is removed.
_STALE_S = 3600.0
#: That a file is used is noted once in so long: it counts as changed then, and is hashed anew by whoever maps it.
_USED_S = 60.0
#: A process looks through the directory again when it has added this share of what there is room for, or so much later:
#: that takes some microseconds for each file, and there may be a hundred thousand.
_LOOK_SHARE, _LOOK_S = 1 / 256, 60.0
_PART = ".part"
_SPOOL = "spool-"


def cache_directory() -> Path:
    """Return where values are kept on this host: `DAGORAMA_VALUE_CACHE`, or a directory of this user's."""
    named = os.environ.get("DAGORAMA_VALUE_CACHE")
    return Path(named) if named else Path(tempfile.gettempdir()) / f"dagorama-values-{os.getuid()}"


def cache_bytes_max() -> int:
    """Return how many bytes are kept; raise `ValueError` for a setting that is no number of bytes."""
    text = os.environ.get("DAGORAMA_VALUE_CACHE_MAX") or str(CACHE_BYTES_MAX)
    if text.isascii() and text.isdigit():
        return int(text)
    raise ValueError(f"DAGORAMA_VALUE_CACHE_MAX={text!r} is not a number of bytes")


class Part(NamedTuple):
    """The file that a value arrives in; this process alone writes to it."""

    descriptor: int
    path: str
    #: So many bytes have come before.
    size: int


class Cache:
    """One directory of values. Any thread and any process may use it at any time."""

    def __init__(self, directory: Path, bytes_max: int) -> None:
        """Make the directory. Raises `OSError` where it cannot be had, or is another user's."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = os.lstat(directory)
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
            raise PermissionError(f"{directory} is not a directory that only this user writes to")
        self.directory = directory
        self._bytes_max = bytes_max
        self._looked_at = -inf  #: when this process has looked through it last, by `time.monotonic()`
        self._added_bytes = 0  #: by this process since then

    def open(self, reference: Reference) -> int | None:
        """Open the file of a value, which is used now; None where it is not there."""
        path = self._path(reference)
        descriptor = open_regular(path, reference.size)
        if descriptor is not None and time() - os.fstat(descriptor).st_mtime > _USED_S:
            with suppress(OSError):
                os.utime(path)
        return descriptor

    def find(self, digest: bytes) -> Reference | None:
        """Return the reference of a value whose file is there, by the size of that; its bytes are not looked at."""
        with suppress(OSError):
            size = os.lstat(self.directory / digest.hex()).st_size
            return Reference(digest, size) if size else None
        return None

    def remove(self, reference: Reference) -> None:
        """Remove the file of a value that is damaged."""
        with suppress(OSError):
            os.unlink(self._path(reference))

    @contextmanager
    def part(self, reference: Reference) -> Iterator[Part]:
        """Have a file to write a value to, once nobody else does; look first whether the value has come meanwhile."""
        path = self._path(reference) + _PART
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                if not _is_locked(descriptor):
                    if _is_same(path, descriptor):
                        os.unlink(path)
                    continue
                # It was renamed or removed while this waited.
                if os.fstat(descriptor).st_nlink and _is_same(path, descriptor):
                    yield Part(descriptor, path, os.fstat(descriptor).st_size)
                    return
                with suppress(OSError):
                    if (found := self.open(reference)) is not None:
                        os.close(found)
                        yield Part(-1, path, reference.size)
                        return
            finally:
                os.close(descriptor)

    def finish(self, reference: Reference, part_path: str) -> None:
        """Keep a file that is whole now, and remove others that there is no room for."""
        os.replace(part_path, self._path(reference))
        self._added_bytes += reference.size
        if self._added_bytes >= self._bytes_max * _LOOK_SHARE or monotonic() - self._looked_at >= _LOOK_S:
            self.make_room()

    def make_room(self) -> None:
        """Remove files until they fit, those first that were used longest ago."""
        self._looked_at, self._added_bytes = monotonic(), 0
        left = self._bytes_max
        kept: list[tuple[float, int, str]] = []
        with suppress(OSError), os.scandir(self.directory) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.name == TABLE:
                        continue
                    about = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(_PART) or entry.name.startswith(_SPOOL):
                        if time() - about.st_mtime > _STALE_S:
                            os.unlink(entry.path)
                        continue
                    kept.append((about.st_mtime, about.st_size, entry.path))
        for _, size, path in sorted(kept, reverse=True):
            left -= size
            if left < 0:
                with suppress(OSError):
                    os.unlink(path)

    def _path(self, reference: Reference) -> str:
        return str(self.directory / reference.digest.hex())


def _is_locked(descriptor: int) -> bool:
    """Lock a part once nobody else writes to it; return False where it has not grown for long meanwhile."""
    size, since, pause_s = -1, monotonic(), 0.001
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if (now := os.fstat(descriptor).st_size) != size:
            size, since = now, monotonic()
        elif monotonic() - since > STALLED_S:
            return False
        sleep(pause_s)
        pause_s = min(2 * pause_s, 0.1)


def _is_same(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except OSError:
        return False


def spool_name() -> str:
    """Return a name that no other file has."""
    return f"{_SPOOL}{os.getpid()}-{os.urandom(8).hex()}"
