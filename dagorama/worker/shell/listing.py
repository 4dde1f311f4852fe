"""The decorated functions of modules, as a submit would name them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from inspect import isabstract
from typing import Any, NamedTuple

from dagorama.calls.capture import FunctionSpec
from dagorama.calls.release import nodes_of
from dagorama.code.policy import CodeMismatch
from dagorama.definition import DAGDefinition


class ListedFunction(NamedTuple):
    """A decorated method of a definition, inherited ones included."""

    #: As a submit has it, but for the arguments that its definition is made with.
    spec: FunctionSpec
    #: None where the decorator leaves it to the worker.
    code_mismatch: CodeMismatch | None


def is_inside(module: str, modules: Iterable[str]) -> bool:
    """Return whether a module is one of `modules`, or inside one of them."""
    return any(f"{module}.".startswith(f"{outer}.") for outer in modules)


def functions_of(modules: Iterable[str]) -> list[ListedFunction]:
    """Return the functions of the definitions in these modules, which have been imported, and in those inside them.

    Definitions that cannot be started, for want of an entrypoint, are left out, and so are classes made by functions.
    """
    outer = tuple(modules)
    return [
        listed
        for definition_class in subclasses(DAGDefinition)
        if is_inside(definition_class.__module__, outer)
        if is_at_its_name(definition_class)
        for listed in functions_in(definition_class)
    ]


def functions_in(definition_class: type[DAGDefinition]) -> list[ListedFunction]:
    """Return the functions of a definition; none of one that cannot be started, for want of an entrypoint."""
    return [] if isabstract(definition_class) else list(_functions(definition_class))


def subclasses(parent: type[Any]) -> Iterator[type[DAGDefinition]]:
    """Yield all classes below one, each once, older ones first."""
    found = dict.fromkeys(parent.__subclasses__())
    left = list(found)
    for child in left:  # which grows meanwhile
        new = [grandchild for grandchild in child.__subclasses__() if grandchild not in found]
        found.update(dict.fromkeys(new))
        left += new
    yield from found


def is_at_its_name(definition_class: type) -> bool:
    """Return whether its name leads to a class, and not to nothing or to one that has taken its place."""
    found: object = sys.modules.get(definition_class.__module__)
    for part in definition_class.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is definition_class


def _functions(definition_class: type[DAGDefinition]) -> Iterator[ListedFunction]:
    for name, decorated in nodes_of(definition_class):
        options = decorated.dagorama_options
        listed = options.spec(decorated.original_fn, definition_class, name=name)
        yield ListedFunction(listed, options.code_mismatch)
