"""The names of definitions, and the objects of this process that they lead to.

A name is "module:Qualified.name" of a class; that of a function is followed by "." and the name of the method.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol
from weakref import WeakValueDictionary


class Definition(Protocol):
    """A definition, as far as it is looked at here: more is in its `__dict__`, by names that no user gives."""

    _dagorama_slots: ClassVar[tuple[str, ...]]


#: The classes that there are, for those to which no import leads: they were made inside functions, by `exec`, in a
#: doctest. Of several of a name it is the last.
known_classes: WeakValueDictionary[str, type] = WeakValueDictionary()


class _Known:
    """Counts the classes that were ever made here, so that it can be told whether there are new ones."""

    count = 0


known = _Known()

#: The objects that stand for their classes in this process.
registered: dict[str, Definition] = {}

#: The functions that names were found to lead to (`dagorama.serializer`). It is emptied when a name may lead elsewhere.
followed: dict[str, Any] = {}


def class_name(definition_class: type) -> str:
    """Return "module:Qualified.name" of a class."""
    return f"{module_name(definition_class.__module__)}:{definition_class.__qualname__}"


def module_name(name: str) -> str:
    """Return the module's name as every process knows it: multiprocessing's children call `__main__` by another."""
    return "__main__" if name == "__mp_main__" else name
