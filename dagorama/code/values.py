"""Plain values and bytecode, written down the same in every process."""

from __future__ import annotations

import dis
import enum
import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from types import CodeType, FunctionType, ModuleType

#: Whose `repr` says all there is to say, and nothing about where or when.
PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), range)
PLAIN_MODULES = {"datetime", "decimal", "fractions", "uuid", "zoneinfo"}

#: Which of the code's flags tell what kind of function it is; the others tell where it stands.
KINDS = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)

READS_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME"}


def external_name(value: object) -> str:
    """Name a class, a function or a module of somebody else by its package and name.

    Inner modules are left out: packages move the things that they offer from release to release.
    """
    if isinstance(value, ModuleType):
        return value.__name__
    package = str(getattr(value, "__module__", "")).partition(".")[0]
    return f"{package}:{getattr(value, '__qualname__', type(value).__qualname__)}"


def is_constant(value: object) -> bool:
    """Return whether a value is plain and cannot change."""
    if isinstance(value, (tuple, frozenset)):
        return all(map(is_constant, value))
    return isinstance(value, (*PLAIN, enum.Enum, re.Pattern)) or type(value).__module__ in PLAIN_MODULES


def describe(value: object) -> str:
    """Write down a value. For a value that is not plain only the kind is written."""
    kind = type(value).__qualname__
    if isinstance(value, CodeType):
        return f"{value.co_name}({'; '.join(describe_code(value))})"
    if isinstance(value, enum.Enum):
        return f"{kind}.{value.name}"
    if isinstance(value, re.Pattern):
        return f"Pattern({value.pattern!a}, {value.flags})"
    if isinstance(value, (tuple, list)):
        return f"{kind}({', '.join(map(describe, value))})"
    if isinstance(value, (set, frozenset)):
        return f"{kind}({', '.join(sorted(map(describe, value)))})"
    if isinstance(value, dict):
        return f"{kind}({', '.join(f'{describe(key)}: {describe(part)}' for key, part in value.items())})"
    if is_constant(value):
        return f"{kind}({value!a})"
    if isinstance(value, (type, FunctionType, ModuleType)):
        return external_name(value)
    return f"an object of {external_name(type(value))}"


def describe_code(code: CodeType) -> Iterator[str]:
    """Write down the effect of code. Constants appear where they are used, not by index: a docstring is one too."""
    parameters = code.co_argcount + code.co_kwonlyargcount
    yield f"{code.co_posonlyargcount} {code.co_argcount} {code.co_kwonlyargcount} {code.co_flags & KINDS}"
    yield " ".join(code.co_varnames[:parameters])
    for instruction in dis.get_instructions(code):
        yield f"{instruction.opname} {describe(instruction.argval)}"
    yield code.co_exceptiontable.hex()


def globals_read(code: CodeType) -> set[str]:
    """Return the names that code, and the code inside it, looks for in its module and among the builtins."""
    read: set[str] = set()
    left = [code]
    while left:
        part = left.pop()
        read |= {step.argval for step in dis.get_instructions(part) if step.opname in READS_GLOBAL}
        left += [constant for constant in part.co_consts if isinstance(constant, CodeType)]
    return read


def nodes_in(kind: type) -> Iterator[str]:
    """Yield the names of the functions in the body of a class that are decorated as nodes."""
    for name, value in vars(kind).copy().items():  # another thread may set something in the class meanwhile
        with suppress(Exception):  # what else is there may have a __getattr__
            if isinstance(value.original_fn, FunctionType):
                yield name


def class_around(function: FunctionType) -> type | None:
    """Return the class in whose body a function stands, None for one that its module does not lead to."""
    found: object = sys.modules.get(function.__module__)
    path = function.__code__.co_qualname.split(".")[:-1]
    for name in path:
        found = vars(found).get(name) if isinstance(found, (type, ModuleType)) else None
    return found if path and isinstance(found, type) else None


def layers(value: object) -> Iterator[FunctionType]:
    """Yield the function and the functions that it wraps, but for the wrapper of dagorama's own decorators."""
    layer = value
    passed: list[object] = []
    while layer is not None and not any(layer is other for other in passed):
        passed.append(layer)
        if isinstance(layer, FunctionType) and not hasattr(layer, "original_fn"):
            yield layer
        layer = None if isinstance(layer, type) else getattr(layer, "__wrapped__", None)
