"""References: how a payload names the values that it needs and that are stored elsewhere.

Such a payload begins with `MARK`, the number of its references as a uvarint (base 128, lowest group first, as in
protobuf), and a byte of flags; for each reference follow the 32 bytes of its digest (SHA-256) and its size as a
uvarint. Then comes the stream, unless a flag says that the last reference is the stream. Each digest stands there once.
The broker reads this much, and no stream (`dagorama_broker.core.model.references`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

#: A payload that refers to values begins with this: no pickle or JSON does, and nothing else of a client's by chance.
MARK = b"\x01values\x01"
DIGEST_BYTES = 32
#: So many references a payload has at most; the parts of a value that go beyond that stay in its stream.
REFERENCES_MAX = 256
#: So many a broker takes, with those of values that were put.
REFERENCES_MAX_OF_BROKER = 10_000
#: The places of as many buffers come in so many bytes at most.
ORDER_BYTES_MAX = 1 + 2 + 2 * REFERENCES_MAX
#: A size is smaller: it has to fit where sizes of files do.
SIZE_END = 2**63
_STREAM_IS_LAST = 1


class Reference(NamedTuple):
    """A stored value: the digest of its bytes, and how many there are."""

    digest: bytes
    size: int

    def __str__(self) -> str:
        """Name the value for people."""
        return f"{self.digest.hex()[:16]}... of {self.size} bytes"


class Referring(NamedTuple):
    """A payload with references, in its parts."""

    references: tuple[Reference, ...]
    #: None where the last reference is the stream.
    stream: bytes | None


class BadReferences(ValueError):
    """The beginning of a payload says nothing that makes sense about the values that it needs."""


def is_referring(payload: bytes) -> bool:
    """Return whether a payload refers to values that are stored elsewhere."""
    return payload.startswith(MARK)


def write_references(references: Sequence[Reference], stream: bytes | None) -> bytes:
    """Return the payload with these references, and this stream; None says that the last reference is the stream."""
    head = [MARK, uvarint(len(references)), bytes([_STREAM_IS_LAST if stream is None else 0])]
    for digest, size in references:
        head += (digest, uvarint(size))
    return b"".join(head) + (stream or b"")


def read_references(payload: bytes) -> Referring:
    """Return what a payload consists of; raise `BadReferences` for one that is cut off, or not of this form."""
    if not is_referring(payload):
        raise BadReferences("it has no references")
    count, place = read_uvarint(payload, len(MARK))
    if not 1 <= count <= (len(payload) - place) // (DIGEST_BYTES + 1):
        raise BadReferences(f"it cannot have {count} references")
    flags = payload[place]
    if flags & ~_STREAM_IS_LAST:
        raise BadReferences(f"its flags are {flags}, and only {_STREAM_IS_LAST} is known")
    place += 1
    references = []
    for _ in range(count):
        digest = payload[place : place + DIGEST_BYTES]
        size, place = read_uvarint(payload, place + DIGEST_BYTES)
        references.append(Reference(digest, size))
    if len({digest for digest, _ in references}) < count:
        raise BadReferences("it has a digest twice")
    if not flags & _STREAM_IS_LAST:
        return Referring(tuple(references), payload[place:])
    if place < len(payload):
        raise BadReferences("something follows its references, which have the stream")
    return Referring(tuple(references), None)


def total_size(payload: bytes) -> int:
    """Return how many bytes a payload has, with all the values that it refers to."""
    try:
        references = read_references(payload).references if is_referring(payload) else ()
    except BadReferences:
        references = ()
    return len(payload) + sum(reference.size for reference in references)


#: Begins a stream that says in which order its buffers come; in any other they come as the references do.
_ORDER = 2


def write_order(places: Sequence[int]) -> bytes:
    """Return the beginning of a stream whose buffers are the references at these places, one after another."""
    return bytes([_ORDER]) + b"".join(map(uvarint, (len(places), *places)))


def read_order(begin: bytes) -> tuple[list[int] | None, int]:
    """Return the places of the buffers of a stream, and where its pickle begins; None where it names no places."""
    if not begin or begin[0] != _ORDER:
        return None, 0
    count, place = read_uvarint(begin, 1)
    places = []
    for _ in range(count):
        which, place = read_uvarint(begin, place)
        places.append(which)
    return places, place


def uvarint(number: int) -> bytes:
    """Return a number, 0 or more, as a uvarint."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def read_uvarint(data: bytes, place: int) -> tuple[int, int]:
    """Return the number at a place, and the place after it; raise `BadReferences` where there is none."""
    number = shift = 0
    for index in range(place, len(data)):
        byte = data[index]
        number |= (byte & 0x7F) << shift
        if number >= SIZE_END or (not byte and shift):
            break
        if byte < 0x80:
            return number, index + 1
        shift += 7
    raise BadReferences("a number in it has no end, is too large, or not in its shortest form")
