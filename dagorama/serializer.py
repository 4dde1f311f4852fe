"""From functions to names, and on a worker from names back to functions."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache, partial
from inspect import getattr_static, isclass, iscoroutinefunction, signature
from threading import Lock, RLock
from types import MethodType
from typing import Any, NamedTuple, cast
from uuid import UUID
from weakref import WeakValueDictionary

from dagorama.calls.capture import Scope
from dagorama.calls.class_attributes import MISSING, class_attribute, decorated_in
from dagorama.calls.construction import make_again
from dagorama.calls.labels import Labels
from dagorama.calls.large import ValueStore
from dagorama.calls.names import class_name, followed, known_classes, module_name, registered
from dagorama.calls.references import is_referring, total_size
from dagorama.code.importing import import_users
from dagorama.code.main_guard import MAIN_GUARD
from dagorama.code.policy import CodeMismatch
from dagorama.code.signature import calculate_function_hash
from dagorama.definition import DAGDefinition, DAGInstance, constructor_of, has_new, instance_in_node, twin_of
from dagorama.errors import PayloadError, UnknownFunction
from dagorama.instance.handle import definition_of
from dagorama.retry import RetryConfiguration
from dagorama.running.base_context import Settings, import_in_base, settings_of

#: Definitions kept ready, each with its constructor's arguments; far more than a worker serves at a time.
DEFINITIONS_MAX = 1024
#: Of those whose arguments are large, so many bytes of these, and the last few in any case.
LARGE_BYTES_MAX, LARGE_LEAST = 2**30, 4


class MadeDefinition(NamedTuple):
    """A definition that many nodes share."""

    definition: DAGDefinition
    #: What its constructor has set in context variables: its nodes find it there.
    settings: Settings = ()


class FoundFunction(NamedTuple):
    """A function that a name led to."""

    definition_class: type[DAGDefinition]
    #: With the object that stands for its class in this process, if any.
    registered: MadeDefinition | None
    #: As the user wrote it, without the decorator.
    function: Callable[..., Any]
    is_async: bool
    #: That of the code in this process.
    code_version: str
    #: Which exceptions are worth another attempt, by the code in this process.
    retry: RetryConfiguration | None
    #: What its decorator says about nodes of another version; None for nothing.
    code_mismatch: CodeMismatch | None
    #: Makes labels of calls; None for none.
    labels: Labels | None
    #: Names of its payloads, for errors.
    arguments: str
    result: str


def function_to_name(func: object) -> str:
    """Return "module:Qualified.name" of a function or a class; of an object, that of its class."""
    if isinstance(func, MethodType) and type(func.__self__) is DAGInstance:
        return f"{class_name(type(definition_of(func.__self__)))}.{func.__name__}"
    if type(func) is DAGInstance:
        return class_name(type(definition_of(func)))
    if isinstance(func, DAGDefinition):
        return class_name(type(func))
    if isclass(func):
        return class_name(func)
    if callable(func) and hasattr(func, "__qualname__"):
        return f"{module_name(func.__module__)}:{func.__qualname__}"
    raise ValueError(f"{func!r} has no name: give a function, a class, a definition or an instance")


def register_definition(definition: DAGDefinition) -> None:
    """Make this object stand for its class in this process: its methods run on it, however callers made theirs."""
    registered[function_to_name(definition)] = definition
    followed.clear()


def forget_functions() -> None:
    """Let names lead to the functions of now: a test may have replaced a method since they were last followed."""
    followed.clear()


def forget_definitions() -> None:
    """Let definitions be made anew for the nodes that run from now on."""
    followed.clear()
    _making.cache_clear()
    with _making_lock:
        _large.clear()
        _all_making.clear()


def name_to_function(name: str, instance_id: UUID) -> Callable[..., Any]:
    """Return the decorated method that a name leads to, bound to the instance; `UnknownFunction` if it leads nowhere.

    Where no object was registered for its class, the class is called without arguments.
    """
    instance = bind(find_function(name), b"", instance_id)
    return cast(Callable[..., Any], getattr(instance, name.rpartition(".")[2]))


def is_name(name: str) -> bool:
    """Return whether a text has the form "module:Class.method", and so may name a function of some process."""
    module, _, qualified_name = name.rpartition(".")[0].partition(":")
    return bool(module and qualified_name)


def find_function(name: str) -> FoundFunction:
    """Follow a name. Nothing is made yet; modules are imported.

    Raises `UnknownFunction` if it doesn't lead to a decorated method of a `DAGDefinition`.
    """
    found: FoundFunction | None = followed.get(name)
    if found is None:
        found = _find(name)
        if "<locals>" not in name:  # the next class made by the same function has the same name
            if len(followed) >= DEFINITIONS_MAX:  # each comes back with its next node
                followed.clear()
            followed[name] = found
    return found


def bind(
    found: FoundFunction,
    definition_arguments: bytes,
    instance_id: UUID | bytes,
    scope: Scope | None = None,
    release: str = "",
) -> DAGInstance[Any]:
    """Make the instance that is a node's `self`, each node its own, with the node's scope; raises as `made_for`."""
    if isinstance(instance_id, UUID):
        instance_id = instance_id.bytes
    return instance_in_node(instance_id, made_for(found, definition_arguments, release).definition, scope)


def made_for(
    found: FoundFunction, definition_arguments: bytes, release: str = "", store: ValueStore | None = None
) -> MadeDefinition:
    """Return the definition of a node, which is made once for each `definition_arguments` and `release` and kept.

    `store` has the arguments where they are large. Threads that want one meanwhile wait; after a constructor that
    failed the next node tries again. Raises `PayloadError` for arguments that cannot be decoded here, or that the
    constructor here doesn't take; its own exceptions pass through.
    """
    if found.registered is not None:
        return found.registered
    find_making = _large_making if is_referring(definition_arguments) else _making
    making = find_making(found.definition_class, definition_arguments, release)
    if making.made is None:
        with making.lock:
            if making.made is None:
                make = partial(_make, found.definition_class, definition_arguments, release, store)
                making.made = MadeDefinition(*settings_of(make))
    return making.made


def _find(name: str) -> FoundFunction:
    """Follow a name, as `find_function` says."""
    path, _, attribute = name.rpartition(".")
    definition = cast(DAGDefinition | None, registered.get(path))
    definition_class = _class_at(name, path) if definition is None else type(definition)
    there = class_attribute(definition_class, attribute)
    decorated = decorated_in(there)
    function = getattr(decorated, "original_fn", None)
    if function is None:
        has = "is not decorated" if there is not MISSING else "does not exist"
        raise UnknownFunction(
            name=name,
            problem=f"{attribute!r} of {path} {has} in this version of the code",
            way_out="Run workers with the code that made the node, and decorate what should run on them.",
        )
    code_version = calculate_function_hash(function, owner=definition_class)
    options = cast(Any, decorated).dagorama_options
    return FoundFunction(
        definition_class,
        None if definition is None else MadeDefinition(definition),
        function,
        iscoroutinefunction(function),
        code_version,
        options.retry,
        options.code_mismatch,
        cast(Any, decorated).dagorama_labels,
        f"the arguments of {name}",
        f"the result of {name}",
    )


class _Making:
    """A definition, once it is made. A thread that finds it missing makes it, holding the lock."""

    __slots__ = ("__weakref__", "lock", "made")

    def __init__(self) -> None:
        self.made: MadeDefinition | None = None
        self.lock = RLock()


#: All that somebody holds: threads that ask for one at once get the same.
_all_making: WeakValueDictionary[tuple[type[DAGDefinition], bytes, str], _Making] = WeakValueDictionary()
#: Those that are kept of definitions with large arguments, the one that was wanted last at the end.
_large: OrderedDict[tuple[type[DAGDefinition], bytes, str], _Making] = OrderedDict()
_making_lock = Lock()


@lru_cache(maxsize=DEFINITIONS_MAX)
def _making(definition_class: type[DAGDefinition], definition_arguments: bytes, release: str) -> _Making:
    with _making_lock:
        return _all_making.setdefault((definition_class, definition_arguments, release), _Making())


def _large_making(definition_class: type[DAGDefinition], definition_arguments: bytes, release: str) -> _Making:
    """Do as `_making`; each of these may be a gigabyte, so no more than some bytes are kept."""
    key = definition_class, definition_arguments, release
    with _making_lock:
        if key in _large:
            _large.move_to_end(key)
            return _large[key]
        making = _large[key] = _all_making.setdefault(key, _Making())
        kept_bytes = sum(total_size(arguments) for _, arguments, _ in _large)
        while len(_large) > LARGE_LEAST and (kept_bytes > LARGE_BYTES_MAX or len(_large) > DEFINITIONS_MAX):
            (_, arguments, _), _ = _large.popitem(last=False)
            kept_bytes -= total_size(arguments)
    return making


def _make(
    definition_class: type[DAGDefinition], definition_arguments: bytes, release: str, store: ValueStore | None
) -> DAGDefinition:
    """Make a definition as its caller did, for nodes of instances of this release."""

    def make(args: tuple[object, ...], kwargs: dict[str, object]) -> DAGDefinition:
        try:
            definition = definition_class(*args, **kwargs)
            return twin_of(definition) if has_new(definition_class) else definition
        except TypeError as error:
            problem = _unfit(definition_class, args, kwargs)
            if not problem:
                raise
            # Its caller made one with the same arguments.
            raise PayloadError(
                what=f"the arguments that {class_name(definition_class)} was made with",
                problem=f"its constructor here does not take them ({problem})",
                way_out="Run workers with the code that made the node.",
                lacks=f"{class_name(definition_class)}: {problem}",
            ) from error

    return make_again(definition_class, definition_arguments, release, make, store)


def _unfit(definition_class: type[DAGDefinition], args: tuple[object, ...], kwargs: dict[str, object]) -> str:
    """Say why a constructor doesn't take arguments; empty where it does, or where that cannot be said."""
    constructor = constructor_of(definition_class)
    if constructor is None:
        return f"it takes none, and {len(args) + len(kwargs)} were given" if args or kwargs else ""
    try:
        signature(constructor).bind(None, *args, **kwargs)
    except TypeError as error:
        return str(error)
    except ValueError:  # it has no signature
        return ""
    return ""


def _class_at(name: str, path: str) -> type[DAGDefinition]:
    """Return the class of definitions that a path leads to."""
    found: object = known_classes.get(path)
    if found is None or "<locals>" not in path:
        try:
            found = _import(name, path)
        except UnknownFunction:
            if found is None:
                raise
    if not (isclass(found) and issubclass(found, DAGDefinition)):
        raise UnknownFunction(
            name=name,
            problem=f"{path} is not a subclass of DAGDefinition",
            way_out="Workers run decorated methods of DAGDefinition subclasses and nothing else.",
        )
    return found


def _import(name: str, path: str) -> object:
    """Import the module of "module:Qualified.name" and walks to the name."""
    module, _, qualified_name = path.partition(":")
    if not is_name(name):
        raise UnknownFunction(
            name=name, problem="the name is malformed", way_out='Names have the form "module:Class.method".'
        )
    try:
        found: object = import_in_base(partial(import_users, module))
    except Exception as error:
        raise UnknownFunction(
            name=name,
            problem=f"module {module!r} cannot be imported in this process ({type(error).__name__}: {error})",
            way_out="Install it where this worker runs, or put its folder on PYTHONPATH.",
        ) from error
    for part in qualified_name.split("."):
        found = getattr_static(found, part, None) if isclass(found) else getattr(found, part, None)
    if found is None:
        raise UnknownFunction(name=name, problem=f"module {module!r} has no {qualified_name}", way_out=_advice(path))
    return found


def _advice(path: str) -> str:
    """Say how a class that its module doesn't have can be reached."""
    if path.startswith("__main__:") and sys.modules["__main__"].__name__ == "__mp_main__":
        # This process was launched by a script, and has imported it under this name.
        return (
            f"Define it in the script above `{MAIN_GUARD}`, at the top level: what is below that exists only in the "
            "script's own process."
        )
    if path.startswith("__main__:"):
        return (
            "What is defined in a script runs on workers that launch_workers() or `dagorama run` starts from that "
            "script; for workers started elsewhere, move it into a module that they can import."
        )
    if "<locals>" in path:
        return "A class inside a function exists only in the process that made it: move it to its module's top level."
    return "Run workers with the code that made the node."
