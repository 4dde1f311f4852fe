"""The labels of nodes: short texts for people, made of a format over the arguments of the call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from reprlib import Repr
from string import Formatter
from typing import Any, NamedTuple

from dagorama.calls.misuse import has_promise
from dagorama.calls.payload import encode_if_possible
from dagorama.calls.placeholders import STORED

#: Longer ones lose their middle.
LABEL_CHARS_MAX = 200
#: Takes the place of a part of a label that cannot be made.
UNKNOWN = "?"
#: As wide, or as precise, a format may make a value.
_WIDTH_MAX = 1_000
#: What has no end that anybody would read is written no further than this.
_PLAIN_CHARS_MAX = 10 * LABEL_CHARS_MAX

_short = Repr()
_short.maxstring = _short.maxother = _short.maxlong = LABEL_CHARS_MAX
_formatter = Formatter()
#: Values of these types have no promise in them, and need not be looked through for one.
_ATOMS = frozenset({str, int, float, bool, bytes, type(None)})
#: Values of these types are formatted as `str` writes them.
_PLAIN = frozenset({str, int})
_SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset)


def checked_label(label: object) -> str:
    """Return a label as it is kept; `ValueError` for what is no text."""
    if not isinstance(label, str):
        raise ValueError(f"a label must be a string, not {label!r}")
    if not label.isascii():
        label = label.encode("utf-8", "backslashreplace").decode()  # text may hold half of a surrogate pair
    if len(label) <= LABEL_CHARS_MAX:
        return label
    head = LABEL_CHARS_MAX * 2 // 3
    return f"{label[:head]}...{label[head + 3 - LABEL_CHARS_MAX :]}"


class Labels:
    """Makes the labels of a decorated function's calls."""

    def __init__(self, fn: Callable[..., object], signature: inspect.Signature, template: str) -> None:
        """Raise `ValueError`, naming the function and the part, where its calls cannot have such labels."""
        self._signature = signature
        self._parts = list(_parts(template, fn.__qualname__, list(signature.parameters)))
        fields = [field for _, field in self._parts if field is not None]
        self._places = {field.place for field in fields}
        kinds = {parameter.kind for parameter in signature.parameters.values()}
        #: How many arguments there are where each may come by its place; most calls are like that, and need no binding.
        self._count = len(signature.parameters) if kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD} else 0
        #: The arguments that stand in labels as they are, and not only an attribute or item of theirs.
        self.told_whole = {field.name for field in fields if field.read is None}

    def of_call(self, args: Sequence[object], kwargs: Mapping[str, object], *, may_wait: bool) -> str:
        """Return the label of a call; empty where its values are still to come, which is only so with `may_wait`."""
        if kwargs or len(args) != self._count:
            try:
                bound = self._signature.bind(*args, **kwargs)
            except TypeError:  # a worker has another version of the function, which takes others
                return UNKNOWN
            bound.apply_defaults()
            args = list(bound.arguments.values())  # those of all parameters, in their order
        if may_wait and any(_waits(args[place]) for place in self._places):
            return ""
        label = ""
        for text, field in self._parts:
            label += text if field is None else text + _shown(field, args)
        return label if len(label) <= LABEL_CHARS_MAX and label.isascii() else checked_label(label)


class _Field(NamedTuple):
    """A field of a template, such as "{path.stem}"."""

    name: str  #: of the argument
    place: int  #: of the argument, among all of the function's parameters
    read: Callable[[Any], Any] | None  #: takes an attribute or item from it; None where it stands as it is
    conversion: str  #: empty for none
    form: str  #: empty for none


def _parts(template: object, function: str, names: Sequence[str]) -> list[tuple[str, _Field | None]]:
    """Return the parts of a template, checked: text, and the field that follows it; None for none.

    `names` are those of all parameters, of which the first is the instance.
    """
    what = f"label={template!r} of {function}"
    if not isinstance(template, str) or not template:
        raise ValueError(f'{what}: it must be a format over the arguments, such as "{{path.stem}}"')
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{what} is no format: {error}") from None
    parts: list[tuple[str, _Field | None]] = []
    for text, name, form, conversion in parsed:
        if name is None:
            parts.append((text, None))
            continue
        argument = re.split(r"[.\[]", name, maxsplit=1)[0]
        if argument not in names[1:]:
            has = f"{function} has {', '.join(names[1:]) or 'none'}"
            raise ValueError(f"{what} takes the unknown argument {argument!r}; {has}")
        if "{" in (form or "") or any(int(digits) > _WIDTH_MAX for digits in re.findall(r"\d+", form or "")):
            raise ValueError(
                f"{what}: the format {form!r} may make it of any size; leave out what is wider than {_WIDTH_MAX}"
            )
        if conversion not in (None, "r", "s", "a"):
            raise ValueError(f"{what}: the conversion {conversion!r} is none of r, s and a")
        parts.append(
            (text, _Field(argument, names.index(argument), _reader(name, argument), conversion or "", form or ""))
        )
    return parts


def _reader(name: str, argument: str) -> Callable[[Any], Any] | None:
    """Return a function that takes the value of a field, such as "path.stem", from its argument; None for itself."""
    if name == argument:
        return None
    if "[" not in name:
        return attrgetter(name.removeprefix(f"{argument}."))
    return lambda value: _formatter.get_field(name, (), {argument: value})[0]


def _waits(value: object) -> bool:
    """Return whether a value has promises in it, of nodes or of what was put."""
    if type(value) in _ATOMS:
        return False
    if has_promise(value):
        return True
    payload = encode_if_possible(value)
    return payload is not None and (bool(payload.promise_ids) or STORED in payload.data)


def _shown(field: _Field, args: Sequence[object]) -> str:
    """Return a field of a label. The user's code writes it; it is a `?` where that goes wrong."""
    _, place, read, conversion, form = field
    try:
        value = args[place] if read is None else read(args[place])
        if type(value) in _PLAIN and not conversion and not form:
            text = str(value)
        else:
            if isinstance(value, _SIZED) and len(value) > _PLAIN_CHARS_MAX:
                value, conversion = (value[:_PLAIN_CHARS_MAX] if isinstance(value, str) else _short.repr(value)), "s"
            text = format(_formatter.convert_field(value, conversion or None), form)
        return text[:_PLAIN_CHARS_MAX]
    except KeyboardInterrupt:
        raise
    except BaseException:
        return UNKNOWN
