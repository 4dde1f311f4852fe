"""The content of functions and values that travel by value: a digest that is the same in every process.

cloudpickle packs the functions and classes of a script themselves, where pickle names them. Its bytes are others in
each process: a class gets a number that is drawn, a set is in the order of the process. So a value is taken apart here
as for the digests of arguments; where code goes along it counts, and so do the values that it reads of its module.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from dagorama.calls.digests import Digesting
from dagorama.code.signature import calculate_function_hash
from dagorama.code.values import globals_read


def digest_of_content(value: object, *, module: str) -> str:
    """Return the digest of a value, in hexadecimal digits; functions and classes of `module` go along with it.

    So do those of the program that runs, and such as have no name that leads to them. Others count by their names.
    Raises for a value that cannot be taken apart.
    """
    return _Contents(module).digest(value).hex()


#: What `abc` keeps in a class of its own: it says nothing, and cannot be taken apart.
_OF_ABC = "_abc_impl"


class _Contents(Digesting):
    """Makes the digest of a value with all that goes along with it."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self._own = {module, "__main__"}
        self._met: dict[int, int] = {}

    def digest(self, value: object) -> bytes:
        """Return the digest of a value, which may be a module."""
        return super().digest(("module", value.__name__) if isinstance(value, ModuleType) else value)

    def name_of(self, value: Any) -> list[bytes]:
        """Return the name of a function or class, and its content where that goes along; once, as it may be in it."""
        is_named = value.__module__ not in self._own and "<" not in value.__qualname__
        if is_named or not isinstance(value, (FunctionType, type)):
            return super().name_of(value)
        name = value.__qualname__.encode()
        if id(value) in self._met:
            return [name, b"%d" % self._met[id(value)]]
        self._met[id(value)] = len(self._met)
        return [name, *(self._of_function(value) if isinstance(value, FunctionType) else self._of_class(value))]

    def _of_function(self, function: FunctionType) -> Iterator[bytes]:
        yield calculate_function_hash(function).encode()
        yield self.digest((function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # it has none as yet
                yield b""
            else:
                yield self.digest(value)
        for name in sorted(globals_read(function.__code__) & function.__globals__.keys()):
            yield name.encode()
            yield self.digest(function.__globals__[name])

    def _of_class(self, kind: type) -> Iterator[bytes]:
        yield self.digest(kind.__bases__)
        for name, value in sorted(vars(kind).items()):
            found = list(_functions_of(value))
            if found or not (name == _OF_ABC or (name.startswith("__") and name.endswith("__"))):
                yield name.encode()
                yield self.digest((type(value), found) if found else value)


def _functions_of(value: Any) -> Iterator[FunctionType]:
    """Yield the functions that an attribute of a class is, or is made of."""
    made_of: list[object] = [value]
    if isinstance(value, property):
        made_of = [value.fget, value.fset, value.fdel]
    elif isinstance(value, (staticmethod, classmethod)):
        made_of = [value.__func__]
    yield from (each for each in made_of if isinstance(each, FunctionType))
