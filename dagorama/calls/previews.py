"""The part of a node's value that people are shown: its type, its size, and a text of its beginning.

It is made from the stored bytes as `showing` does with arguments: nothing in them is imported, made or run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dagorama.calls.inert import Global, Items, Made, Mapping, Unknown, read_inert
from dagorama.calls.references import is_referring, total_size
from dagorama.calls.showing import CHARS_MAX, class_of, cut, escaped, promise_in, show_value


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuePreview:
    """The part of a value that can be shown. `str` of it is the text."""

    #: Such as "int", "list" or "shop.orders.Order"; empty where it cannot be told.
    type: str
    #: The size of the value as it is stored.
    bytes: int
    #: Its beginning, in one line of at most 1,000 characters, as Python would write it.
    text: str

    def __str__(self) -> str:
        """Return the text."""
        return self.text


class _Told(Protocol):
    """A node as a broker tells of it, in either form, as far as its value goes."""

    @property
    def value(self) -> bytes:
        """Return the payload, or the beginning of it."""
        ...

    @property
    def value_bytes(self) -> int:
        """Return how large the payload is; 0 where it is not given out, or there is none."""
        ...


def preview_in(told: _Told) -> ValuePreview | None:
    """Return what can be shown of a node's value; None where the broker tells nothing of it."""
    return preview_value(told.value, told.value_bytes) if told.value_bytes else None


def preview_value(payload: bytes, size: int, *, chars_max: int = CHARS_MAX) -> ValuePreview:
    """Return what can be shown of a value of so many bytes, given its payload, or the beginning of that.

    Nothing in the payload is imported or run, and nothing is raised, whatever it is.
    """
    if is_referring(payload):
        size = total_size(payload)
    elif len(payload) < size and (cut_off := _text_cut_off(payload, size)) is not None:
        text = show_value(cut_off[: chars_max // 2], chars_max - 3)
        return ValuePreview(type=type(cut_off).__name__, bytes=size, text=f"{text}...")
    found, _ = read_inert(payload)
    if len(found) != 1:
        return ValuePreview(type="", bytes=size, text="...")
    return ValuePreview(type=cut(_type_of(found[0])), bytes=size, text=show_value(found[0], chars_max))


def _text_cut_off(payload: bytes, size: int) -> str | bytes | None:
    """Return the beginning of a value that is one long text, or bytes, where only that is there; None for others.

    Such a value is one opcode with its length and its content, between the ones that begin and end the pickle.
    """
    rest = payload[2:]
    if rest[:1] == _FRAME[0]:
        rest = rest[1 + _FRAME[1] :]
    length_bytes = _LONG.get(rest[:1])
    if length_bytes is None:
        return None
    begins = 1 + length_bytes
    left = size - (len(payload) - len(rest)) - begins - int.from_bytes(rest[1:begins], "little")
    if left > len(_END):  # such as a tuple whose first item is a long text
        return None
    content = rest[begins:]
    return content.decode("utf-8", "ignore") if rest[:1] in _TEXTS else content


#: The opcode of a frame, and the size of its argument.
_FRAME = (b"\x95", 8)
#: The opcodes that end the pickle of a text: MEMOIZE and STOP.
_END = b"\x94."
#: The opcodes of texts and bytes, with the sizes of their lengths.
_LONG = {b"X": 4, b"\x8d": 8, b"B": 4, b"\x8e": 8}
_TEXTS = {b"X", b"\x8d"}


def _type_of(value: object) -> str:
    """Return the name of the type that a value would have."""
    if isinstance(value, Items):
        return value.kind
    if isinstance(value, Mapping):
        return "dict"
    if isinstance(value, Made):
        return "" if promise_in(value) else escaped(class_of(value))
    if isinstance(value, Global):
        return "type" if value.module == "builtins" else ""
    return "" if isinstance(value, Unknown) else type(value).__name__
