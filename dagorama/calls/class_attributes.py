"""The meanings of the names in the class of a definition, and the decorated functions below other decorators."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FunctionType
from typing import TypeAlias

from dagorama.calls.names import class_name

#: Stands for what is not there.
MISSING = object()

Decorated: TypeAlias = Callable[..., object]

#: Where decorators and descriptors keep what they stand above: functools.wraps and wrapt, staticmethod and classmethod,
#: partialmethod, singledispatchmethod and cached_property, property.
BELOW = ("__wrapped__", "__func__", "func", "fget")
#: So many decorators may stand above ours.
DEPTH_MAX = 20


def class_attribute(kind: type, name: str) -> object:
    """Return the attribute that a class or its bases have by this name, as it stands there; `MISSING` for none."""
    for base in kind.__mro__:
        found: object = base.__dict__.get(name, MISSING)
        if found is not MISSING:
            return found
    return MISSING


def class_names(kind: type) -> Iterable[str]:
    """Return the names of the attributes of a class and its bases, each once, those of its own first.

    Only what it has now counts: other threads may set some meanwhile, as the first that makes a definition does.
    """
    return dict.fromkeys(name for base in kind.__mro__ for name in vars(base).copy())


def decorated_in(attribute: object) -> Decorated | None:
    """Return the decorated function that an attribute of a class is, or stands above; None for none."""
    for _ in range(DEPTH_MAX):
        # functools.wraps copies it, so what it leads to counts, and not who has it.
        decorated = _read(attribute, "dagorama_decorated")
        if type(decorated) is FunctionType:
            return decorated
        below = (_read(attribute, name) for name in BELOW)
        attribute = next((found for found in below if found is not None), None)
        if attribute is None:
            break
    return None


def _read(attribute: object, name: str) -> object:
    """Read an attribute of a class's attribute; None where that is a proxy, say, which is not ready to be read."""
    try:
        return getattr(attribute, name, None)
    except Exception:
        return None


def node_name(kind: type, decorated: Decorated) -> str:
    """Return the name by which a class has a decorated function; `ValueError` if a worker would find none."""
    written: str = decorated.__name__
    if decorated_in(class_attribute(kind, written)) is decorated:
        return written
    for name in class_names(kind):
        if decorated_in(class_attribute(kind, name)) is decorated:
            return name
    raise ValueError(_no_name(kind, decorated, written))


def _no_name(kind: type, decorated: Decorated, written: str) -> str:
    name = f"{class_name(kind)}.{written}"
    overridden = any(decorated_in(vars(base).get(written)) is decorated for base in kind.__mro__)
    if overridden:
        return (
            f"{name} is not {decorated.__qualname__}, so no worker would find this function by that name; "
            "if it was called through super(), run it at once with greedy_execution=True"
        )
    return (
        f"no name in {class_name(kind)} leads to {decorated.__qualname__}, so no worker would find it: either a "
        "decorator above @dagorama() lacks functools.wraps(function), or the class gave the name to another function"
    )


def check_nodes(kind: type) -> None:
    """Raise `ValueError` for a decorated function that nobody could call as a node."""
    for name, attribute in vars(kind).copy().items():
        if isinstance(attribute, (staticmethod, classmethod)) and decorated_in(attribute) is not None:
            raise ValueError(
                f"{class_name(kind)}.{name} is a {type(attribute).__name__} above @dagorama(), but a node is a method "
                f"with the instance as self: leave @{type(attribute).__name__} out"
            )
