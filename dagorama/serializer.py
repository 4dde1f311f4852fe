"""From functions to names, and on a worker from names back to functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from inspect import isclass, iscoroutinefunction
from types import MethodType
from typing import Any, NamedTuple, cast
from uuid import UUID

from dagorama.capture import Scope
from dagorama.code.policy import CodeMismatch
from dagorama.code_signature import calculate_function_hash
from dagorama.construction import class_name, local_classes, module_name, registered
from dagorama.definition import DAGDefinition, DAGInstance, instance_of
from dagorama.errors import UnknownFunction
from dagorama.importing import import_users
from dagorama.payload import decode, no_promises
from dagorama.retry import RetryConfiguration

#: Definitions kept ready, each with its constructor's arguments; far more than a worker serves at a time.
DEFINITIONS_MAX = 1024


class LoadedFunction(NamedTuple):
    """A function that a name led to."""

    definition: DAGDefinition
    #: As the user wrote it, without the decorator.
    function: Callable[..., Any]
    is_async: bool
    #: That of the code in this process.
    code_version: str
    #: Which exceptions are worth another attempt, by the code in this process.
    retry: RetryConfiguration | None
    #: What its decorator says about nodes of another version; None for nothing.
    code_mismatch: CodeMismatch | None


class BoundNode(NamedTuple):
    """What it takes to run a node: `bound.function(bound.instance, *args, **kwargs)`."""

    instance: DAGInstance[Any]
    function: Callable[..., Any]
    is_async: bool
    code_version: str
    retry: RetryConfiguration | None
    code_mismatch: CodeMismatch | None


def function_to_name(func: object) -> str:
    """Returns "module:Qualified.name" of a function or a class; of an object, that of its class."""
    if isinstance(func, MethodType) and type(func.__self__) is DAGInstance:
        return f"{class_name(type(func.__self__.definition))}.{func.__name__}"
    if type(func) is DAGInstance:
        return class_name(type(func.definition))
    if isinstance(func, DAGDefinition):
        return class_name(type(func))
    if isclass(func):
        return class_name(func)
    if callable(func) and hasattr(func, "__qualname__"):
        return f"{module_name(func.__module__)}:{func.__qualname__}"
    raise ValueError(f"{func!r} has no name: give a function, a class, a definition or an instance")


def register_definition(definition: DAGDefinition) -> None:
    """Makes this object stand for its class in this process: its methods run on it, however callers made theirs."""
    registered[function_to_name(definition)] = definition
    _load.cache_clear()


def forget_functions() -> None:
    """Has names lead to what is there now: a test may have replaced a method since they were last followed."""
    _load.cache_clear()


def forget_definitions() -> None:
    """Has definitions made anew for the nodes that run from now on."""
    _load.cache_clear()
    _make.cache_clear()


def name_to_function(name: str, instance_id: UUID) -> Callable[..., Any]:
    """Returns the decorated method that a name leads to, bound to the instance; `UnknownFunction` if it leads nowhere.

    Where no object was registered for its class, the class is called without arguments.
    """
    instance = load_function(name, b"", instance_id).instance
    return cast(Callable[..., Any], getattr(instance, name.rpartition(".")[2]))


def load_function(
    name: str, definition_arguments: bytes, instance_id: UUID | bytes, scope: Scope | None = None
) -> BoundNode:
    """Finds a node's function, and makes the instance that is its `self`, each node its own, with the node's scope.

    Definitions are made once for each `definition_arguments` and kept. Raises `UnknownFunction` if the name doesn't
    lead to a decorated method of a `DAGDefinition`; what the definition's constructor raises passes through.
    """
    # The next class made by the same function has the same name.
    load = _load.__wrapped__ if "<locals>" in name else _load
    loaded = load(name, definition_arguments)
    if isinstance(instance_id, UUID):
        instance_id = instance_id.bytes
    instance = instance_of(instance_id, loaded.definition, scope)
    _, function, is_async, code_version, retry, code_mismatch = loaded
    return BoundNode(instance, function, is_async, code_version, retry, code_mismatch)


@lru_cache(maxsize=DEFINITIONS_MAX)
def _load(name: str, definition_arguments: bytes) -> LoadedFunction:
    """Does the part of `load_function` that is the same for all instances."""
    path, _, attribute = name.rpartition(".")
    definition = _definition(name, path, definition_arguments)
    decorated = getattr(type(definition), attribute, None)
    function = getattr(decorated, "original_fn", None)
    if function is None:
        has = "is not decorated" if decorated is not None else "does not exist"
        raise UnknownFunction(
            name=name,
            problem=f"{attribute!r} of {path} {has} in this version of the code",
            way_out="Run workers with the code that made the node, and decorate what should run on them.",
        )
    code_version = calculate_function_hash(function, owner=type(definition))
    options = cast(Any, decorated).dagorama_options
    return LoadedFunction(
        definition, function, iscoroutinefunction(function), code_version, options.retry, options.code_mismatch
    )


@lru_cache(maxsize=DEFINITIONS_MAX)
def _make(definition_class: type[DAGDefinition], definition_arguments: bytes) -> DAGDefinition:
    """Makes a definition as its caller did."""
    if not definition_arguments:
        return definition_class()
    what = f"the arguments that {class_name(definition_class)} was made with"
    args, kwargs = cast(Any, decode(definition_arguments, no_promises, what=what))
    return definition_class(*args, **kwargs)


def _definition(name: str, path: str, definition_arguments: bytes) -> DAGDefinition:
    """Returns the registered object, or one made for these arguments, of the class at `path`."""
    if path in registered:
        return registered[path]
    found = local_classes.get(path) or _import(name, path)
    if not (isclass(found) and issubclass(found, DAGDefinition)):
        raise UnknownFunction(
            name=name,
            problem=f"{path} is not a subclass of DAGDefinition",
            way_out="Workers run decorated methods of DAGDefinition subclasses and nothing else.",
        )
    return _make(found, definition_arguments)


def _import(name: str, path: str) -> object:
    """Imports the module of "module:Qualified.name" and walks to the name."""
    module, colon, qualified_name = path.partition(":")
    if not (module and colon and qualified_name):
        raise UnknownFunction(
            name=name, problem="the name is malformed", way_out='Names have the form "module:Class.method".'
        )
    try:
        found: object = import_users(module)
    except Exception as error:
        raise UnknownFunction(
            name=name,
            problem=f"module {module!r} cannot be imported in this process ({type(error).__name__}: {error})",
            way_out="Install it where this worker runs, or put its folder on PYTHONPATH.",
        ) from error
    for part in qualified_name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise UnknownFunction(name=name, problem=f"module {module!r} has no {qualified_name}", way_out=_advice(path))
    return found


def _advice(path: str) -> str:
    """Says how a class that its module doesn't have can be reached."""
    if path.startswith("__main__:"):
        return (
            "What is defined in a script runs on workers that launch_workers() or `dagorama run` starts from that "
            "script; for workers started elsewhere, move it into a module that they can import."
        )
    if "<locals>" in path:
        return "A class inside a function exists only in the process that made it: move it to its module's top level."
    return "Run workers with the code that made the node."
