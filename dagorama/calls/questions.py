"""The code that asks a promise for its type, hash or fields, read from the caller's frame.

`isinstance(p, int)`, `TABLE[p]` and `dataclasses.asdict(p)` reach a promise only as `__class__`, `__hash__` and the
list of its fields, which loggers, debuggers and sets of promises ask for as well. A question about the value is told
from one about the promise by the instruction that the asking function is at, and by whose code that is.
"""

from __future__ import annotations

import ast
import dis
import linecache
import sys
from collections.abc import Iterable, Mapping
from enum import EnumMeta
from functools import lru_cache
from itertools import islice
from types import CodeType, FrameType, MappingProxyType
from typing import cast

from dagorama.code.parsing import parsed_expression
from dagorama.code.project_files import is_project_file

#: Where people type code: Python's own prompt, before 3.13 and since, and IPython's.
TYPED_IN = ("<stdin>", "<python-input", "<ipython-input")
#: What things are looked up in by hash.
TABLES = (set, frozenset, dict, MappingProxyType)
#: Methods that look up. What only puts in, such as `add`, `update` and `union`, is answered by what becomes of it.
LOOK_UPS = {"get", "pop", "setdefault", "remove", "discard", "__getitem__", "__contains__", "isdisjoint", "issuperset"}
LOOK_UPS |= {"issubset"} | {
    name + how for name in ("intersection", "difference", "symmetric_difference") for how in ("", "_update")
}
#: Methods that show a dictionary.
VIEWS = frozenset({"keys", "items"})
#: How the names of instructions begin that call. In Python 3.11 it is often PRECALL that does, for a CALL that follows:
#: isinstance() and many methods of builtins, once a place has run some eight times (PEP 659).
CALLS = ("CALL", "PRECALL")
#: Modules through which code asks a promise: `Color(p)`, `describe(p)` of a singledispatch function, `asdict(p)`. Those
#: of promises themselves stand between as well.
BETWEEN = frozenset({"enum", "functools", "dataclasses"})
PROMISES = ("dagorama.models.", "dagorama.calls.misuse")
#: Places in code that are remembered.
SITES_MAX = 1024


def asks_for_type(frame: FrameType | None) -> bool:
    """Return whether a function of the project is at `isinstance()` or a class pattern, or functools at a dispatch."""
    while frame is not None and frame.f_code.co_name == "__instancecheck__":  # of abc and typing, on its way
        frame = frame.f_back
    if frame is None:
        return False
    if frame.f_globals.get("__name__") == "functools":
        return True
    step = _instruction(frame.f_code, frame.f_lasti)
    return (step.startswith(CALLS) or step == "MATCH_CLASS") and _is_users(frame.f_code.co_filename)


def takes_apart(frame: FrameType | None) -> bool | None:
    """Return whether `dataclasses` is at taking an object apart; None where somebody else asks."""
    if frame is None or frame.f_globals.get("__name__") != "dataclasses":
        return None
    return frame.f_back is not None and frame.f_back.f_globals.get("__name__") == "dataclasses"


def table_asked(frame: FrameType | None) -> Iterable[object] | None:
    """Return the set or dictionary in which a function of the project looks something up.

    None where it does anything else, such as putting it in, and where what it looks into could only be had by running
    code.
    """
    while frame is not None and frame.f_code.co_name == "__hash__":  # of a record that has the promise in it
        frame = frame.f_back
    if frame is None:
        return None
    if frame.f_globals.get("__name__") == "enum" and isinstance(kind := frame.f_locals.get("cls"), EnumMeta):
        return kind.__members__
    expression = _table_at(frame.f_code, frame.f_lasti)
    if expression is None:
        return None
    try:
        table = _value(expression, frame)
    except Exception:  # a name that is not set, an object without attributes: no table
        return None
    return cast(Iterable[object], table) if isinstance(table, TABLES) else None


def asking_line(frame: FrameType | None) -> str:
    """Name the line of the project that asks; "" for a debugger or a library that tries what an object can do."""
    while frame is not None:
        path = frame.f_code.co_filename
        module: str = frame.f_globals.get("__name__", "")
        name = frame.f_code.co_name
        # Such as methods of dataclasses, and what is typed into a debugger, which pdb says is from standard input.
        is_generated = path.startswith("<") and (name.startswith("<") or not path.startswith(TYPED_IN))
        is_between = module in BETWEEN or module.startswith(PROMISES) or name == "__instancecheck__"
        if not is_generated and not is_between:
            return f"{path}:{frame.f_lineno} in {name}" if _is_users(path) else ""
        frame = frame.f_back
    return ""


@lru_cache(SITES_MAX)
def _is_users(path: str) -> bool:
    return path.startswith(TYPED_IN) or is_project_file(path)


def _instruction(code: CodeType, offset: int) -> str:
    return dis.opname[code.co_code[offset]]


@lru_cache(SITES_MAX)
def _table_at(code: CodeType, offset: int) -> ast.expr | None:
    """Return the expression for the table of a look-up, the instruction at `offset`; None if it is no look-up."""
    step = _instruction(code, offset)
    if not (step.startswith(CALLS) or step in {"CONTAINS_OP", "BINARY_SUBSCR", "DELETE_SUBSCR"}):
        return None
    if not _is_users(code.co_filename):
        return None
    try:
        expression = parsed_expression(_text_at(code, offset))
    except (SyntaxError, ValueError):
        return None
    match expression:
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[table]):
            return table
        case ast.Subscript(value=table):
            return table
        case ast.Call(func=ast.Attribute(value=table, attr=name)) if name in LOOK_UPS:
            return table
    return None


def _text_at(code: CodeType, offset: int) -> str:
    """Return the source text of an instruction; empty where there is none."""
    line, end_line, column, end_column = next(islice(code.co_positions(), offset // 2, None))
    if line is None or end_line is None:
        return ""
    lines = [text.encode() for text in linecache.getlines(code.co_filename)[line - 1 : end_line]]
    if not lines:
        return ""
    lines[-1] = lines[-1][:end_column]
    lines[0] = lines[0][column:]
    return b"".join(lines).decode()


def _value(expression: ast.expr, frame: FrameType) -> object:
    """Return the value of an expression without running anybody's code; raise anything where that can't be."""
    match expression:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            places: tuple[Mapping[str, object], ...] = (frame.f_locals, frame.f_globals, frame.f_builtins)
            return next(place[name] for place in places if name in place)
        case ast.Attribute(value=owner, attr=name):
            return _attribute(_value(owner, frame), name)
        case ast.Call(func=ast.Attribute(value=table_of, attr=name), args=[], keywords=[]) if name in VIEWS:
            table = _value(table_of, frame)
            if type(table) in TABLES:
                return table
        case ast.Call(func=kind, args=[table_of], keywords=[]) if any(_value(kind, frame) is one for one in TABLES):
            table = _value(table_of, frame)
            if type(table) in TABLES:
                return table
        case ast.Set(elts=members):
            return {_value(member, frame) for member in members}
        case ast.Dict(keys=keys):
            return {_value(cast(ast.expr, key), frame) for key in keys}
    raise ValueError(expression)


def _attribute(owner: object, name: str) -> object:
    """Return an attribute as it is stored; an instance has those of its definition."""
    places: list[Mapping[str, object]] = [vars(owner)]
    if not isinstance(owner, type):
        places.append(vars(places[0].get("_dagorama_definition", owner)))
    kind = owner if isinstance(owner, type) else owner.__class__
    places += [vars(base) for base in kind.__mro__]
    return next(place[name] for place in places if name in place)


def caller(depth: int) -> FrameType | None:
    """Return the frame `depth` calls above the caller."""
    try:
        return sys._getframe(depth + 1)
    except ValueError:  # an interpreter's C code asks
        return None
