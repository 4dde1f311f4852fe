"""Objects of many kinds that can hold promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import attrs
import pydantic


@dataclass(frozen=True)
class Data:
    """A frozen dataclass."""

    part: Any
    rest: int = 0


@dataclass(slots=True)
class Slotted:
    """A dataclass without `__dict__`."""

    part: Any


class Named(NamedTuple):
    """A named tuple."""

    part: Any
    rest: int = 0


@attrs.frozen
class Attrs:
    """A class of attrs, frozen and slotted."""

    part: Any


class Model(pydantic.BaseModel):
    """A pydantic model."""

    part: Any
    rest: int = 0


class Plain:
    """An ordinary object."""

    def __init__(self, part: Any) -> None:
        """Holds the part."""
        self.part = part

    def __eq__(self, other: object) -> bool:
        """Equal by what it holds."""
        return isinstance(other, Plain) and other.part == self.part

    __hash__ = None  # type: ignore[assignment] # it can be changed


#: Makes an object of each kind around a part that can be hashed.
AROUND = {
    "itself": lambda part: part,
    "list": lambda part: [1, part],
    "tuple": lambda part: (part, 1),
    "set": lambda part: {part, 1},
    "frozenset": lambda part: frozenset({part}),
    "dict value": lambda part: {"k": part},
    "dict key": lambda part: {part: "v"},
    "dataclass": Data,
    "slotted dataclass": Slotted,
    "named tuple": Named,
    "attrs": Attrs,
    "pydantic": lambda part: Model(part=part),
    "object": Plain,
    "nested": lambda part: {"a": [Data({"b": (Named({part}),)})]},
}
