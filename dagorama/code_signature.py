"""The code version of a function: a digest that changes when what the function does changes.

It covers the bytecode with the constants and names that it uses, nested functions, parameters and their defaults. It
leaves out what says nothing about that: file names, line numbers, docstrings, annotations, and the name in the source
text. It is the same in every process and on every machine of one Python version.
"""

from __future__ import annotations

import dis
import inspect
import re
from collections.abc import Callable, Iterator
from hashlib import blake2b
from importlib.metadata import distributions
from types import CodeType, FunctionType
from weakref import WeakKeyDictionary

DIGEST_BYTES = 16

#: Where an object lives says nothing about what it is.
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

#: Which of the code's flags tell what kind of function it is; the others tell where it stands.
KINDS = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)

_bodies: WeakKeyDictionary[Callable[..., object], str] = WeakKeyDictionary()


def calculate_function_hash(fn: Callable[..., object], include_package_versions: bool = False) -> str:
    """Returns the code version of `fn`, or of the function that was decorated to give `fn`.

    It depends on the present `fn.__name__`. With `include_package_versions` it depends on the name and version of every
    installed package too.
    """
    body = _bodies.get(fn)
    if body is None:
        layers = list(_layers(fn))
        if not layers:
            raise TypeError(f"{fn!r} has no Python code to calculate a hash of")
        body = _bodies[fn] = "\n".join(line for layer in layers for line in _describe_function(layer))
    text = f"{fn.__name__}\n{body}"
    if include_package_versions:
        text += "\n".join(sorted(f"{package.name}=={package.version}" for package in distributions()))
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def _layers(fn: Callable[..., object]) -> Iterator[FunctionType]:
    """Yields the function and those that it wraps, but for the wrapper of dagorama's own decorators."""
    layer: object = fn
    while layer is not None:
        if isinstance(layer, FunctionType) and not hasattr(layer, "original_fn"):
            yield layer
        layer = getattr(layer, "__wrapped__", None)


def _describe_function(function: FunctionType) -> Iterator[str]:
    """Writes down all that counts of a function but its name."""
    yield _describe(function.__defaults__)
    yield _describe(function.__kwdefaults__)
    yield from _describe_code(function.__code__)


def _describe_code(code: CodeType) -> Iterator[str]:
    """Writes down what code does. Constants appear where they are used, not by index: a docstring is one too."""
    parameters = code.co_argcount + code.co_kwonlyargcount
    yield f"{code.co_posonlyargcount} {code.co_argcount} {code.co_kwonlyargcount} {code.co_flags & KINDS}"
    yield " ".join(code.co_varnames[:parameters])
    for instruction in dis.get_instructions(code):
        value = instruction.argval
        yield f"{instruction.opname} {_describe(value)}"
    yield code.co_exceptiontable.hex()


def _describe(value: object) -> str:
    """Writes down a constant or a default, the same in every process."""
    if isinstance(value, CodeType):
        return f"{value.co_name}({'; '.join(_describe_code(value))})"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__}({', '.join(map(_describe, value))})"
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}({', '.join(sorted(map(_describe, value)))})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{_describe(key)}: {_describe(part)}' for key, part in value.items())})"
    if isinstance(value, (type, FunctionType)):
        return f"{value.__module__}:{value.__qualname__}"
    return f"{type(value).__name__}({ADDRESS.sub('', repr(value))})"
