"""Shows the arguments of calls to people, from their payloads, without running anything that is in them.

The text is bounded, and says no more than pickle has written: `path=PosixPath('/data/a.csv'), limit=3`. It is for
reading only: objects do not get to show themselves with `repr`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Protocol

from dagorama.calls.inert import Global, Items, Large, Made, Mapping, Unknown, read_inert
from dagorama.calls.json_form import is_json, read_json
from dagorama.calls.placeholders import MODULE
from dagorama.calls.wellknown import name_of, shown_specially

#: How long the text of all arguments may be, in characters.
CHARS_MAX = 1_000
#: Of longer strings and bytes, so much of the beginning and of the end is shown.
_HEAD, _TAIL = 60, 20
#: Of longer collections, so many items of the beginning and of the end.
_FIRST, _LAST = 6, 2
_DEPTH_MAX = 6
#: So deep JSON is read.
_JSON_DEPTH_MAX = 50
#: Longer names are left out: the broker takes no more with a function.
_PARAMETERS_BYTES_MAX = 2_000
#: An integer of more bits than this is not written: that takes long, and Python refuses at 4,300 digits.
_BITS_MAX = 256

_BRACKETS = {"list": ("[", "]"), "tuple": ("(", ")"), "set": ("{", "}"), "frozenset": ("frozenset({", "})")}
_HIDDEN = "..."


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a function by their kinds."""

    places: tuple[str, ...]  #: those that take positional arguments
    further: str  #: the one that takes the positional arguments after these; empty for none


def parse_parameters(text: str) -> Parameters:
    """Return the parameters that a text such as "path, *rest, limit, **options" names."""
    places: list[str] = []
    for name in text.split(", "):
        if name.startswith("*"):
            return Parameters(tuple(places), name[1:] if not name.startswith("**") else "")
        if name:
            places.append(name)
    return Parameters(tuple(places), "")


def show_arguments(payload: bytes, parameters: str, *, redact: Collection[str] = (), chars_max: int = CHARS_MAX) -> str:
    """Return the arguments of a call as a text of at most so many characters, with `...` for those named in `redact`.

    `payload` is that of `(args, kwargs)`, or the beginning of it; `parameters` as in `FunctionSpec`. Nothing in the
    payload is imported or run, and nothing is raised, whatever it is.
    """
    positional, named, are_all = arguments_in(payload)
    is_whole = are_all
    if redact and not (is_whole and are_all and parameters):
        return _HIDDEN  # it is not sure what is what
    by_name = {name for name, _ in named}
    told = [one for one in _named(positional, parse_parameters(parameters)) if one[0] not in by_name]
    told += named
    hides = _hider(parameters, redact)
    shown = [(name, _HIDDEN if hides(name) else value) for name, value in told]
    budget = chars_max
    texts = [_argument(name, value, budget) for name, value in shown[: chars_max // 2 + 1]]
    if sum(map(len, texts)) + 2 * len(texts) > chars_max and texts:
        budget = max(8, chars_max // len(texts) - 2)
        texts = [_argument(name, value, budget) for name, value in shown[: chars_max // 2 + 1]]
    if not (is_whole and are_all):
        texts.append(_HIDDEN)
    text = ", ".join(texts)
    return text if len(text) <= chars_max else text[: chars_max - 3] + _HIDDEN


def arguments_in(payload: bytes) -> tuple[list[object], list[tuple[str, object]], bool]:
    """Return the positional arguments of a call, those by name, and whether these are all, each as it is read."""
    if is_json(payload):
        return _json_arguments(payload)
    found, is_whole = read_inert(payload)
    positional, named, are_all = _arguments(found)
    return positional, named, is_whole and are_all


def _json_arguments(payload: bytes) -> tuple[list[object], list[tuple[str, object]], bool]:
    """Return arguments that came as JSON; edited ones come by name, before the others."""
    try:
        read = read_json(payload)
    except (ValueError, RecursionError):  # such as of one that is cut off
        return [payload.partition(b"\n")[0].decode("ascii", "replace")], [], False
    if not read.rest:
        args, kwargs = list(map(_as_inert, read.args)), {**read.kwargs, **read.edits}
        return args, [(_name(name), _as_inert(value)) for name, value in kwargs.items()], True
    positional, named, are_all = arguments_in(read.rest)
    edits = {_name(name): _as_inert(value) for name, value in read.edits.items()}
    return positional, [*edits.items(), *(pair for pair in named if pair[0] not in edits)], are_all


def _as_inert(value: object, depth: int = 0) -> object:
    if not isinstance(value, (list, dict)):
        return value
    if depth >= _JSON_DEPTH_MAX:
        return Unknown()
    if isinstance(value, list):
        return Items("list", [_as_inert(one, depth + 1) for one in value])
    return Mapping([(name, _as_inert(one, depth + 1)) for name, one in value.items()])


def _hider(parameters: str, redact: Collection[str]) -> Callable[[str], bool]:
    """Return what tells whether an argument is hidden, by its name as it is shown.

    A "**" parameter stands for all arguments that only it takes.
    """
    hidden = {_name(name) for name in redact}
    names = parameters.split(", ")
    takes_rest = any(name.startswith("**") and name[2:] in redact for name in names)
    known = {_name(name.lstrip("*")) for name in names if not name.startswith("**")}
    return lambda name: name.lstrip("*") in hidden or (takes_rest and name.lstrip("*") not in known)


class _Told(Protocol):
    """A node as a broker tells of it, in either form, as far as its arguments go."""

    @property
    def inputs(self) -> str:
        """Return the text that came with the call; empty for none."""
        ...

    @property
    def arguments(self) -> bytes:
        """Return the payload, or the beginning of it."""
        ...

    @property
    def arguments_bytes(self) -> int:
        """Return how large the payload is; 0 where it is not given out."""
        ...

    @property
    def parameters(self) -> str:
        """Return the names of the parameters."""
        ...


def inputs_in(told: _Told) -> str | None:
    """Return the arguments of a node as a text; None where the broker tells nothing of them."""
    if told.inputs:
        return "".join(char if char.isprintable() else "?" for char in told.inputs)[:CHARS_MAX]
    return show_arguments(told.arguments, told.parameters) if told.arguments_bytes else None


def parameters_of(signature: inspect.Signature) -> str:
    """Return the names of a method's parameters as `parse_parameters` reads them, without the first."""
    names: list[str] = []
    marked = False
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind is Parameter.VAR_POSITIONAL or parameter.kind is Parameter.VAR_KEYWORD:
            names.append(f"{'*' if parameter.kind is Parameter.VAR_POSITIONAL else '**'}{parameter.name}")
            marked = True
            continue
        if parameter.kind is Parameter.KEYWORD_ONLY and not marked:
            names.append("*")
            marked = True
        names.append(parameter.name)
    text = ", ".join(names)
    return text if len(text.encode()) <= _PARAMETERS_BYTES_MAX else ""


def _argument(name: str, value: object, budget: int) -> str:
    prefix = f"{name}=" if name else ""
    return prefix + (_HIDDEN if value is _HIDDEN else show_value(value, max(4, budget - len(prefix))))


def _arguments(found: Sequence[object]) -> tuple[list[object], list[tuple[str, object]], bool]:
    """Return positional arguments, those by name, and whether that is all."""
    value = _without_checks(found[0]) if len(found) == 1 else None
    if isinstance(value, Items) and value.kind == "tuple" and len(value.items) == 2 and not value.is_cut:
        args, kwargs = value.items
        if isinstance(args, Items) and isinstance(kwargs, Mapping):
            return args.items, _by_name(kwargs), not (args.is_cut or kwargs.is_cut)
    args, kwargs = (found[0], found[1]) if len(found) > 1 else (found[0] if found else None, None)
    if isinstance(args, Items) and args.kind == "tuple" and not (len(found) > 1 and not isinstance(kwargs, Mapping)):
        return args.items, _by_name(kwargs) if isinstance(kwargs, Mapping) else [], False
    return list(found), [], False


def _without_checks(value: object) -> object:
    """Return a value without the checks of keys that may surround it, see `promise_keys`."""
    if isinstance(value, Made) and isinstance(value.function, Global) and value.function.name == "getitem":
        args = value.args
        if isinstance(args, Items) and len(args.items) == 2 and args.items[1] == 0:
            pair = args.items[0]
            if isinstance(pair, Items) and pair.items:
                return pair.items[0]
    return value


def _by_name(kwargs: Mapping) -> list[tuple[str, object]]:
    return [(_name(key) if isinstance(key, str) else "?", value) for key, value in kwargs.pairs]


def _name(name: str) -> str:
    return escaped(name)[:80]


def _named(values: Sequence[object], parameters: Parameters) -> Iterable[tuple[str, object]]:
    """Give positional arguments with the names of their parameters."""
    places, count = parameters.places, len(parameters.places)
    yield from zip(places, values, strict=False)
    if len(values) > count:
        if parameters.further:
            yield f"*{parameters.further}", Items("tuple", list(values[count:]))
        else:
            yield from (("", value) for value in values[count:])


def show_value(value: object, chars_max: int) -> str:
    """Return a value that `read_inert` has given as a text of at most so many characters."""
    shower = _Shower(chars_max)
    shower.show(value, 0)
    text = "".join(shower.parts)
    return text if len(text) <= chars_max else text[: max(0, chars_max - 3)] + _HIDDEN


class _Shower:
    """Writes one value. It writes something for each that it looks at, so a full text is an end."""

    def __init__(self, chars_max: int) -> None:
        self.parts: list[str] = []
        self._left = chars_max
        self._within: set[int] = set()  #: what is being shown: a value that is part of itself is not shown again

    def write(self, text: str) -> None:
        """Write a text."""
        self.parts.append(text)
        self._left -= len(text)

    def show(self, value: object, depth: int) -> None:
        """Write a value."""
        if self._left <= 0:
            return
        if isinstance(value, (Items, Mapping, Made)):
            if id(value) in self._within or depth >= _DEPTH_MAX:
                self.write(_HIDDEN)
                return
            self._within.add(id(value))
            try:
                self._show_whole(value, depth)
            finally:
                self._within.discard(id(value))
        else:
            self.write(_scalar(value))

    def _show_whole(self, value: Items | Mapping | Made, depth: int) -> None:
        if isinstance(value, Items):
            before, after = _BRACKETS.get(value.kind, ("(", ")"))
            if not value.items and value.kind in ("set", "frozenset"):
                before, after = f"{value.kind}(", ")"
            elif value.kind == "tuple" and len(value.items) == 1 and not value.is_cut:
                after = ",)"
            self.write(before)
            self._show_items(value.items, value.is_cut, depth)
            self.write(after)
        elif isinstance(value, Mapping):
            self.write("{")
            self._show_pairs(value.pairs, value.is_cut, depth)
            self.write("}")
        else:
            self._show_made(value, depth)

    def _show_items(self, items: Sequence[object], is_cut: bool, depth: int) -> None:
        self._show_each(items, is_cut, lambda item: self.show(item, depth + 1))

    def _show_pairs(self, pairs: Sequence[tuple[object, object]], is_cut: bool, depth: int) -> None:
        def show(pair: object) -> None:
            assert isinstance(pair, tuple)
            self.show(pair[0], depth + 1)
            self.write(": ")
            self.show(pair[1], depth + 1)

        self._show_each(pairs, is_cut, show)

    def _show_each(self, items: Sequence[object], is_cut: bool, show: Callable[[object], None]) -> None:
        """Write the first and the last of some items, and how many are left out."""
        count = len(items)
        shown: list[object] = list(items)
        if count > _FIRST + _LAST + 1:
            left_out = f"...{count - _FIRST - _LAST:,} more..."
            shown = [*items[:_FIRST], _LeftOut(left_out), *items[count - _LAST :]]
        for place, item in enumerate(shown):
            if self._left <= 0:
                return
            if place:
                self.write(", ")
            if isinstance(item, _LeftOut):
                self.write(item.text)
            else:
                show(item)
        if is_cut:
            self.write(", ..." if shown else _HIDDEN)

    def _show_made(self, made: Made, depth: int) -> None:
        if (part := _stored_part(made)) is not None:
            self.show(part[0], depth)
            self.write(cut(escaped(part[1])))
            return
        special = promise_in(made) or shown_specially(made)
        if special:
            self.write(cut(escaped(special)))
            return
        name, args = _class_and_args(made)
        self.write(f"{escaped(cut(name))}(")
        shown: list[tuple[str, object]] = [("", arg) for arg in args]
        if isinstance(made.kwargs, Mapping):
            shown += _by_name(made.kwargs)
        shown += _fields(made.state)
        if made.items:
            shown.append(("", Items("list", made.items)))
        if made.pairs:
            shown.append(("", Mapping(made.pairs)))

        def show(field: object) -> None:
            assert isinstance(field, tuple)
            if field[0]:
                self.write(f"{field[0]}=")
            self.show(field[1], depth + 1)

        self._show_each(shown, False, show)
        self.write(")")


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """Stands for items that are not shown."""

    text: str


def class_of(made: Made) -> str:
    """Return the name of the class of an object, without its module."""
    special = shown_specially(made)
    if not special:
        return _class_and_args(made)[0]
    return special.partition("(")[0] if "(" in special else special.rpartition(".")[0]


def _class_and_args(made: Made) -> tuple[str, list[object]]:
    """Return the name of the class or function that makes an object, and the arguments that it gets."""
    args = list(made.args.items) if isinstance(made.args, Items) else [made.args]
    function = made.function
    if isinstance(function, Global) and function.module in ("copyreg", "copy_reg") and args:
        if function.name == "_reconstructor":  # of protocols 0 and 1: class, base, its value
            return name_of(args[0]), [] if len(args) < 3 or args[2] is None else [args[2]]
        if function.name in ("__newobj__", "__newobj_ex__"):
            return name_of(args[0]), args[1:]
    return name_of(function), args


def _fields(state: object) -> list[tuple[str, object]]:
    """Return what an object's state has, by name where it has names."""
    if isinstance(state, Items) and state.kind == "tuple" and len(state.items) == 2:
        inner, slots = state.items  # as Python makes it of objects with __slots__
        if (inner is None or isinstance(inner, Mapping)) and isinstance(slots, Mapping):
            return [*_fields(inner), *_fields(slots)]
    if isinstance(state, Mapping):
        inner = next((value for key, value in state.pairs if key == "__dict__"), None)
        if isinstance(inner, Mapping):  # as pydantic makes it
            return _fields(inner)
        return _by_name(state)
    return [] if state is None else [("", state)]


def promise_in(made: Made) -> str:
    """Return a promise as a text; empty for anything else."""
    function, args = made.function, made.args
    if not isinstance(function, Global) or function.module != MODULE or not isinstance(args, Items) or not args.items:
        return ""
    node_id = args.items[0]
    if not isinstance(node_id, bytes):
        return ""
    return f"<node {node_id.hex()[-12:]}>" + _path_in(args)


def _stored_part(made: Made) -> tuple[object, str] | None:
    """Return a value that was put, and the path to the part of it that is meant; None for anything else."""
    function, args = made.function, made.args
    is_one = isinstance(function, Global) and (function.module, function.name) == (MODULE, "stored_part")
    return (args.items[0], _path_in(args)) if is_one and isinstance(args, Items) and args.items else None


def _path_in(args: Items) -> str:
    """Return the path into a value as a text, empty where there is none."""
    text = ""
    path = args.items[1] if len(args.items) > 1 else None
    for step in path.items if isinstance(path, Items) else ():
        if isinstance(step, Items) and len(step.items) == 2:
            kind, key = step.items
            text += f".{key}" if kind == "." else f"[{_scalar(key)}]"
    return text


def _scalar(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() <= _BITS_MAX else f"<an integer of {value.bit_length():,} bits>"
    if isinstance(value, str):
        return f"'{_middle_out(value)}'" if len(value) > _HEAD + _TAIL + 20 else _quoted(value)
    if isinstance(value, (bytes, bytearray)):
        if len(value) <= _HEAD + 20:
            return repr(bytes(value))
        head, tail = repr(bytes(value[:30]))[:-1], repr(bytes(value[-10:]))[2:]
        return f"{head}...{len(value) - 40:,} more...{tail}"
    if isinstance(value, Global):
        return escaped(value.name if value.module == "builtins" else f"{value.module}.{value.name}")
    if isinstance(value, Large):
        return f"<{value.size:,} bytes>"
    if isinstance(value, Unknown):
        return "?"
    return repr(value)


def _middle_out(text: str) -> str:
    return f"{escaped(text[:_HEAD])}...{len(text) - _HEAD - _TAIL:,} more...{escaped(text[-_TAIL:])}"


def _quoted(text: str) -> str:
    return repr(text).encode("utf-8", "backslashreplace").decode()


def escaped(text: str) -> str:
    """Return a text in which nothing moves a cursor: as `repr` writes it, without the quotes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in text
    )


def cut(text: str, chars_max: int = 200) -> str:
    """Return a text without its middle where it is longer than that."""
    return text if len(text) <= chars_max else f"{text[: chars_max - 30]}...{text[-27:]}"
