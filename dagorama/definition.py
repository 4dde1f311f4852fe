"""Definitions and instances: the class that a user writes, and one start of it.

A user's class derives from `DAGDefinition`. Calling an object of it starts a `DAGInstance`, and the entrypoint, like
every other method, runs with that instance as `self`: it behaves like the definition, its decorated methods make nodes
in the instance, and what is written to it stays with it.
"""

from __future__ import annotations

import os
from abc import ABC, ABCMeta, abstractmethod
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from inspect import Signature, signature
from threading import current_thread
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, Protocol, TypeVar, cast, overload
from uuid import UUID
from weakref import WeakSet

from dagorama.calls import capture
from dagorama.calls.capture import Scope, current_scope, inline_node
from dagorama.calls.class_attributes import check_nodes, class_attribute, decorated_in
from dagorama.calls.class_state import note_set
from dagorama.calls.construction import Construction, remember_state, take_state
from dagorama.calls.hook_calls import Hook, checked_hooks, hooks_of_starts
from dagorama.calls.ids import new_id
from dagorama.calls.names import Definition, class_name, followed, known, known_classes
from dagorama.calls.placeholders import exchange
from dagorama.calls.plain_data import slots_of, state_of
from dagorama.instance.attributes import delete, read, write
from dagorama.instance.handle import Handle, definition_of, id_of
from dagorama.instance.resolution import resolve, resolve_async
from dagorama.instance.starting import begin_start
from dagorama.logging import get_logger
from dagorama.options import Keep, are_only_elsewhere, checked_keep, current_options
from dagorama.running.base_context import note_definition
from dagorama.running.belonging import check_is_no_node, check_process
from dagorama.settings import should_run_inline, should_trace

if TYPE_CHECKING:
    from dagorama.instance.instance import Instance
    from dagorama.states import InstanceState

__all__ = ["DAGDefinition", "DAGInstance", "attach", "generate_instance_id", "instance_of", "resolve", "resolve_async"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class _Starts(Protocol[P, R_co]):
    """A definition whose entrypoint is an ordinary function."""

    @property
    def entrypoint(self) -> Callable[P, R_co]: ...


class _StartsAsync(Protocol[P, R_co]):
    """A definition whose entrypoint is an async function."""

    @property
    def entrypoint(self) -> Callable[P, Coroutine[Any, Any, R_co]]: ...


class _Unsaid:
    """A type that nobody returns, so that only `Any` passes for it."""


class Started(tuple["DAGInstance[R_co]", R_co]):
    """The result of a start: the instance, and the promise of the entrypoint's value. `await` gives it back."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, tuple[DAGInstance[R_co], R_co]]:
        """Return itself, so that an asynchronous program need not know which entrypoints are asynchronous."""
        return self
        yield


if TYPE_CHECKING:
    _Definition = ABC  # the user's own __init__ is the only signature
else:

    class _DefinitionType(type(Protocol)):
        """The type of definitions, which sees when one is made.

        A definition may be said to implement a `Protocol`, which has this type.
        """

        # That of protocols is for these alone, and asks objects more than whether they are definitions.
        __instancecheck__ = ABCMeta.__instancecheck__
        __subclasscheck__ = ABCMeta.__subclasscheck__

        def __call__(cls, *args, **kwargs):
            # A `__new__` of the user's passes on what it likes, and may give an object that was made before.
            construction = Construction(cls, args, kwargs) if has_new(cls) else None
            definition = super().__call__(*args, **kwargs)
            if construction is not None and isinstance(definition, cls):
                construction.definition_class = type(definition)
                vars(definition).update(_dagorama_construction=construction)
                remember_state(definition)
            elif type(definition) is cls:
                remember_state(definition)
            return definition

        def __setattr__(cls, name, value):
            """Set an attribute, which nodes are to see as well."""
            super().__setattr__(name, value)
            note_set(cls, name)

        @property
        def __signature__(cls):
            """Return the constructor's signature as that of the class."""
            function = constructor_of(cls)
            if function is None:
                return Signature()
            constructor = signature(function)
            return constructor.replace(parameters=[*constructor.parameters.values()][1:])

    class _Definition(ABC, metaclass=_DefinitionType):
        __slots__ = ()


class DAGDefinition(_Definition):
    """A DAG, as the user writes it: decorated methods are nodes, and `entrypoint` is where an instance starts."""

    _dagorama_slots: ClassVar[tuple[str, ...]] = ()
    _dagorama_on_end: ClassVar[tuple[Hook, ...]] = ()
    _dagorama_on_failure: ClassVar[tuple[Hook, ...]] = ()
    _dagorama_keep: ClassVar[Keep | None] = None

    def __init_subclass__(
        cls,
        *,
        on_end: Hook | Sequence[Hook] | None = None,
        on_failure: Hook | Sequence[Hook] | None = None,
        keep: timedelta | float | Mapping[str, timedelta | float] | None = None,
        **kwargs: object,
    ) -> None:
        """Remember the class, by its name: no import may lead to it, and it may take the place of another.

        Each hook of `on_end` is called, as a node of its own, when an instance of the class has ended, and each of
        `on_failure` where it has failed. Subclasses inherit both; `()` is for none. Its instances are kept for `keep`
        after their end, as in `instance_options`, which goes before it. `ValueError` for a node that nobody could call,
        and for a hook that no worker could call.
        """
        super().__init_subclass__(**kwargs)
        if on_end is not None:
            cls._dagorama_on_end = checked_hooks("on_end", class_name(cls), on_end)
        if on_failure is not None:
            cls._dagorama_on_failure = checked_hooks("on_failure", class_name(cls), on_failure)
        if keep is not None:
            cls._dagorama_keep = checked_keep(keep)
        check_nodes(cls)
        cls._dagorama_slots = slots_of(cls)
        if "<locals>" not in cls.__qualname__:
            note_definition()
        name = class_name(cls)
        if name in known_classes:
            followed.clear()  # a worker in this process, as in a notebook, is to run what is there now
        known_classes[name] = cls
        known.count += 1

    if not TYPE_CHECKING:  # so that the user's own __init__ is the only signature

        def __new__(cls, *args, **kwargs):
            """Remember the arguments, with which the worker makes the definition again."""
            if not args and not kwargs:
                construction = cls.__dict__.get("_dagorama_construction")
                if construction is None:
                    construction = Construction(cls)
                    type.__setattr__(cls, "_dagorama_construction", construction)
            elif cls.__init__ is object.__init__:
                raise TypeError(f"{cls.__name__}() takes no arguments")
            else:
                construction = Construction(cls, args, kwargs)
            definition = super().__new__(cls)
            object.__setattr__(definition, "_dagorama_construction", construction)
            return definition

    @abstractmethod
    def entrypoint(self, *args: Any, **kwargs: Any) -> Any:
        """Begin an instance, with the arguments of the call that starts it."""

    # The more special case has to come first: a function that says nothing of what it returns could be async, and an
    # async function is an ordinary one too, which returns a coroutine.
    @overload
    def __call__(self: _Starts[P, _Unsaid], *args: P.args, **kwargs: P.kwargs) -> Started[Any]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self: _StartsAsync[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, tuple[DAGInstance[R], R]]: ...

    @overload
    def __call__(self: _Starts[P, R], *args: P.args, **kwargs: P.kwargs) -> Started[R]: ...

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Start an instance; return it and the promise of the entrypoint's value.

        Both come from `await` if the entrypoint is async; they may be awaited if it is not.

        The start is durable when this returns. Inside a running node it makes no instance of its own: the entrypoint
        becomes a child of that node. `TypeError` for arguments that the entrypoint doesn't take.

        Inline (see `dagorama.settings`) it gives the value in place of the promise.
        """
        __tracebackhide__ = True
        take_state(self)
        scope = current_scope.get()
        running = inline_node.get() if scope is None else scope
        if running is None:
            check_is_no_node(f"{class_name(type(self))}.entrypoint")
            if are_only_elsewhere():
                _tell_of_options(class_name(type(self)))
            if type(self) not in _seen:
                _tell_if_it_runs_here(type(self))
            instance = instance_of(new_id(), self)
            hooked = self._dagorama_on_end or self._dagorama_on_failure or self._dagorama_keep is not None
            if hooked or current_options.get().key or hooks_of_starts.get() or should_trace():
                _begin_start(instance, type(self))
        else:
            check_process(running.process, f"{class_name(type(self))}.entrypoint")
            instance = instance_of(running.instance_id, self, scope)
        promise: object = cast(Any, instance).entrypoint(*args, **kwargs)
        if type(promise) is CoroutineType:
            started: Any = _started(instance, promise)
            started.__qualname__ = f"{type(self).__qualname__}.entrypoint"  # as of the call that it waits for
            return started
        instance.__dict__["_dagorama_promise"] = promise
        return Started((instance, promise))


def _begin_start(instance: DAGInstance[Any], kind: type[DAGDefinition]) -> None:
    """Have an instance started with hooks, and under the key of the context.

    `ValueError` for a key where no broker starts the entrypoint.
    """
    if should_run_inline():
        return
    if current_options.get().key and decorated_in(class_attribute(kind, "entrypoint")) is None:
        raise ValueError(
            f"{class_name(kind)}.entrypoint is not decorated, so it runs here each time, and a key cannot have it "
            "started once: write @dagorama() above it"
        )
    begin_start(instance)


def has_new(kind: type[DAGDefinition]) -> bool:
    """Return whether a `__new__` of the user's decides which object a class gives."""
    return kind.__new__ is not DAGDefinition.__new__


def constructor_of(kind: type[DAGDefinition]) -> Callable[..., object] | None:
    """Return the function that takes the arguments of a class, after `self` or `cls`; None for a class without any."""
    constructor: Callable[..., object] = kind.__init__
    if constructor is not object.__init__:
        return constructor
    return kind.__new__ if has_new(kind) else None


def twin_of(definition: DAGDefinition) -> DAGDefinition:
    """Make an object that stays as a definition is now, which its `__new__` may give again for other arguments."""
    twin: DAGDefinition = object.__new__(type(definition))
    vars(twin).update(vars(definition))
    for name, value in state_of(definition).items():
        object.__setattr__(twin, name, value)
    return twin


#: The definitions that were started here before.
_seen: WeakSet[type[DAGDefinition]] = WeakSet()


def _tell_if_it_runs_here(kind: type[DAGDefinition]) -> None:
    """Say once of an entrypoint without a decorator, which 0.1 ran in the caller as well, that no worker runs it."""
    if should_run_inline():
        return
    _seen.add(kind)
    if decorated_in(class_attribute(kind, "entrypoint")) is None:
        get_logger().warning(
            "%s.entrypoint is not decorated, so it runs here, and only the nodes that it calls go to the broker: write "
            "@dagorama() above it, and a worker runs it",
            class_name(kind),
        )


@cache
def _tell_of_options(definition: str) -> None:
    """Say once that a block of options does not reach another thread, which people expect of a pool's."""
    get_logger().warning(
        "thread %r started %s without the instance_options() of a block that another thread is in: to have them, run "
        "it in a copy of the context, with asyncio.to_thread(...) or pool.submit(contextvars.copy_context().run, ...)",
        current_thread().name,
        definition,
    )


async def _started(
    instance: DAGInstance[object], entrypoint: Coroutine[object, None, object]
) -> tuple[DAGInstance[object], object]:
    """Wait until the start is durable."""
    promise = await entrypoint
    instance.__dict__["_dagorama_promise"] = promise
    return instance, promise


if TYPE_CHECKING:
    from dagorama.instance.looks import InstanceLooks
    from dagorama.instance.verbs import InstanceVerbs

    class _Verbs(InstanceVerbs, InstanceLooks):
        pass

    _InstanceType = type
else:
    _Verbs = Handle

    class _InstanceType(type):
        """The type of `DAGInstance`, which a node's function may take for the class of its definition."""

        def __getattr__(cls, name):
            """Raise an error that names the way to the definition's class."""
            error = f"type object {cls.__name__!r} has no attribute {name!r}"
            if not name.startswith("__"):
                error += f": for the class of the definition, write self.__class__.{name} in place of type(self).{name}"
            raise AttributeError(error, name=name, obj=cls)


class DAGInstance(Generic[R_co], _Verbs, metaclass=_InstanceType):
    """One start of a definition; `R_co` is the type of its entrypoint's value.

    Reads go to the definition, and its methods get the instance as `self`. Writes stay here. A name that the definition
    has, or that a node sets, goes before each name below, from `instance_id` and `definition` on, and before the verbs.
    """

    if TYPE_CHECKING:
        instance_id: UUID
        definition: DAGDefinition

    @overload
    def __init__(self: DAGInstance[Any], instance_id: UUID, definition: _Starts[..., _Unsaid]) -> None: ...

    @overload
    def __init__(self: DAGInstance[R], instance_id: UUID, definition: _StartsAsync[..., R]) -> None: ...

    @overload
    def __init__(self: DAGInstance[R], instance_id: UUID, definition: _Starts[..., R]) -> None: ...

    def __init__(self, instance_id: UUID, definition: object) -> None:
        """Take the id of an instance that the broker knows, from `generate_instance_id()`, and its definition."""
        self.__dict__.update(_dagorama_id=instance_id.bytes, _dagorama_definition=definition)

    if TYPE_CHECKING:

        def result(self, timeout: float | None = None) -> R_co:
            """Wait for the entrypoint's value, `timeout` seconds at most; None or infinity: as long as it takes.

            With 0 it gives the value that is there. When nothing has come for 10 s (`DAGORAMA_SILENCE_S`), the log says
            what holds it. Other nodes may have failed: `state` and `wait()` tell.

            Raises `NodeFailed`, `InstanceCancelled`, `ResultTimeout`, `BrokerUnavailable`, and `TypeError` or
            `ValueError` for a `timeout` that is no time.
            """
            ...

        @property
        def state(self) -> InstanceState:
            """Return the state of the instance: "running", "completed", "failed" or "cancelled".

            Asks the broker each time; `await instance.astate()` does not block the event loop. It is not there on the
            `self` of a node, whose instance runs. Raises `BrokerRefused` for an instance that is not known, and
            `BrokerUnavailable`.
            """
            ...

        async def astate(self) -> InstanceState:
            """Return the same as `state`, without blocking the event loop."""
            ...

        def wait(self, timeout: float | None = None) -> None:
            """Wait until all nodes of the instance have ended, also those on which its value does not depend.

            `timeout` is that of `result`. Raises `InstanceFailed`, naming the nodes that failed, `InstanceCancelled`,
            `ResultTimeout`, and `BrokerUnavailable`; `ValueError` in a node of the instance.
            """
            ...

        async def wait_async(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as `wait`
            """Wait like `wait`, without blocking the event loop."""
            ...

        # The twin of `result` takes its timeout the same way.
        async def aresult(self, timeout: float | None = None) -> R_co:  # noqa: ASYNC109
            """Wait like `result`, without blocking the event loop."""
            ...

    else:

        def __getattr__(self, name):
            """Read from the definition, with methods bound to the instance."""
            return read(self, name, _methods)

        def __setattr__(self, name, value):
            """Write here, never to the definition. A setter of its class gets the instance as `self`."""
            write(self, name, value)

        def __delattr__(self, name):
            """Delete an attribute that was written here."""
            delete(self, name)

        @property
        def __class__(self):
            """Return the definition's class, so that `super()` and `isinstance` in its methods work as they read."""
            return type(definition_of(self))

        def __call__(self, *args, **kwargs):
            """Do the same as a call of the definition: inside a node, it makes a sub-graph."""
            return definition_of(self)(*args, **kwargs)

        def __reduce__(self):
            """Travel as id and definition; in another process there is no node that it could make calls for."""
            of_node = self.__dict__.get("_dagorama_scope") is not None or "_dagorama_process" in self.__dict__
            if of_node and exchange.recorded is None:
                return _copy_of_node, (id_of(self), definition_of(self), os.getpid())
            return DAGInstance, (UUID(bytes=id_of(self)), definition_of(self))

    def __repr__(self) -> str:
        """Show its id and its definition's class."""
        return f"DAGInstance({UUID(bytes=id_of(self))}, {class_name(type(definition_of(self)))})"

    def __str__(self) -> str:
        """Return the text that the definition's class has for itself, if it has one."""
        kind = type(definition_of(self))
        return repr(self) if kind.__str__ is object.__str__ else kind.__str__(cast(Any, self))

    def __bool__(self) -> bool:
        """Return the truth of the definition by its class; True where that has none."""
        kind: Any = type(definition_of(self))
        if hasattr(kind, "__bool__"):
            return bool(kind.__bool__(self))
        return not hasattr(kind, "__len__") or kind.__len__(self) != 0


def instance_in_node(instance_id: bytes, definition: Definition, scope: Scope | None = None) -> DAGInstance[Any]:
    """Make the instance that is a node's `self`, with plain data of its own where it changes that of the definition."""
    instance: DAGInstance[Any] = object.__new__(DAGInstance)
    names = instance.__dict__
    names["_dagorama_id"] = instance_id
    names["_dagorama_scope"] = scope
    names["_dagorama_definition"] = definition
    names["_dagorama_copies"] = None
    return instance


def instance_of(instance_id: bytes, definition: Definition, scope: Scope | None = None) -> DAGInstance[Any]:
    """Make a `DAGInstance`; quicker than the class itself, because the UUID is made when it is first asked for.

    `scope` is that of the running node whose `self` it is. Calls on it join that node from any thread.
    """
    instance: DAGInstance[Any] = object.__new__(DAGInstance)
    instance.__dict__.update(_dagorama_id=instance_id, _dagorama_scope=scope, _dagorama_definition=definition)
    return instance


@cache
def _methods() -> dict[str, Any]:
    """Return what instances have of their own: it knows all that a broker can be asked, which no definition needs."""
    from dagorama.instance.methods import METHODS

    return METHODS


def _copy_of_node(instance_id: bytes, definition: Definition, process_id: int) -> DAGInstance[Any]:
    """Make the `self` of a running node again, from its pickle: in another process it makes no calls for the node."""
    instance = instance_of(instance_id, definition)
    instance.__dict__["_dagorama_process"] = capture.here if process_id == os.getpid() else None
    return instance


@overload
def attach(instance_id: UUID | str) -> Instance: ...


@overload
def attach(instance_id: UUID | str, definition: _Starts[..., _Unsaid]) -> DAGInstance[Any]: ...


@overload
def attach(instance_id: UUID | str, definition: _StartsAsync[..., R]) -> DAGInstance[R]: ...


@overload
def attach(instance_id: UUID | str, definition: _Starts[..., R]) -> DAGInstance[R]: ...


def attach(instance_id: UUID | str, definition: object = None) -> DAGInstance[Any] | Instance:
    """Return an instance that was started elsewhere or earlier: to look at it, to wait for its `result()`.

    `definition` is an object of the class that it was started with: the result has its type then, and calls may be
    added. Without one it is an `Instance`, of any definition. Nothing is asked of the broker yet. Methods raise
    `UnknownId` for an id that it does not know, `result()` raises `ValueError` where the instance is of another
    definition.
    """
    if definition is not None and (isinstance(definition, type) or not isinstance(definition, DAGDefinition)):
        name = definition.__name__ if isinstance(definition, type) else type(definition).__name__
        raise TypeError(f"attach() takes an object of a definition, such as {name}(), not {definition!r}")
    if isinstance(instance_id, str):
        try:
            instance_id = UUID(instance_id)
        except ValueError:
            raise ValueError(f"{instance_id!r} is no id of an instance: it must be a UUID") from None
    if definition is None:
        from dagorama.instance.instance import Instance

        return Instance(instance_id)
    return DAGInstance(instance_id, cast(Any, definition))


def generate_instance_id() -> UUID:
    """Register a new instance, without nodes as yet, and return its id."""
    from dagorama.client.broker import submit

    if current_options.get().key:
        raise ValueError(
            "generate_instance_id() begins an instance without its entrypoint, and a key is for a start with it: call "
            "the definition, or generate the id outside of the block that has the key"
        )
    instance_id = new_id()
    if not should_run_inline():
        submit(instance_id, "", [])
    return UUID(bytes=instance_id)
