"""Kinds of things that a request says: how each is read, and how a schema describes it. All refuse in the same way."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from dagorama.options import (
    KEY_LENGTH_MAX,
    TAG_NAME_LENGTH_MAX,
    TAG_VALUE_LENGTH_MAX,
    TAGS_MAX,
    checked_key,
    checked_name,
    checked_tags,
)

Schema = Mapping[str, Any]

#: The way in which ids are written.
ID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
#: Longer texts are none that is looked for.
TEXT_MAX = 1000


class Kind(ABC):
    """A kind of value. Each is read from JSON; from the text of an address, as `of_text` makes JSON of it."""

    @property
    @abstractmethod
    def schema(self) -> Schema:
        """Return the JSON schema of its values."""

    @abstractmethod
    def read(self, name: str, value: object) -> Any:
        """Return a value that JSON has; raise `ValueError` for what is none, in words that follow its name."""

    def of_text(self, text: str) -> object:
        """Return what JSON would have in the place of a text."""
        return text


@dataclass(frozen=True)
class Id(Kind):
    """The id of an instance or a node."""

    @property
    def schema(self) -> Schema:
        """Return the way in which it is written."""
        return {"type": "string", "format": "uuid", "pattern": ID}

    def read(self, name: str, value: object) -> UUID:
        """Return an id that is written as a UUID with dashes."""
        if not isinstance(value, str) or not re.fullmatch(ID, value):
            raise ValueError(f"must be an id, a UUID such as 01a2198d-1e4f-7388-9c20-dfb0513dbb11, not {_short(value)}")
        return UUID(value)


@dataclass(frozen=True)
class Text(Kind):
    """A text of a bounded length."""

    least: int = 0
    most: int = TEXT_MAX

    @property
    def schema(self) -> Schema:
        """Return its bounds."""
        return {"type": "string", "maxLength": self.most} | ({"minLength": self.least} if self.least else {})

    def read(self, name: str, value: object) -> str:
        """Return a text that can be written as UTF-8."""
        if not isinstance(value, str) or not self.least <= len(value) <= self.most:
            least = f"{self.least} to " if self.least else ""
            raise ValueError(f"must be a text of {least}{self.most} letters at most, not {_short(value)}")
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError("must be text that can be written as UTF-8, without halves of letters")
        return value


@dataclass(frozen=True)
class Name(Text):
    """The name of a function, a definition or a queue."""

    least: int = 1

    def read(self, name: str, value: object) -> str:
        """Return a name."""
        return checked_name(name, super().read(name, value))


@dataclass(frozen=True)
class Key(Text):
    """The key that an instance is started once under."""

    least: int = 1
    most: int = KEY_LENGTH_MAX

    def read(self, name: str, value: object) -> str:
        """Return a key."""
        return checked_key(super().read(name, value))


@dataclass(frozen=True)
class Word(Kind):
    """One of some words."""

    words: tuple[str, ...]

    @property
    def schema(self) -> Schema:
        """Return the words."""
        return {"type": "string", "enum": list(self.words)}

    def read(self, name: str, value: object) -> str:
        """Return one of the words."""
        if value not in self.words:
            raise ValueError(f"must be one of {', '.join(self.words)}, not {_short(value)}")
        return str(value)


@dataclass(frozen=True)
class Number(Kind):
    """A whole number within bounds; `has_null` where null is one, too."""

    least: int
    most: int
    has_null: bool = False

    @property
    def schema(self) -> Schema:
        """Return the bounds."""
        number = {"type": "integer", "minimum": self.least, "maximum": self.most}
        return {"anyOf": [number, {"type": "null"}]} if self.has_null else number

    def read(self, name: str, value: object) -> int | None:
        """Return a number."""
        if value is None and self.has_null:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            or_null = ", or null" if self.has_null else ""
            raise ValueError(f"must be a whole number from {self.least} to {self.most}{or_null}, not {_short(value)}")
        return value

    def of_text(self, text: str) -> object:
        """Return the number that a text is."""
        return int(text) if re.fullmatch("-?[0-9]{1,19}", text) else text


@dataclass(frozen=True)
class Seconds(Kind):
    """A length of time."""

    most: float

    @property
    def schema(self) -> Schema:
        """Return the bounds."""
        return {"type": "number", "minimum": 0, "maximum": self.most}

    def read(self, name: str, value: object) -> float:
        """Return a length of time."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= self.most:
            raise ValueError(f"must be a number of seconds from 0 to {self.most:g}, not {_short(value)}")
        return float(value)

    def of_text(self, text: str) -> object:
        """Return the number that a text is."""
        return float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else text


@dataclass(frozen=True)
class Flag(Kind):
    """Yes or no."""

    @property
    def schema(self) -> Schema:
        """Return its type."""
        return {"type": "boolean"}

    def read(self, name: str, value: object) -> bool:
        """Return yes or no."""
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {_short(value)}")
        return value

    def of_text(self, text: str) -> object:
        """Return the word that JSON has."""
        return {"true": True, "false": False}.get(text, text)


@dataclass(frozen=True)
class Time(Kind):
    """A moment."""

    @property
    def schema(self) -> Schema:
        """Return the way in which it is written."""
        return {"type": "string", "format": "date-time"}

    def read(self, name: str, value: object) -> datetime:
        """Return a time with a zone."""
        try:
            time = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            time = None
        if time is None or time.utcoffset() is None:
            raise ValueError(f"must be a time with its zone, such as 2026-03-01T17:00:00Z, not {_short(value)}")
        return time


@dataclass(frozen=True)
class Several(Kind):
    """Values of a kind: a list in JSON, a parameter that may be repeated in an address."""

    of: Kind
    most: int = 100

    @property
    def schema(self) -> Schema:
        """Return that of the kind."""
        return {"type": "array", "items": self.of.schema, "maxItems": self.most}

    def read(self, name: str, value: object) -> list[Any]:
        """Return the values."""
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > self.most:
            raise ValueError(f"must be a list of {self.most} at most, not {_short(value)}")
        return [self.of.read(name, each) for each in value]


@dataclass(frozen=True)
class Tags(Kind):
    """Tags by their names, in a body; an address has a `Pair` for each."""

    @property
    def schema(self) -> Schema:
        """Return the bounds of names and values."""
        return {
            "type": "object",
            "additionalProperties": {"type": "string", "maxLength": TAG_VALUE_LENGTH_MAX},
            "propertyNames": {"minLength": 1, "maxLength": TAG_NAME_LENGTH_MAX},
            "maxProperties": TAGS_MAX,
        }

    def read(self, name: str, value: object) -> dict[str, str]:
        """Return tags."""
        return dict(checked_tags(value))


@dataclass(frozen=True)
class Pair(Kind):
    """A tag in an address."""

    @property
    def schema(self) -> Schema:
        """Return the bounds of name and value."""
        return {"type": "string", "pattern": f"^[^=]{{1,{TAG_NAME_LENGTH_MAX}}}=.{{0,{TAG_VALUE_LENGTH_MAX}}}$"}

    def read(self, name: str, value: object) -> tuple[str, str]:
        """Return the name and value of a tag."""
        tag, equals, text = str(value).partition("=")
        if not equals:
            raise ValueError(f"must be a tag as name=value, not {_short(value)}")
        ((tag, text),) = checked_tags({tag: text})
        return tag, text


@dataclass(frozen=True)
class Arguments(Kind):
    """The arguments of a call, by name or in order, of anything that JSON has."""

    @property
    def schema(self) -> Schema:
        """Return both of its types."""
        return {"anyOf": [{"type": "object"}, {"type": "array"}]}

    def read(self, name: str, value: object) -> dict[str, object] | list[object]:
        """Return the arguments."""
        if not isinstance(value, (dict, list)):
            raise ValueError(f"must be an object or a list, not {_short(value)}")
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("must be text that can be written as UTF-8, without halves of letters") from None
        return value


def _short(value: object) -> str:
    """Return a value for people, the beginning of a long one."""
    shown = repr(value)
    return shown if len(shown) <= 100 else f"{shown[:99]}…"
