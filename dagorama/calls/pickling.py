"""Pickling in pieces: large buffers leave the stream, and are neither copied nor looked at.

Objects with buffers (arrays, tables) hand these out by themselves, in protocol 5 (PEP 574). Large `bytes`, `bytearray`
and `str` do not; but pickle writes each of them to its file as it is, in a piece of its own behind an opcode with its
length, and begins a new frame (PEP 3154) after it. So here such a piece becomes a buffer, and the opcode before it a
call that makes the object of one: `bytes(buffer)`. The result is an ordinary pickle with out-of-band buffers.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from dagorama.calls.references import ORDER_BYTES_MAX, REFERENCES_MAX, BadReferences, read_order

PROTOCOL = 5

#: Anything with the bytes of a value, or a part of one.
Buffer = Any

#: A piece of this many bytes, or more, pickle writes as it is.
_PIECE_BYTES = 64 * 1024

_FRAME = 0x95
_FRAME_HEAD_BYTES = 9
#: Fewer bytes than this have no frame.
_UNFRAMED_BYTES_MAX = 3

_NEXT_BUFFER = b"\x97"


def _builtin(name: str) -> bytes:
    return b"\x8c\x08builtins" + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93"


def _text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


_BYTES_MAKER = _builtin("bytes") + _NEXT_BUFFER + b"\x85R"

#: By the opcode of an object: the size of its length, and what makes the object of a buffer.
_MAKERS = {
    ord("B"): (4, _BYTES_MAKER),
    0x8E: (8, _BYTES_MAKER),
    0x96: (8, _builtin("bytearray") + _NEXT_BUFFER + b"\x85R"),
    ord("X"): (4, _builtin("str") + _NEXT_BUFFER + _text("utf-8") + _text("surrogatepass") + b"\x87R"),
    0x8D: (8, _builtin("str") + _NEXT_BUFFER + _text("utf-8") + _text("surrogatepass") + b"\x87R"),
}


class Pieces(NamedTuple):
    """A pickle in pieces, and the buffers that it needs, in their order."""

    stream: list[Buffer]
    buffers: list[Buffer]


class Pickling:
    """Pickles one value after another. For one thread at a time; after an error it is of no use any more."""

    __slots__ = ("_places", "buffers", "clear", "dump", "inline_max", "memory_bytes", "pieces", "write")

    def __init__(self, inline_max: int) -> None:
        """Leave buffers of more than `inline_max` bytes out of the stream."""
        self.inline_max = inline_max
        self.pieces: list[Buffer] = []  #: of the stream, as they are written
        self.buffers: list[pickle.PickleBuffer] = []
        self._places: list[int] = []  #: of each buffer, how many pieces were written before
        self.write = self.pieces.append
        pickler = pickle.Pickler(cast(Any, self), PROTOCOL, buffer_callback=self.stays)
        #: Pickles a value; `take` gives what came of it.
        self.dump = pickler.dump
        #: Lets go of the value. The table of its objects is emptied, and stays as large as it has become.
        self.clear = pickler.clear_memo
        #: Tells how much memory it takes between two values: that table.
        self.memory_bytes = pickler.__sizeof__

    def stays(self, buffer: pickle.PickleBuffer) -> bool:
        """Return whether a buffer stays in the stream; else take it."""
        with buffer.raw() as view:
            if view.nbytes <= self.inline_max or len(self.buffers) >= REFERENCES_MAX - 1:
                return True
        self.buffers.append(buffer)
        self._places.append(len(self.pieces))
        return False

    def take(self) -> Pieces | bytes:
        """Return what was pickled, which is one piece where nothing of it is large."""
        pieces = self.pieces
        if len(pieces) == 1 and not self.buffers:
            return cast(bytes, pieces.pop())
        parts = Pieces(pieces[:], [])
        placed = list(zip(self._places, self.buffers, strict=True))
        for place in range(1, len(pieces)):
            parts_left = REFERENCES_MAX - 1 - len(placed)
            if parts_left > 0 and (buffer := self._buffer_at(parts.stream, place)) is not None:
                placed.append((place, buffer))
        placed.sort(key=lambda one: one[0])
        parts.buffers.extend(buffer for _, buffer in placed)
        # The text of strings is theirs: it goes with them.
        parts.stream[:] = [bytes(piece) if type(piece) is memoryview else piece for piece in parts.stream]
        pieces.clear()
        self.buffers.clear()
        self._places.clear()
        return parts

    def _buffer_at(self, stream: list[Buffer], place: int) -> Buffer | None:
        """Return the large object that is a piece of the stream, taken out of that; None for any other piece."""
        piece = stream[place]
        size = size_of(piece)
        if size < _PIECE_BYTES or size <= self.inline_max:
            return None
        before = stream[place - 1]
        maker = _maker_before(before, size)
        if maker is None:
            return None
        head_bytes, makes = maker
        stream[place - 1] = before[:-head_bytes] + makes
        stream[place] = b""
        return bytes(piece) if type(piece) is memoryview else piece


class Copying:
    """A file for a pickler that does not outlive its texts: pickle writes these as memory that is theirs."""

    def __init__(self, pickling: Pickling) -> None:
        """Put pieces among those of `pickling`."""
        self._pieces = pickling.pieces

    def write(self, piece: Buffer) -> None:
        """Take the next piece."""
        self._pieces.append(bytes(piece) if type(piece) is memoryview else piece)


def _maker_before(piece: Buffer, size: int) -> tuple[int, bytes] | None:
    """Return the length of the opcode that a piece ends with, if it is that of an object of so many bytes, and what
    makes that of a buffer.
    """
    if type(piece) is not bytes:
        return None
    place = 2 if piece[:1] == b"\x80" else 0
    while place < len(piece) and piece[place] == _FRAME:
        place += _FRAME_HEAD_BYTES + int.from_bytes(piece[place + 1 : place + _FRAME_HEAD_BYTES], "little")
    # All that is behind the frames are a few bytes too few for one, and the opcode.
    for opcode, (length_bytes, makes) in _MAKERS.items():
        begins = len(piece) - 1 - length_bytes
        if (
            place <= begins <= place + _UNFRAMED_BYTES_MAX
            and piece[begins] == opcode
            and int.from_bytes(piece[begins + 1 :], "little") == size
        ):
            return 1 + length_bytes, makes
    return None


def are_bytes(stream: bytes, count: int) -> bool:
    """Return whether of each buffer of a stream, which has so many different ones, nothing but `bytes` is made.

    Texts that look like that may be in the stream, too. Then it may have one buffer, as `bytes`, that is for something
    else, which has the same bytes.
    """
    try:
        places, _ = read_order(stream[:ORDER_BYTES_MAX])
    except BadReferences:
        return False
    return stream.count(_BYTES_MAKER) == (count if places is None else len(places))


def size_of(buffer: Buffer) -> int:
    """Return how many bytes there are in a buffer."""
    if type(buffer) is bytes:
        return len(buffer)
    with memoryview(buffer) as view:
        return view.nbytes


def unpickled(stream: Buffer, buffers: Sequence[Buffer]) -> Any:
    """Return the value of a pickle whose buffers are elsewhere."""
    return pickle.loads(stream, buffers=buffers)
