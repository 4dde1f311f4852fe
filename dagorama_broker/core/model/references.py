"""References of payloads to large values, which lie in the value store.

A payload that refers begins with a mark, the number of its references, and a byte of flags; of each reference follow
digest and size. The rest is for clients alone. `protos/dagorama/v1/values.proto` describes it for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

#: A payload that refers to values begins with this: no pickle or JSON does, and nothing else of a client's by chance.
MARK = b"\x01values\x01"
#: It is less than this, and hardly any other payload is; to see that takes less than a call of `refers`.
ABOVE_MARK = b"\x02"
#: Of a SHA-256 (decision 0030).
DIGEST_BYTES = 32
#: A payload refers to so many values at most.
REFERENCES_MAX = 10_000
#: A size is smaller: it has to fit where sizes of files do.
SIZE_END = 2**63
#: Flags: the last reference is the rest of the payload, in the place of what would follow here.
_STREAM_IS_LAST = 1

_EDITS = b"{"
#: The first bytes of payloads, as they are stored, of which some refer to values.
MAY_REFER = (MARK[:1], _EDITS)

_first_byte: Callable[[bytes], int] = itemgetter(0)


class Reference(NamedTuple):
    """A value, by its digest, and how many bytes it has."""

    digest: bytes
    size: int


class BadReferences(Exception):
    """A payload begins as one that refers to values, and does not go on so."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"a payload begins as one that refers to values, but {reason}")


def refers(payload: bytes) -> bool:
    """Tell whether a payload, as clients send it, refers to values."""
    return payload.startswith(MARK)


def referring(payloads: Sequence[bytes]) -> list[int]:
    """Return the places of those payloads, of many, that refer to values.

    Nearly always there are none, and that is found without a step of Python for each: none begins with the mark's
    byte.
    """
    if MARK[0] not in map(_first_byte, filter(None, payloads)):
        return []
    return [at for at, payload in enumerate(payloads) if payload < ABOVE_MARK and refers(payload)]


def references_of(payload: bytes) -> Sequence[Reference]:
    """Return the references of a payload, none for one that begins in another way. Raises `BadReferences`."""
    return _read(payload, len(MARK)) if refers(payload) else ()


def stored_references(payload: bytes) -> Sequence[Reference]:
    """Return the references of a payload as it is stored: lines of edited arguments may stand before it.

    Bytes that do not read as references have none: clients of the API of dagorama 0.1 store any bytes.
    """
    at = 0
    while payload[at : at + 1] == _EDITS:
        at = payload.find(b"\n", at) + 1
        if not at:
            return ()
    if not payload.startswith(MARK, at):
        return ()
    try:
        return _read(payload, at + len(MARK))
    except BadReferences:
        return ()


def refers_stored(payload: bytes) -> bool:
    """Tell whether a payload as it is stored refers to values."""
    return payload[:1] in MAY_REFER and bool(stored_references(payload))


def _read(payload: bytes, at: int) -> list[Reference]:
    count, at = _number(payload, at)
    if not 1 <= count <= REFERENCES_MAX:
        raise BadReferences(f"it has {count} references; it must have 1 to {REFERENCES_MAX}")
    flags = payload[at : at + 1]
    if flags not in (b"\0", b"\1"):
        raise BadReferences(f"its flags are {flags.hex() or 'missing'}; they must be 00 or 01")
    at += 1
    found: dict[bytes, Reference] = {}
    for _ in range(count):
        digest = payload[at : at + DIGEST_BYTES]
        size, at = _number(payload, at + DIGEST_BYTES)
        if digest in found:
            raise BadReferences(f"it has the digest {digest.hex()} twice")
        found[digest] = Reference(digest, size)
    if flags[0] & _STREAM_IS_LAST and at != len(payload):
        raise BadReferences(f"{len(payload) - at} bytes follow, although its last reference stands for all that does")
    return list(found.values())


def _number(payload: bytes, at: int) -> tuple[int, int]:
    """Return a uvarint, in its shortest form, and the place after it."""
    number = shift = 0
    while True:
        if at >= len(payload):
            raise BadReferences("it ends in the midst of them")
        byte = payload[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if number >= SIZE_END:
            raise BadReferences("one of its numbers is too large")
        if byte < 0x80:
            if not byte and shift:
                raise BadReferences("one of its numbers is not in its shortest form")
            return number, at
        shift += 7


def write_references(references: Sequence[Reference], stream: bytes | None) -> bytes:
    """Return a payload with these references and what follows; None: the last of them stands for that."""
    header = bytearray(MARK)
    _put(header, len(references))
    header.append(0 if stream is not None else _STREAM_IS_LAST)
    for digest, size in references:
        header += digest
        _put(header, size)
    return bytes(header) + (stream or b"")


def _put(target: bytearray, number: int) -> None:
    while number > 0x7F:
        target.append(number & 0x7F | 0x80)
        number >>= 7
    target.append(number)
