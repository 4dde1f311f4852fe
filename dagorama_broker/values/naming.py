"""The names of objects in a bucket of values.

A small value is an object `values/ab/abcd.../SIZE`. A larger one is parts `parts/ab/abcd.../UPLOAD/START`, each named
by where it begins, and is there once `values/ab/abcd.../SIZE.UPLOAD` is: that is written last, and names the parts that
count. So all that is in a bucket can be seen by listing it, uploads that broke off too, and no object ever changes.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from dagorama_broker.values.objects import Object

VALUES, PARTS = "values", "parts"
_ENTRY = re.compile("values/[0-9a-f]{2}/([0-9a-f]{64})/([0-9]{1,19})(?:[.]([0-9a-f]{16}))?")
_PART = re.compile("parts/[0-9a-f]{2}/([0-9a-f]{64})/([0-9a-f]{16})/([0-9a-f]{16})")


class Entry(NamedTuple):
    """A value that is there."""

    name: str
    digest: bytes
    size: int
    upload: str  #: whose parts it has; empty where the object is the value


class Part(NamedTuple):
    """A part of a value."""

    name: str
    digest: bytes
    upload: str
    start: int
    size: int
    written_at: float


def folder_of(kind: str, digest: bytes) -> str:
    """Return the folder of a value, or of its parts."""
    digits = digest.hex()
    return f"{kind}/{digits[:2]}/{digits}"


def shard_of(kind: str, shard: int) -> str:
    """Return the folder of all values whose digests begin with a byte, or of their parts."""
    return f"{kind}/{shard:02x}"


def entry_name(digest: bytes, size: int, upload: str = "") -> str:
    """Return the name of the object by which a value is there."""
    return f"{folder_of(VALUES, digest)}/{size}{'.' if upload else ''}{upload}"


def part_name(digest: bytes, upload: str, start: int) -> str:
    """Return the name of a part of a value."""
    return f"{folder_of(PARTS, digest)}/{upload}/{start:016x}"


def entries_in(objects: Iterable[Object]) -> list[Entry]:
    """Return the values among some objects."""
    found = []
    for one in objects:
        match = _ENTRY.fullmatch(one.name)
        if match is not None and (match[3] or int(match[2]) == one.size):
            found.append(Entry(one.name, bytes.fromhex(match[1]), int(match[2]), match[3] or ""))
    return found


def parts_in(objects: Iterable[Object]) -> list[Part]:
    """Return the parts among some objects, those of one upload in their order."""
    found = []
    for one in objects:
        match = _PART.fullmatch(one.name)
        if match is not None:
            found.append(Part(one.name, bytes.fromhex(match[1]), match[2], int(match[3], 16), one.size, one.written_at))
    return sorted(found, key=lambda part: part.name)


def by_upload(parts: Iterable[Part]) -> dict[tuple[bytes, str], list[Part]]:
    """Return parts by the upload that they are of."""
    uploads: dict[tuple[bytes, str], list[Part]] = {}
    for part in parts:
        uploads.setdefault((part.digest, part.upload), []).append(part)
    return uploads


def chain_of(parts: Iterable[Part]) -> list[Part]:
    """Return the parts of one upload from its beginning up to where one is missing."""
    chain: list[Part] = []
    end = 0
    for part in parts:
        if part.start != end:
            break
        chain.append(part)
        end += part.size
    return chain
