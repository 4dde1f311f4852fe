"""The definitions that workers tell of, for programs that have not their code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from dagorama.calls.capture import FunctionSpec
from dagorama.calls.hook_calls import HookCall
from dagorama.limits import Limit
from dagorama.retry import RetryConfiguration, RetryNumbers

if TYPE_CHECKING:
    from dagorama.v1.graph_pb2 import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterInfo:
    """A parameter of an entrypoint, as its code has it."""

    name: str
    #: "positional_only", "positional_or_keyword", "var_positional", "keyword_only" or "var_keyword".
    kind: str
    #: Its type hint as a text; empty for none.
    annotation: str
    #: Its default as a text; None for none.
    default: str | None


class Announced(NamedTuple):
    """A definition as a worker tells of it."""

    name: str
    #: In no version of the code: any that a worker has.
    entrypoint: FunctionSpec
    parameters: tuple[ParameterInfo, ...]
    doc: str
    #: One for each limit of the entrypoint.
    limit_keys: tuple[str, ...]
    hooks: tuple[HookCall, ...]
    problem: str
    code_version: str
    #: For how many seconds its instances are kept, see `dagorama.options.Keep`; empty: it does not say.
    keep: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionInfo:
    """A definition that a connected worker has told of, for `start`."""

    #: "module:Class".
    name: str
    #: The first line of its docstring, or of its entrypoint's; empty for none.
    doc: str
    #: Those of its entrypoint.
    parameters: tuple[ParameterInfo, ...]
    #: Where its entrypoint goes, and its taint, empty for none.
    queue: str
    taint: str
    #: How often it is tried in all, and how many seconds an attempt may take; None for any time.
    max_attempts: int
    timeout_s: float | None
    #: That which the worker has that was asked last, where it has told; the start takes any.
    code_version: str
    #: Names of the connected workers that have it.
    workers: tuple[str, ...]
    #: Why it cannot be started by its name; empty where it can.
    problem: str
    #: What a start submits.
    announced: Announced = field(repr=False, compare=False)

    def __str__(self) -> str:
        """Return its name and its parameters as Python writes them."""
        return f"{self.name}{signature_of(self)}"


def signature_of(info: DefinitionInfo) -> inspect.Signature:
    """Return the signature of an entrypoint; annotations and defaults are texts."""
    return inspect.Signature([_parameter(one) for one in info.parameters])


def _parameter(info: ParameterInfo) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    return inspect.Parameter(
        info.name,
        inspect._ParameterKind[info.kind.upper()],
        default=empty if info.default is None else _Text(info.default),
        annotation=_Text(info.annotation) if info.annotation else empty,
    )


class _Text:
    """Stands for a value of which there is only the text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        """Return the text."""
        return self.text


@dataclass(frozen=True)
class _ToldRetry(RetryConfiguration):
    """A retry policy as a worker has told of it."""

    told: RetryNumbers

    def numbers(self) -> RetryNumbers:
        """Return the policy as the broker follows it."""
        return self.told

    def as_message(self) -> RetryPolicy:
        """Return the policy as it travels."""
        from dagorama.v1.graph_pb2 import RetryPolicy

        return RetryPolicy(**self.told._asdict())


def function_told(spec: Any) -> FunctionSpec:
    """Return a function that a broker tells of, as a message or as its own type: both have the same names."""
    told = {each.name: getattr(spec, each.name) for each in fields(FunctionSpec)}
    told["retry"] = _ToldRetry(RetryNumbers(*(getattr(spec.retry, name) for name in RetryNumbers._fields)))
    told["limits"] = tuple(
        Limit("told", max=one.max or None, per_second=one.rate_per_s or None, burst=_burst(one)) for one in spec.limits
    )
    return FunctionSpec(**told)


def _burst(limit: Any) -> int | None:
    return (limit.burst or None) if limit.rate_per_s else None


def announced_told(told: Any) -> Announced:
    """Return a definition that a broker tells of, in either form."""
    return Announced(
        name=told.name,
        entrypoint=function_told(told.entrypoint),
        parameters=tuple(
            ParameterInfo(
                name=one.name,
                kind=one.kind,
                annotation=one.annotation,
                default=one.default if one.has_default else None,
            )
            for one in told.parameters
        ),
        doc=told.doc,
        limit_keys=tuple(told.limit_keys),
        hooks=tuple(HookCall(function_told(one.function), one.arguments, one.only_failed) for one in told.hooks),
        problem=told.problem,
        code_version=told.code_version,
        keep=tuple(told.keep),
    )


def _parameters_told(told: Any) -> tuple[ParameterInfo, ...]:
    return announced_told(told.definition).parameters


#: Where the facts of a `DefinitionInfo` are in what a broker tells, in either form.
PLACES: Mapping[str, str | Callable[[Any], object]] = {
    "name": "definition.name",
    "doc": "definition.doc",
    "parameters": _parameters_told,
    "queue": "definition.entrypoint.queue",
    "taint": "definition.entrypoint.taint",
    "max_attempts": lambda told: max(1, told.definition.entrypoint.retry.max_attempts),
    "timeout_s": "definition.entrypoint.timeout_s",
    "code_version": "definition.code_version",
    "problem": "definition.problem",
    "announced": lambda told: announced_told(told.definition),
}
