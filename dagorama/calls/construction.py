"""How definitions are made, so that a worker can make them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import getattr_static
from typing import Any, NamedTuple, TypeVar

from dagorama.calls.capture import FunctionSpec
from dagorama.calls.class_state import set_from_outside, travels
from dagorama.calls.large import ValueStore
from dagorama.calls.names import Definition, class_name, registered
from dagorama.calls.payload import Payload, decode, encode, encode_if_possible, no_promises
from dagorama.calls.placeholders import note_stored
from dagorama.calls.plain_data import Shape, has_changed, shape_of, state_of
from dagorama.errors import PayloadError

#: A definition of some class.
D = TypeVar("D", bound=Definition)


class Construction:
    """How a definition is made again elsewhere, and the specs of its functions, made on demand."""

    __slots__ = ("_payload", "args", "definition_class", "kwargs", "release", "specs")

    def __init__(
        self,
        definition_class: type[Definition],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
        payload: bytes | None = None,
    ) -> None:
        """Take the arguments that the class was called with, `args` and `kwargs`, or the `payload` that has them
        already.

        They are taken now: later changes to them do not matter.
        """
        self.definition_class = definition_class
        self.specs: dict[Callable[..., object], FunctionSpec] = {}
        #: The versions that calls on it are to have, where it was made for a node; empty: those that there are here.
        self.release = ""
        self.args = args
        self.kwargs = kwargs or {}
        #: None for what does not encode, or holds promises: who needs it is told.
        self._payload = payload
        if payload is None:
            taken = encode_if_possible((self.args, self.kwargs)) if args or kwargs else Payload(b"", ())
            if taken is not None and not taken.promise_ids:
                self._payload = taken.data

    def arguments(self) -> bytes:
        """Return the payload that a definition like it is made of, empty for no arguments.

        Raises `PayloadError` if they do not encode, unless an object was registered for the class: that is used then.
        """
        if self._payload is not None:
            return self._payload
        name = class_name(self.definition_class)
        if name in registered:
            return b""
        return _encoded((self.args, self.kwargs), f"the arguments that {name} was made with", name)

    def changed(self, changes: Changes) -> Construction:
        """Return how a definition is made that was changed since it was made like this one."""
        name = class_name(self.definition_class)
        content = (_Within(self.arguments()), changes.written, changes.deleted)
        taken = encode_if_possible(content)
        if taken is None or taken.promise_ids:
            for attribute, value in changes.written.items():
                _encoded(value, f"the attribute {attribute!r} that was set after {name} was made", name)
        made = Construction(self.definition_class, payload=_encoded(content, f"what was set in {name}", name))
        made.release = self.release
        return made

    def __reduce__(self) -> tuple[object, ...]:
        """Leave the specs behind when the definition is pickled: they belong to this process."""
        call = (self.args, self.kwargs) if self._payload is None else ((), None)
        note_stored(self._payload or b"")
        return Construction, (self.definition_class, *call, self._payload)


class _Within:
    """Pickles as the bytes of a payload that is a part of another."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def __reduce__(self) -> tuple[object, ...]:
        note_stored(self._payload)
        return bytes, (self._payload,)


def _encoded(value: object, what: str, name: str) -> bytes:
    """Encode the arguments of a definition; a `PayloadError` names other ways."""
    try:
        payload = encode(value, what=what)
    except PayloadError as error:
        error.add_note(f"Or call register_definition() with an object of {name}, here and on the workers.")
        raise
    if payload.promise_ids:
        raise PayloadError(
            what=what,
            problem="a promise is among them, and the definition is made before its value is known",
            way_out="Pass the promise to the entrypoint instead.",
        )
    return payload.data


class Changes(NamedTuple):
    """The changes to a definition's state since it was made."""

    written: dict[str, object]
    deleted: tuple[str, ...]


def remember_state(definition: Definition) -> None:
    """Remember the state of a definition that is being made: later changes of it are known for changes."""
    state = state_of(definition) if len(definition.__dict__) > 1 or type(definition)._dagorama_slots else None
    if state:
        vars(definition)["_dagorama_made"] = {name: shape_of(value) for name, value in state.items()}


def take_state(definition: Definition) -> None:
    """Let nodes see the attributes that were set in a definition since it was made, and changes in its plain data.

    They see what was set in its class, too. The constructor may have read that, and would read another value elsewhere.
    """
    names = vars(definition)
    kind = type(definition)
    outside = set_from_outside(kind)
    if len(names) == 1 and not kind._dagorama_slots and not outside:  # the construction
        return
    made: dict[str, object] = names.get("_dagorama_made", {})
    state = state_of(definition)
    written = {
        name: value
        for name, value in state.items()
        if (name not in made or has_changed(made[name], value) or (outside and travels(value)))
        and not _is_computed(kind, name)
    }
    written |= {name: value for name, value in outside.items() if name not in state}
    deleted = tuple(name for name in made if name not in state and name not in outside)
    if not (written or deleted) or class_name(kind) in registered:
        names.pop("_dagorama_changed", None)
        return
    construction: Construction = names["_dagorama_construction"]
    changed = construction.changed(Changes(written, deleted))
    before: Construction | None = names.get("_dagorama_changed")
    # Set at once: other threads may be starting the same definition.
    if before is None or before.arguments() != changed.arguments():
        names["_dagorama_changed"] = changed


def given_to(definition: Definition) -> Iterator[object]:
    """Yield the objects that a definition has from outside: its constructor's arguments, and attributes set later."""
    names = definition.__dict__
    construction: Construction = names["_dagorama_construction"]
    yield from construction.args
    yield from construction.kwargs.values()
    made: dict[str, object] = names.get("_dagorama_made", {})
    for name, value in state_of(definition).items():
        then = made.get(name)
        if (then.of if isinstance(then, Shape) else then) is not value:
            yield value


def _is_computed(kind: type, name: str) -> bool:
    """Return whether an attribute is kept by a property that computes it once, and so will anybody's."""
    return type(getattr_static(kind, name, None)).__name__ == "cached_property"


def construction_of(definition: Definition) -> Construction:
    """Return how a definition was made, or is made as it is now."""
    names = definition.__dict__
    construction: Construction = names.get("_dagorama_changed") or names["_dagorama_construction"]
    return construction


def make_again(
    definition_class: type[D],
    payload: bytes,
    release: str,
    make: Callable[[tuple[object, ...], dict[str, object]], D],
    store: ValueStore | None = None,
) -> D:
    """Make a definition as its caller did, by `make(args, kwargs)`, and as the caller left it.

    Calls on it carry the versions of the release. `store` has the payload, where that is a large value.
    """
    what = f"the arguments that {class_name(definition_class)} was made with"
    decoded: Any = decode(payload, no_promises, what=what, store=store) if payload else ((), {})
    if len(decoded) == 2:
        definition = make(*decoded)
    else:
        base, written, deleted = decoded
        definition = make_again(definition_class, base, release, make, store)
        for name, value in written.items():
            object.__setattr__(definition, name, value)
        for name in deleted:
            object.__delattr__(definition, name)
        remember_state(definition)
    if payload or release:  # its calls give the same, and the bytes are there once
        construction = Construction(definition_class, payload=payload)
        construction.release = release
        vars(definition)["_dagorama_construction"] = construction
    return definition
