"""The arguments of a node as somebody sees them who would run it again with others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from dagorama.calls.inert import Items, Made
from dagorama.calls.inert import Mapping as InertMapping
from dagorama.calls.showing import arguments_in, parse_parameters, promise_in, show_value

#: Of one argument so many characters are shown; and as JSON so much of it, or none.
SHOWN_CHARS_MAX, JSON_CHARS_MAX = 300, 10_000
#: So many are told of, and so deep in each other.
_ARGUMENTS_MAX, _DEPTH_MAX = 200, 20
#: Of a value of more parts no JSON is made: it would be longer than `JSON_CHARS_MAX`.
_PARTS_MAX = 5_000
#: Of what is edited so much is kept for people.
EDITS_SHOWN_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentInfo:
    """An argument of a node."""

    #: That of the parameter; empty where it is not known.
    name: str
    #: Its beginning, as Python would write it.
    text: str
    #: The whole as JSON, to be edited; None where it is none, or long.
    json: str | None
    #: Whether it is the value of another node, or has one in it, and so cannot be edited.
    is_promise: bool


class NodeArguments(tuple[ArgumentInfo, ...]):
    """The arguments of a node, in order, as far as the broker gives them out."""

    #: Whether these are all, and each is known by its name.
    is_whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentsTold:
    """The arguments of a node as a broker tells of them."""

    #: The payload, or the beginning of it, and how large it is; 0 where it is not given out.
    arguments: bytes
    arguments_bytes: int
    #: The names of the parameters, as in `FunctionSpec`.
    parameters: str


def arguments_told(told: ArgumentsTold) -> NodeArguments:
    """Return the arguments that a broker tells of; none where they are hidden."""
    if not told.arguments_bytes:
        return NodeArguments()
    positional, named, are_all = arguments_in(told.arguments)
    places = parse_parameters(told.parameters).places
    names = [*places, *([""] * len(positional))]
    pairs = [*zip(names, positional, strict=False)]
    edited = {name for name, _ in named}
    found = [_argument(name, value) for name, value in [*((n, v) for n, v in pairs if n not in edited), *named]]
    arguments = NodeArguments(found[:_ARGUMENTS_MAX])
    arguments.is_whole = are_all and len(told.arguments) == told.arguments_bytes and len(found) == len(arguments)
    return arguments


def _argument(name: str, value: object) -> ArgumentInfo:
    is_promise = _has_promise(value)
    text = None if is_promise else _json(value)
    return ArgumentInfo(name=name, text=show_value(value, SHOWN_CHARS_MAX), json=text, is_promise=is_promise)


def _has_promise(value: object) -> bool:
    """Return whether a value is a promise or has one in it; parts that are shared are looked at once."""
    seen: set[int] = set()
    left = [value]
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Made) and promise_in(part):
            return True
        left.extend(_parts(part))
    return False


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, Made):
        return [value.args, value.kwargs, value.state, *value.items, *chain.from_iterable(value.pairs)]
    if isinstance(value, Items):
        return value.items
    return chain.from_iterable(value.pairs) if isinstance(value, InertMapping) else ()


def _json(value: object) -> str | None:
    try:
        text = json.dumps(_Plainer().plain(value, 0))
    except (TypeError, ValueError):
        return None
    return text if len(text) <= JSON_CHARS_MAX else None


class _Plainer:
    """Makes one value plain, of so many parts at most: a shared part counts each time."""

    def __init__(self) -> None:
        self._left = _PARTS_MAX

    def plain(self, value: object, depth: int) -> object:
        """Return a value as JSON has it; raise `TypeError` for what it does not."""
        self._left -= 1
        if depth > _DEPTH_MAX or self._left < 0:
            raise TypeError("too deep, or too much")
        if value is None or isinstance(value, (str, bool, int, float)):
            return value
        if isinstance(value, Items) and value.kind in ("list", "tuple") and not value.is_cut:
            return [self.plain(part, depth + 1) for part in value.items]
        if isinstance(value, InertMapping) and not value.is_cut and _is_named(value):
            return {str(name): self.plain(part, depth + 1) for name, part in value.pairs}
        raise TypeError(type(value).__name__)


def _is_named(mapping: InertMapping) -> bool:
    return all(isinstance(name, str) for name, _ in mapping.pairs)


def check_edits(edits: Mapping[str, object], known: NodeArguments, parameters: Sequence[str]) -> None:
    """Raise `TypeError` or `ValueError` for arguments that a node cannot be run again with.

    `known` are its arguments and `parameters` the names of all that it could have, both as far as they are known.
    """
    for name in edits:
        if not isinstance(name, str) or not name.isidentifier():
            raise TypeError(f"arguments must be given by the names of parameters, and {name!r} is none")
        takes_any = any(one.startswith("**") for one in parameters)
        if parameters and not takes_any and name not in parameters and f"*{name}" not in parameters:
            shown = ", ".join(one for one in parameters if one != "*")
            raise TypeError(f"there is no parameter {name!r}; it has {shown}")
    further = [name for name in edits if f"*{name}" in parameters]  # its arguments have no names
    for argument in known:
        if argument.is_promise and (argument.name in edits or (further and not argument.name)):
            told = argument.name or f"one of {further[0]}"
            raise ValueError(
                f"{told} is the value of another node, {argument.text}, so it cannot be edited: run that node "
                "again, or start a new instance"
            )


def show_edits(edits: Mapping[str, object], *, are_hidden: bool) -> str:
    """Return edits for the history: all of them, or their names where the arguments are not to be shown."""
    if are_hidden:
        text = ", ".join(f"{name}=..." for name in edits)
    else:
        text = ", ".join(f"{name}={json.dumps(value, default=str)}" for name, value in edits.items())
    return text if len(text) <= EDITS_SHOWN_MAX else f"{text[: EDITS_SHOWN_MAX - 3]}..."
