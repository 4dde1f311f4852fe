"""Trees: the content of a jobs file with its lines, the same for JSON and YAML.

A scalar keeps the text that the file has. So an argument such as `010`, `1.50` or `yes` reaches its command as it was
written, and not as a number or a truth value that some reader has made of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, TypeAlias

from dagorama.workflows.problems import quoted

#: Lists and objects may stand so deep in each other.
DEPTH_MAX = 40
#: So much is shown of what stands where a text cannot be read.
_SHOWN_CHARS = 20


class Kind(Enum):
    """Kinds of scalars."""

    TEXT = "a text"
    NUMBER = "a number"
    TRUTH = "true or false"
    NULL = "nothing"
    MERGE = "a merge key"  #: `<<` in YAML, where it is not in quotes; as a value it is a text


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value, as it is written."""

    line: int
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    line: int
    items: list[Tree] = field(default_factory=list)


class Entry(NamedTuple):
    """The value of a key."""

    line: int  #: of the key
    value: Tree


@dataclass(frozen=True, slots=True)
class Fields:
    """An object, or mapping."""

    line: int
    entries: dict[str, Entry] = field(default_factory=dict)


Tree: TypeAlias = Scalar | Items | Fields


class CannotRead(Exception):
    """A text is not of the format, or has more than is read of any file."""

    def __init__(self, line: int, text: str, way_out: str) -> None:
        """Take the line, what is wrong there, and the way out."""
        super().__init__(line, text, way_out)
        self.line = line
        self.text = text
        self.way_out = way_out


def before_what(text: str, place: int) -> str:
    """Say what stands at a place of a text, for a line that may be very long; nothing at the end of the text."""
    here = text[place : place + _SHOWN_CHARS].partition("\n")[0].rstrip()
    return f", before {quoted(here)}" if here else ""


class BeyondBounds(CannotRead):
    """A text has more than is read of any file; no other format would make it less."""


def check_depth(depth: int, line: int) -> None:
    """Raise `BeyondBounds` for what stands too deep."""
    if depth > DEPTH_MAX:
        raise BeyondBounds(line, f"lists and objects stand more than {DEPTH_MAX} deep in each other", "flatten them")


def described(tree: Tree) -> str:
    """Say what a value is."""
    match tree:
        case Scalar(kind=kind):
            return kind.value
        case Items():
            return "a list"
        case Fields():
            return "an object"
