"""The rows of the API: an operation with its parameters, its answer, and the function that carries it out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from dagorama.ui.api.kinds import Kind
from dagorama.ui.errors import BadInput

#: Where the API is.
PREFIX = "/api/v1"
JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Something that a request says: in its path, its query or its body."""

    name: str
    kind: Kind
    #: What it is, in a sentence without an end.
    about: str
    #: In place of it where it is not given.
    default: Any = None
    is_required: bool = False

    def read(self, value: object) -> Any:
        """Return the value that was given, as JSON has it; raise `BadInput` for one that cannot be."""
        try:
            return self.kind.read(self.name, value)
        except ValueError as error:
            raise BadInput(self.name, str(error)) from None


@dataclass(frozen=True, slots=True)
class Asked:
    """The fields of a request, by name. A field that is not given has its default."""

    fields: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        """Return a field."""
        return self.fields[name]


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked of the API."""

    #: Its id, for programs that make clients of the description.
    name: str
    #: Below `prefix`.
    path: str
    #: What it does, in an imperative without an end.
    summary: str
    carry_out: Callable[[Asked], Awaitable[object]]
    _: KW_ONLY
    prefix: str = PREFIX
    #: "POST" for what changes something, or "DELETE".
    method: str = "GET"
    #: The component that it answers with; of `members`, an object with these.
    answer: str = ""
    members: Mapping[str, Any] | None = None
    #: What it answers with; for anything but JSON `carry_out` gives the whole response.
    media_type: str = JSON
    query: tuple[Field, ...] = ()
    body: tuple[Field, ...] = ()
    #: More about it, for people.
    about: str = ""
    #: The statuses of its refusals, beside those that all have, and those of all with such a path, query or body.
    refusals: tuple[int, ...] = ()
