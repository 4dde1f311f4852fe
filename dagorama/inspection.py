"""Looking into values for promises, and at calls for wrong arguments.

Promises are found by taking the value apart with pickle, so they are found in objects of every kind. An object that
pickle can't take apart (a lock, a local function) stays as it is.
"""

from __future__ import annotations

import inspect
import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from types import FunctionType, ModuleType
from uuid import UUID

from dagorama.calls.pickling import PROTOCOL
from dagorama.models.promise import DAGPromise, NodePromise, base_of, node_id_of, part_of

#: Objects of exactly these types never need to be tried.
PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict})

#: What pickle knows by name only. A name may not lead there, as from a local class, so the object itself is kept.
BY_NAME = (type, FunctionType, ModuleType)


class _TakeApart(pickle.Pickler):
    """Pickles a value, but for the promises in it and the objects that don't pickle; they are kept."""

    def __init__(self, buffer: io.BytesIO) -> None:
        """Write the pickle to `buffer`, without the objects that are kept."""
        super().__init__(buffer, PROTOCOL)
        self.kept: list[object] = []

    def persistent_id(self, obj: object) -> int | None:
        """Return the place among the kept objects, or None for one that is taken apart."""
        if type(obj) in PLAIN or not (isinstance(obj, (NodePromise, *BY_NAME)) or not _reduces(obj)):
            return None
        self.kept.append(obj)
        return len(self.kept) - 1


class _PutTogether(pickle.Unpickler):
    """Makes the value again, with what `replace` gives for each kept object."""

    def __init__(self, buffer: io.BytesIO, kept: Sequence[object], replace: Callable[[object], object]) -> None:
        """Read a pickle with the objects that `_TakeApart` kept, `kept`."""
        super().__init__(buffer)
        self.kept = kept
        self.replace = replace

    def persistent_load(self, pid: int) -> object:
        """Return the object that stands at a place now."""
        return self.replace(self.kept[pid])


def _reduces(obj: object) -> bool:
    """Return whether pickle can take an object apart; its parts are another matter."""
    try:
        obj.__reduce_ex__(PROTOCOL)
    except Exception:
        return False
    return True


def find_promises(obj: object) -> list[DAGPromise]:
    """Return the promises in an object, at any depth, in order; of a lifted promise, the one of the whole value."""
    parts = _TakeApart(io.BytesIO())
    parts.dump(obj)
    return [base_of(part) for part in parts.kept if isinstance(part, NodePromise)]


def map_promises(obj: object, fn: Callable[[DAGPromise], object]) -> object:
    """Return a copy of an object with `fn(promise)` in place of each promise in it.

    For a lifted promise it is the part of `fn(promise of the whole value)`.
    """
    buffer = io.BytesIO()
    parts = _TakeApart(buffer)
    parts.dump(obj)
    buffer.seek(0)

    def replace(part: object) -> object:
        return part_of(part, fn(base_of(part))) if isinstance(part, NodePromise) else part

    return _PutTogether(buffer, parts.kept, replace).load()


def extract_promise_identifiers(obj: object) -> object:
    """Return a copy of an object in which the promises have kept their identifiers only."""
    return map_promises(obj, lambda promise: DAGPromise(UUID(bytes=node_id_of(promise))))


def resolve_promises(obj: object, values: Mapping[UUID, object]) -> object:
    """Return a copy of an object with `values[promise.identifier]` for each promise; `ValueError` if one lacks."""

    def value_of(promise: DAGPromise) -> object:
        identifier = UUID(bytes=node_id_of(promise))
        if identifier not in values:
            raise ValueError(f"there is no value for {promise!r}")
        return values[identifier]

    return map_promises(obj, value_of)


class CallRules:
    """The arguments that a function takes. Says yes in well under a microsecond; only a no takes longer."""

    def __init__(self, fn: Callable[..., object]) -> None:
        """Read the signature of `fn` once."""
        self.name = getattr(fn, "__qualname__", repr(fn))
        self.signature = inspect.signature(fn)
        parameters = list(self.signature.parameters.values())
        places = [p for p in parameters if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
        self._any_place = any(p.kind is Parameter.VAR_POSITIONAL for p in parameters)
        self._any_name = any(p.kind is Parameter.VAR_KEYWORD for p in parameters)
        #: For each number of positional arguments: the names that must follow, and those that may.
        self._names = [self._after(places[:count], parameters) for count in range(len(places) + 1)]
        #: How many arguments without names are enough, and no more than it takes: such a call needs no check.
        self.counts = frozenset(count for count, (required, _) in enumerate(self._names) if not required)

    @staticmethod
    def _after(taken: list[Parameter], parameters: list[Parameter]) -> tuple[frozenset[str], frozenset[str]]:
        variable = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        open_ = [p for p in parameters if p not in taken and p.kind not in variable]
        required = frozenset(p.name for p in open_ if p.default is Parameter.empty)
        return required, frozenset(p.name for p in open_ if p.kind is not Parameter.POSITIONAL_ONLY)

    def check(self, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        """Raise `TypeError` unless the function can be called with these arguments."""
        count = len(args)
        if count < len(self._names) or self._any_place:
            required, allowed = self._names[count if count < len(self._names) else -1]
            if required <= kwargs.keys() <= allowed if kwargs else not required:
                return
        problem = problem_of_call(self.signature, args, kwargs)
        if problem:
            raise TypeError(f"{self.name}(): {problem}")


def problem_of_call(signature: inspect.Signature, args: Sequence[object], kwargs: Mapping[str, object]) -> str:
    """Return the problem of a call, empty for none: Python's words, and the names that are no arguments.

    Python names what is missing first, and a slip in a name has both.
    """
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        parameters = signature.parameters
        unknown = (
            [] if any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values()) else kwargs.keys() - parameters
        )
        named = ", ".join(repr(name) for name in kwargs if name in unknown and repr(name) not in str(error))
        return f"{error}; there is no argument {named}" if named else str(error)
    return ""


def problem_of_function(function: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]) -> str:
    """Return the problem of a call of a function that is waited for; empty for none, or where that cannot be told."""
    if inspect.iscoroutinefunction(function):
        return "it is asynchronous, and is called without a loop: call asyncio.run() in one that is not"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    return problem_of_call(signature, args, kwargs)


def shown_signature(signature: inspect.Signature) -> str:
    """Return a signature as it is written, also where annotations are kept as text."""

    def plain(annotation: object) -> object:
        return _AsWritten(annotation) if isinstance(annotation, str) else annotation

    parameters = [one.replace(annotation=plain(one.annotation)) for one in signature.parameters.values()]
    returns = plain(signature.return_annotation)
    return str(signature.replace(parameters=parameters, return_annotation=returns))


class _AsWritten:
    """An annotation that is text, for people."""

    def __init__(self, text: str) -> None:
        """Keep the text."""
        self.text = text

    def __repr__(self) -> str:
        """Return the text without quotes."""
        return self.text


def verify_function_call(fn: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
    """Return True if `fn` can be called with these arguments; raises `TypeError` by Python's own rules otherwise."""
    CallRules(fn).check(args, kwargs)
    return True
