"""Attributes of instances, read and written. Its state is that of its definition, and its own where it was written.

Each function follows the order that Python has for an object of the class: data descriptors of the class, then
attributes of the object, then the other attributes of the class. Methods are bound to the instance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import RLock
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType
from typing import Any

from dagorama.calls.class_attributes import MISSING, class_attribute
from dagorama.calls.names import Definition
from dagorama.calls.plain_data import ATOMS, own_copy
from dagorama.instance.handle import Handle

#: Their storage is in the object that they were made for.
SLOTS = (MemberDescriptorType, GetSetDescriptorType)


def read(instance: Handle, name: str, own: Callable[[], Mapping[str, Any]]) -> object:
    """Return an attribute that was not written to the instance; `own` gives the attributes of instances themselves."""
    names = instance.__dict__
    definition: Definition = names["_dagorama_definition"]
    kind = type(definition)
    attribute: Any = kind.__dict__.get(name, MISSING)
    if attribute is MISSING:
        attribute = class_attribute(kind, name)
    if type(attribute) is FunctionType and name not in definition.__dict__:
        return MethodType(attribute, instance)
    if attribute is not MISSING and hasattr(type(attribute), "__get__") and not isinstance(attribute, SLOTS):
        if _is_data(attribute):
            # What else has a setter may keep what it sets in the object: in the definition, until it is written here.
            if isinstance(attribute, property) or name in names.get("_dagorama_written", ()):
                return attribute.__get__(instance, kind)
        elif name not in definition.__dict__:
            return attribute.__get__(instance, kind)
    try:
        value = (
            definition.__dict__[name]
            if attribute is MISSING and name in definition.__dict__
            else getattr(definition, name)
        )
    except AttributeError:
        if attribute is MISSING and name in (found := own()):
            return found[name].__get__(instance, type(instance))
        raise
    if type(value) in ATOMS:
        return value
    if "_dagorama_copies" in names:
        # A thread of the node would take a copy in the making for the whole.
        with names.setdefault("_dagorama_copying", RLock()):
            copies: dict[int, object] = names["_dagorama_copies"] or {id(definition): instance}
            names["_dagorama_copies"] = copies
            return names.setdefault(name, own_copy(value, copies))
    if type(value) is MethodType and value.__self__ is definition:
        return MethodType(value.__func__, instance)
    return value


def write(instance: Handle, name: str, value: object) -> None:
    """Write to the instance, by the setter or the `__setattr__` of the definition's class if it has one."""
    kind: Any = type(instance.__dict__["_dagorama_definition"])
    attribute: Any = class_attribute(kind, name)
    if hasattr(type(attribute), "__set__") and not isinstance(attribute, SLOTS):
        instance.__dict__.pop(name, None)
        attribute.__set__(instance, value)
        instance.__dict__.setdefault("_dagorama_written", set()).add(name)
    elif kind.__setattr__ is not object.__setattr__:
        kind.__setattr__(instance, name, value)
    else:
        instance.__dict__[name] = value


def delete(instance: Handle, name: str) -> None:
    """Delete an attribute that was written to the instance; raise `AttributeError` for one of its definition."""
    names = instance.__dict__
    definition = names["_dagorama_definition"]
    attribute: Any = class_attribute(type(definition), name)
    if hasattr(type(attribute), "__delete__") and not isinstance(attribute, SLOTS):
        attribute.__delete__(instance)
    elif name in names:
        del names[name]
    elif hasattr(definition, name):
        raise AttributeError(
            f"{name!r} cannot be deleted here: it belongs to the definition, which other nodes use too; set it to None"
        )
    else:
        raise AttributeError(f"{type(definition).__name__!r} object has no attribute {name!r}")


def _is_data(attribute: object) -> bool:
    return hasattr(type(attribute), "__set__") or hasattr(type(attribute), "__delete__")
