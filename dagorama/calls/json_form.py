"""Arguments as JSON text: a payload of a form of its own, made where the user's code is not.

It is one line of JSON in ASCII, an object, which no pickle begins like, and what follows the line. With "args" and
"kwargs" it has the arguments of a call. With "edits" it has some of them by name, and the arguments that these take the
place of are the payload that follows: the broker puts the line before what it has stored, and opens neither.

Where it is too large for a message, a payload that refers to a value with the line stands for it, as for a pickle.

The worker makes values of the type hints of it, see `typed`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import NamedTuple
from uuid import UUID

#: The first byte of the form.
BEGIN = b"{"


class JsonArguments(NamedTuple):
    """The arguments of a call that came as JSON, or some that take the place of others."""

    args: Sequence[object]
    kwargs: Mapping[str, object]
    #: By name; each is in the place of what the `rest` has.
    edits: Mapping[str, object]
    #: The payload of the other arguments; empty where there are none.
    rest: bytes


class JsonText(bytes):
    """A payload of this form that was stored as a value, as it was before."""

    __slots__ = ()


def is_json(payload: bytes) -> bool:
    """Return whether a payload of arguments is of this form."""
    return payload[:1] == BEGIN


def encode_arguments(args: Sequence[object], kwargs: Mapping[str, object]) -> bytes:
    """Return the payload of the arguments of a call; `TypeError` or `ValueError` for what JSON cannot hold."""
    return _line({"args": list(args), "kwargs": dict(kwargs)})


def encode_edits(edits: Mapping[str, object]) -> bytes:
    """Return what goes before the payload of a call's arguments, to put others in the place of these.

    Raises as `encode_arguments`.
    """
    return _line({"edits": dict(edits)})


def read_json(payload: bytes) -> JsonArguments:
    """Return what a payload of this form has, the last edit of each argument; `ValueError` for one that is none."""
    edits: dict[str, object] = {}
    while is_json(payload):
        line, _, payload = payload.partition(b"\n")
        told = json.loads(line)
        if not isinstance(told, dict):
            raise ValueError("it is no object")
        further = told.get("edits")
        if further is None:
            args, kwargs = told.get("args", []), told.get("kwargs", {})
            if not isinstance(args, list) or not isinstance(kwargs, dict):
                raise ValueError("it has neither a list of arguments nor an object of them")
            return JsonArguments(args, kwargs, edits, b"")
        if not isinstance(further, dict):
            raise ValueError("its edits are no object")
        edits = {**further, **edits}  # the outer ones came later
    return JsonArguments((), {}, edits, payload)


def _line(value: dict[str, object]) -> bytes:
    try:
        line = json.dumps(value, default=_plain, allow_nan=True).encode("ascii") + b"\n"
    except RecursionError:
        raise ValueError("the arguments are too deep in each other for JSON") from None
    _check_keys(value)  # last: what contains itself has been refused by now
    return line


def _check_keys(value: object) -> None:
    """Raise `TypeError` for a key that is no text: `json` makes one of it, so 1 and "1" would be one key in silence."""
    within = [value]
    while within:
        one = within.pop()
        if isinstance(one, dict):
            for key in one:
                if not isinstance(key, str):
                    raise TypeError(f"there is no JSON for the key {key!r}: give keys that are texts")
            within += one.values()
        elif isinstance(one, (list, tuple)):
            within += one


def _plain(value: object) -> object:
    """Return a value of a well-known kind as the text that workers make it of again."""
    if isinstance(value, (UUID, Decimal, PurePath)):
        return str(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    raise TypeError(
        f"there is no JSON for {value!r}: give texts, numbers, true or false, None, lists and objects of them"
    )
