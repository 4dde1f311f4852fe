"""The attributes that were set in the class of a definition from outside, `Job.rate = 99`: nodes elsewhere see them.

A worker imports the class as it is written. It sets the same as the module does while it is imported, but knows nothing
of attributes that a program sets later, in a function or below `if __name__ == "__main__":`.
"""

from __future__ import annotations

import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from weakref import WeakKeyDictionary

from dagorama.calls.class_attributes import MISSING
from dagorama.calls.payload import encode_if_possible
from dagorama.calls.plain_data import is_plain

#: Names of the library, and of Python itself.
OTHERS = ("__", "_dagorama_", "_abc_", "_is_protocol", "_is_runtime_protocol")
#: Code, of which a worker has its own.
CODE = (FunctionType, BuiltinFunctionType, ModuleType, type)

#: By class, the names that were set in it by anybody but the import of its module.
_set_later: WeakKeyDictionary[type, set[str]] = WeakKeyDictionary()


def note_set(kind: type, name: str) -> None:
    """Note that an attribute of a class was set."""
    if name.startswith(OTHERS):
        return
    spec = getattr(sys.modules.get(kind.__module__), "__spec__", None)
    if not getattr(spec, "_initializing", False):
        _set_later.setdefault(kind, set()).add(name)


def set_from_outside(kind: type) -> dict[str, object]:
    """Return the data that a class has of its own or from its bases, and that a worker's may have otherwise."""
    found: dict[str, object] = {}
    if not _set_later:
        return found
    for name in sorted(set().union(*(_set_later.get(base, ()) for base in kind.__mro__))):
        home = next((base for base in kind.__mro__ if name in vars(base)), None)
        if home is not None and name in _set_later.get(home, ()):
            value = vars(home).get(name, MISSING)
            if value is not MISSING and travels(value):
                found[name] = value
    return found


def travels(value: object) -> bool:
    """Return whether a value is plain data, and no code, that a worker can be given.

    A definition that its class keeps, as a singleton's does, is the worker's own there.
    """
    is_definition = hasattr(type(value), "_dagorama_slots")
    if is_definition or isinstance(value, CODE) or hasattr(value, "__get__") or not is_plain(value):
        return False
    payload = encode_if_possible(value)
    return payload is not None and not payload.promise_ids
