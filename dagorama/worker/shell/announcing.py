"""The definitions of this process, as a worker tells the broker of them: people start them without their code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature, isabstract
from typing import Any

from dagorama.calls.class_attributes import class_attribute, decorated_in
from dagorama.calls.hook_calls import HOOKS_MODULE, hook_calls
from dagorama.calls.names import class_name
from dagorama.calls.payload import encode_if_possible
from dagorama.calls.previews import preview_value
from dagorama.client.definitions import Announced, ParameterInfo
from dagorama.definition import DAGDefinition, constructor_of
from dagorama.logging import get_logger
from dagorama.worker.shell.listing import is_at_its_name, is_inside, subclasses

#: The broker takes so many definitions of a worker, and so long texts.
DEFINITIONS_MAX, CHARS_MAX, PARAMETERS_MAX = 500, 300, 100


def announced_here(only_modules: Sequence[str] = (), versions: Mapping[str, str] | None = None) -> list[Announced]:
    """Return the definitions of this process whose entrypoints workers run, as far as the broker takes them."""
    found: list[Announced] = []
    for kind in subclasses(DAGDefinition):
        if len(found) == DEFINITIONS_MAX:
            break
        module = kind.__module__
        if isabstract(kind) or module == HOOKS_MODULE or (only_modules and not is_inside(module, only_modules)):
            continue
        if is_at_its_name(kind):
            try:
                one = _announced(kind, versions or {})
            except Exception as error:  # classes of the user's may be of any kind
                get_logger().debug("%s is not told to the broker: %s", class_name(kind), error)
                continue
            found += [one] if one is not None else []
    return found


def _announced(kind: type[DAGDefinition], versions: Mapping[str, str]) -> Announced | None:
    """Return what is told of a definition; None where its entrypoint is not decorated, so that no worker runs it."""
    decorated: Any = decorated_in(class_attribute(kind, "entrypoint"))
    if decorated is None:
        return None
    function, options = decorated.original_fn, decorated.dagorama_options
    name = f"{class_name(kind)}.entrypoint"
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())[1:]
    keys = [limit.key for limit in options.limits]
    return Announced(
        name=class_name(kind),
        entrypoint=options.spec_named(name, function),
        parameters=tuple(map(_parameter, parameters[:PARAMETERS_MAX])),
        doc=_first_line(kind) or _first_line(function),
        limit_keys=tuple(key for key in keys if isinstance(key, str)),
        hooks=hook_calls(kind, b"", "", ()),
        problem=_problem(kind, keys, parameters),
        code_version=versions.get(name, ""),
        keep=kind._dagorama_keep or (),
    )


def _problem(kind: type[DAGDefinition], keys: Sequence[object], parameters: Sequence[Parameter]) -> str:
    """Say why a definition cannot be started without its code; empty where it can."""
    constructor = constructor_of(kind)
    if constructor is not None and (needed := _needed(constructor)):
        return f"its constructor takes {', '.join(needed)}: start it from Python"
    if not all(isinstance(key, str) for key in keys):
        return "its limits go by its arguments: start it from Python"
    if len(parameters) > PARAMETERS_MAX:
        return f"it has {len(parameters)} parameters: start it from Python"
    return ""


def _needed(constructor: Callable[..., object]) -> list[str]:
    """Return the parameters that a constructor has to be given."""
    variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    found = list(inspect.signature(constructor).parameters.values())[1:]
    return [one.name for one in found if one.default is Parameter.empty and one.kind not in variadic]


def _parameter(parameter: Parameter) -> ParameterInfo:
    annotation = parameter.annotation
    if annotation is Signature.empty:
        annotation = ""
    elif not isinstance(annotation, str):
        annotation = inspect.formatannotation(annotation)
    return ParameterInfo(
        name=_cut(parameter.name),
        kind=parameter.kind.name.lower(),
        annotation=_cut(annotation),
        default=None if parameter.default is Parameter.empty else _default(parameter.default),
    )


def _default(value: object) -> str:
    """Return a default as a text, without asking it for one."""
    payload = encode_if_possible(value)
    return "..." if payload is None else preview_value(payload.data, len(payload.data), chars_max=CHARS_MAX).text


def _first_line(thing: object) -> str:
    doc = vars(thing).get("__doc__") if isinstance(thing, type) else getattr(thing, "__doc__", None)
    return _cut(doc.strip().splitlines()[0]) if isinstance(doc, str) and doc.strip() else ""


def _cut(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode().replace("\0", "")
    return text if len(text) <= CHARS_MAX else f"{text[: CHARS_MAX - 3]}..."
