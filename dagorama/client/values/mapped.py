"""Values as files that are mapped into memory: read where they are, by all processes of a host, without a copy.

A mapping lives as long as something that was made of it. That its file is removed meanwhile does not matter.
"""

from __future__ import annotations

import mmap
import os
import stat
import threading
import time
from collections import OrderedDict
from hashlib import sha256
from pickle import PickleBuffer
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakValueDictionary

from dagorama.calls.large import Content
from dagorama.calls.pickling import Buffer
from dagorama.calls.references import Reference
from dagorama.client.values.checked import Checked, FileState

#: Clocks of file systems may tell two changes within so long apart by nothing.
_SAME_TIME_NS = 50_000_000
#: So many values that were stored last are known again when they are to be stored once more, of so many bytes together:
#: their files take room on the disk for as long as they are mapped.
_KEPT_MAX, _KEPT_BYTES_MAX = 64, 4 * 2**30
#: A value is known by so many of its bytes; then all are compared.
_SAMPLES = 64
#: So many steps it may be from an object to the mapping that it was made of.
_STEPS_MAX = 8
#: Compares as many bytes at once.
_WORD = 8


class Kept(NamedTuple):
    """A value that was stored from here, and its bytes."""

    reference: Reference
    bytes: mmap.mmap


class Mapped:
    """The mappings of a process, by the values that they are of."""

    def __init__(self, checked: Checked) -> None:
        """Begin without any; `checked` are the files that need not be hashed."""
        self._checked = checked
        self._lock = threading.Lock()
        self._by_digest: WeakValueDictionary[bytes, mmap.mmap] = WeakValueDictionary()
        self._references: WeakKeyDictionary[mmap.mmap, Reference] = WeakKeyDictionary()
        #: By some of the bytes of a value that was stored.
        self._stored: OrderedDict[tuple[int, bytes], Kept] = OrderedDict()

    def get(self, reference: Reference) -> mmap.mmap | None:
        """Return the mapping of a value, if there is one."""
        with self._lock:
            return self._by_digest.get(reference.digest)

    def map(self, reference: Reference, descriptor: int) -> mmap.mmap:
        """Map an open file, unless its value is mapped already."""
        with self._lock:
            found = self._by_digest.get(reference.digest)
            if found is None:
                found = mmap.mmap(descriptor, reference.size, prot=mmap.PROT_READ)
                self._by_digest[reference.digest] = found
                self._references[found] = reference
            return found

    def map_checked(self, reference: Reference, descriptor: int) -> mmap.mmap | None:
        """Map an open file whose bytes have been hashed as they are now; return None where they are not the value's.

        A file is hashed once, not by each node or process that maps it: many may read it, one after the other.
        """
        found = self.get(reference)
        if found is not None:
            return found
        state = FileState.of(descriptor)
        if not self._checked.has(reference, state):
            with mmap.mmap(descriptor, reference.size, prot=mmap.PROT_READ) as looked_at:
                if sha256(looked_at).digest() != reference.digest:
                    return None
            if time.time_ns() > state.changed_at_ns + _SAME_TIME_NS:
                self._checked.note(reference, state)
        return self.map(reference, descriptor)

    def wrote(self, reference: Reference, descriptor: int) -> None:
        """Note that an open file is as it will stay. This process has written and hashed it, and nobody else has."""
        self._checked.note(reference, FileState.of(descriptor))

    def remember(self, content: Content, reference: Reference, mapping: mmap.mmap) -> None:
        """Keep the bytes of a value that was stored, to know it again."""
        with self._lock:
            key = _key(content)
            self._stored[key] = Kept(reference, mapping)
            self._stored.move_to_end(key)
            left = sum(kept.reference.size for kept in self._stored.values())
            while len(self._stored) > 1 and (len(self._stored) > _KEPT_MAX or left > _KEPT_BYTES_MAX):
                left -= self._stored.popitem(last=False)[1].reference.size

    def known(self, content: Content) -> Reference | None:
        """Return what a content is, if it was stored or fetched here before: nothing of it is hashed then."""
        if len(content.parts) != 1:
            return None
        origin = self._origin(content.parts[0])
        if origin is not None:
            return origin
        key = _key(content)
        with self._lock:
            kept = self._stored.get(key)
            if kept is not None:
                self._stored.move_to_end(key)
        return kept.reference if kept is not None and _equals(content, kept.bytes) else None

    def bytes_of(self, digest: bytes) -> Kept | None:
        """Return a value that was stored or fetched here, if it is still at hand."""
        with self._lock:
            for kept in self._stored.values():
                if kept.reference.digest == digest:
                    return kept
            found = self._by_digest.get(digest)
            return None if found is None else Kept(self._references[found], found)

    def _origin(self, part: Buffer) -> Reference | None:
        """Return the value that a buffer is all of, having been made of its mapping."""
        with PickleBuffer(part).raw() as view:
            if not view.readonly:
                return None
            owner: Any = view.obj
            size = view.nbytes
        for _ in range(_STEPS_MAX):
            if type(owner) is mmap.mmap:
                reference = self._references.get(owner)
                return reference if reference is not None and reference.size == size else None
            if type(owner) is memoryview:
                owner = owner.obj
            elif type(owner).__module__ == "numpy":
                owner = owner.base
            else:
                return None
        return None


def _key(content: Content) -> tuple[int, bytes]:
    with PickleBuffer(content.parts[0]).raw() as view:
        return content.size, view[:: max(1, view.nbytes // _SAMPLES)].tobytes()


def _equals(content: Content, mapping: mmap.mmap) -> bool:
    """Compare bytes, most of them eight at a time."""
    with memoryview(mapping) as other:
        for view in content.views():
            whole = view.nbytes // _WORD * _WORD
            return bool(
                view.nbytes == other.nbytes
                and view[whole:] == other[whole:]
                and view[:whole].cast("Q") == other[:whole].cast("Q")
            )
    return False


def open_regular(path: str, size: int) -> int | None:
    """Open a file to be mapped; None where there is no ordinary file of this size."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    about = os.fstat(descriptor)
    if stat.S_ISREG(about.st_mode) and about.st_size == size:
        return descriptor
    os.close(descriptor)
    return None
