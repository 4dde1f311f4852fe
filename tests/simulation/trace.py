"""What has happened, in order, as lines and as one hash over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import sha256
from typing import Any

from dagorama.worker.shell.held import Held
from dagorama_broker.core.model.entities import Function, Instance, Node, Worker
from dagorama_broker.core.model.values import FunctionSpec

#: The last lines are told where a simulation fails.
_TOLD = 40


class Trace:
    """Takes lines, each with its time."""

    def __init__(self, now: Callable[[], float], write: Callable[[str], object] | None = None) -> None:
        """Have `write` get each line, too."""
        self._now = now
        self._write = write
        self._hash = sha256()
        self._last: list[str] = []
        self.count = 0

    def note(self, who: str, what: object) -> None:
        """Take down what somebody does, decides or hears."""
        line = f"{self._now():.6f} {who} {what if isinstance(what, str) else describe(what)}"
        self._hash.update(f"{line}\n".encode())
        self.count += 1
        self._last.append(line)
        if len(self._last) >= 2 * _TOLD:
            del self._last[:_TOLD]
        if self._write is not None:
            self._write(line)

    @property
    def digest(self) -> str:
        """Return the hash over all lines."""
        return self._hash.hexdigest()

    def end(self) -> str:
        """Return the last lines."""
        return "\n".join(self._last[-_TOLD:])


def describe(thing: object) -> str:
    """Describe a thing by all that it says, and by no address, hash or place in a set."""
    match thing:
        case Node():
            return f"{thing.id.hex()[-8:]}@{thing.seq}"
        case Held():
            return f"{thing.node_id.hex()[-8:]}:{thing.token}"
        case Instance() | Worker():
            return thing.id.hex()[-8:]
        case Function():
            return thing.spec.name
        case FunctionSpec():
            return thing.name
        case Enum():
            return thing.name
        case bytes():
            return thing.hex() if len(thing) <= 16 else sha256(thing).hexdigest()[:16]
        case set() | frozenset():
            return "{" + ", ".join(sorted(map(describe, thing))) + "}"
        case Mapping():
            return "{" + ", ".join(f"{describe(key)}: {describe(value)}" for key, value in thing.items()) + "}"
        case tuple() | list():
            names = getattr(thing, "_fields", None)
            if names is not None:
                return _record(thing, dict(zip(names, thing, strict=True)))
            return "[" + ", ".join(map(describe, thing)) + "]"
    if is_dataclass(thing) and not isinstance(thing, type):
        return _record(thing, {field.name: getattr(thing, field.name) for field in fields(thing)})
    if thing is None or isinstance(thing, str | int | float):
        return repr(thing)
    return type(thing).__name__


def _record(thing: object, values: dict[str, Any]) -> str:
    told = ", ".join(f"{name}={describe(value)}" for name, value in values.items())
    return f"{type(thing).__name__}({told})"
