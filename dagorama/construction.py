"""How definitions are made and named, so that a worker can find their classes and make them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from dagorama.base_context import Settings
from dagorama.capture import FunctionSpec
from dagorama.errors import PayloadError
from dagorama.payload import encode

if TYPE_CHECKING:
    from dagorama.definition import DAGDefinition

#: Classes that were made inside functions, by "module:Qualified.name": no import leads to them.
local_classes: WeakValueDictionary[str, type[DAGDefinition]] = WeakValueDictionary()

#: The objects that stand for their classes in this process, by "module:Qualified.name".
registered: dict[str, DAGDefinition] = {}


class Construction:
    """The arguments that a definition was made with, and the specs of its functions, made on demand."""

    __slots__ = ("_arguments", "args", "definition_class", "kwargs", "release", "settings", "specs")

    def __init__(
        self, definition_class: type[DAGDefinition], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> None:
        """`args` and `kwargs` are what the class was called with."""
        self.definition_class = definition_class
        self.args = args
        self.kwargs = kwargs
        self.specs: dict[Callable[..., object], FunctionSpec] = {}
        #: What the constructor has set in context variables, where a worker has called it: its nodes find it there.
        self.settings: Settings = ()
        #: The versions that calls on it are to have, where it was made for a node; empty: those that there are here.
        self.release = ""
        self._arguments: bytes | None = None

    def arguments(self) -> bytes:
        """Returns the payload of `(args, kwargs)`, empty for none.

        Raises `PayloadError` if they do not encode, unless an object was registered for the class: that is used then.
        """
        if self._arguments is None:
            self._arguments = self._encode() if self.args or self.kwargs else b""
        return self._arguments

    def _encode(self) -> bytes:
        name = class_name(self.definition_class)
        what = f"the arguments that {name} was made with"
        try:
            payload = encode((self.args, self.kwargs), what=what)
        except PayloadError as error:
            if name in registered:
                return b""
            error.add_note(f"Or call register_definition() with an object of {name}, here and on the workers.")
            raise
        if payload.promise_ids:
            raise PayloadError(
                what=what,
                problem="a promise is among them, and the definition is made before its value is known",
                way_out="Pass the promise to the entrypoint instead.",
            )
        return payload.data

    def __reduce__(self) -> tuple[object, ...]:
        """Leaves the specs behind when the definition is pickled: they belong to this process."""
        return Construction, (self.definition_class, self.args, self.kwargs)


def construction_of(definition: DAGDefinition) -> Construction:
    """Returns how a definition was made."""
    construction: Construction = definition.__dict__["_dagorama_construction"]
    return construction


def set_release(definition: DAGDefinition, release: str) -> None:
    """Has the calls on a definition carry the versions of this release."""
    made = construction_of(definition)
    # Definitions that were made without arguments share one.
    construction = Construction(made.definition_class, made.args, made.kwargs)
    construction.release = release
    object.__setattr__(definition, "_dagorama_construction", construction)


def class_name(definition_class: type) -> str:
    """Returns "module:Qualified.name" of a class."""
    return f"{module_name(definition_class.__module__)}:{definition_class.__qualname__}"


def module_name(name: str) -> str:
    """Returns the module's name as every process knows it: multiprocessing's children call `__main__` by another."""
    return "__main__" if name == "__mp_main__" else name
