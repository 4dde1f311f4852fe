"""Values on their way from a broker to this host: into a file for all its processes, or into memory."""

from __future__ import annotations

import os
from hashlib import sha256

from dagorama.calls.pickling import Buffer
from dagorama.calls.references import Reference
from dagorama.client.values.cache import Cache, Part
from dagorama.client.values.mapped import Mapped
from dagorama.client.values.progress import Progress
from dagorama.client.values.spooling import write
from dagorama.client.values.wire import Wire, lost
from dagorama.logging import get_logger

#: Hashed at a time.
_STEP_BYTES = 4 * 2**20


def map_file(mapped: Mapped, reference: Reference, descriptor: int) -> Buffer | None:
    """Map a file that may have other bytes; return None where it has. It is closed in any case."""
    try:
        mapping = mapped.map_checked(reference, descriptor)
    except OSError:  # no room for another mapping
        return None
    finally:
        os.close(descriptor)
    if mapping is None:
        get_logger().warning("a file of the value %s has other bytes: it is fetched from the broker", reference)
        return None
    return memoryview(mapping)


class Fetcher:
    """Fetches values of one broker. Any thread may call it."""

    def __init__(self, wire: Wire, mapped: Mapped, *, shows: bool) -> None:
        """Take the way to the broker, and the mappings of this process; with `shows` people see how far it has come."""
        self._wire = wire
        self._mapped = mapped
        self._shows = shows

    def into_cache(self, reference: Reference, what: str, cache: Cache) -> Buffer:
        """Return a value by its file in a cache, which it is fetched into unless another process has done so.

        Raises `OSError` where it cannot be kept there, and `PayloadError`, naming `what` needs it, where it is lost.
        """
        descriptor = cache.open(reference)
        if descriptor is not None:
            mapped = map_file(self._mapped, reference, descriptor)
            if mapped is not None:
                return mapped
            cache.remove(reference)
        with cache.part(reference) as part:
            if part.descriptor < 0:
                found = cache.open(reference)
                mapped = map_file(self._mapped, reference, found) if found is not None else None
                # It may have been removed again at once.
                return mapped if mapped is not None else self.into_memory(reference, what)
            self._fetch(reference, what, part)
            mapping = self._mapped.map(reference, part.descriptor)
            if os.fstat(part.descriptor).st_nlink:  # else another has begun anew, as nothing has come for long
                cache.finish(reference, part.path)
                self._mapped.wrote(reference, part.descriptor)
            return memoryview(mapping)

    def _fetch(self, reference: Reference, what: str, part: Part) -> None:
        """Fetch a value into its file, on from what has come before."""
        digest = sha256()
        size = part.size if part.size < reference.size else 0
        if size:
            os.lseek(part.descriptor, 0, os.SEEK_SET)
            left = size
            while left and (step := os.read(part.descriptor, min(_STEP_BYTES, left))):
                digest.update(step)
                left -= len(step)
        os.ftruncate(part.descriptor, size)
        os.lseek(part.descriptor, size, os.SEEK_SET)
        with Progress("fetching", reference.size, shows=self._shows) as told:
            told(size)
            for chunk in self._wire.get(reference, size, what):
                digest.update(chunk)
                write(part.descriptor, memoryview(chunk))
                told(len(chunk))
        if digest.digest() != reference.digest:
            os.ftruncate(part.descriptor, 0)
            if not size:
                raise lost(reference, what, "what came has another digest")
            self._fetch(reference, what, part._replace(size=0))  # it may be what was there before

    def into_memory(self, reference: Reference, what: str) -> Buffer:
        """Return a value that no file is kept of. Raises `PayloadError` as `into_cache`."""
        whole = bytearray()
        with Progress("fetching", reference.size, shows=self._shows) as told:
            for chunk in self._wire.get(reference, 0, what):
                whole += chunk
                told(len(chunk))
        if sha256(whole).digest() != reference.digest:
            raise lost(reference, what, "what came has another digest")
        return memoryview(whole).toreadonly()
