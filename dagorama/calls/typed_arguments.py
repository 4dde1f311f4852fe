"""The arguments of a call that came as JSON, made into what its function's type hints say."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from types import GenericAlias
from typing import Any

from dagorama.calls.json_form import JsonArguments, read_json
from dagorama.calls.typed import Unfit, fitted, hints_of
from dagorama.errors import PayloadError

Arguments = tuple[tuple[object, ...], dict[str, object]]

_WAY_OUT = "Start it again, or run the node again, with arguments that fit."


def typed_arguments(
    payload: bytes, function: Callable[..., object], name: str, decode: Callable[[bytes], Arguments]
) -> Arguments:
    """Return the arguments of a call of a function, "module:Class.method", without its `self`.

    `decode` decodes the payload of the arguments that edits leave as they were. Raises `PayloadError`, naming the
    parameter and what it takes, for arguments that the function cannot have; another worker could not make them either.
    """
    try:
        read = read_json(payload)
    except (ValueError, RecursionError) as error:
        raise _error(name, f"they are no JSON that a worker reads ({error})") from None
    signature = inspect.signature(function)
    signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    hints = hints_of(function)
    args, kwargs = decode(read.rest) if read.rest else _fit(read, signature, hints, name)
    return _edited(args, kwargs, read.edits, signature, hints, name) if read.edits else (args, kwargs)


def _fit(read: JsonArguments, signature: Signature, hints: Mapping[str, Any], name: str) -> Arguments:
    """Return the arguments of a start."""
    bound = _bound(signature, tuple(read.args), dict(read.kwargs), name)
    for parameter, value in bound.arguments.items():
        kind, hint = signature.parameters[parameter].kind, hints.get(parameter, Any)
        if kind is Parameter.VAR_POSITIONAL:
            fit: object = tuple(_value(one, hint, f"{parameter}[{place}]", name) for place, one in enumerate(value))
        elif kind is Parameter.VAR_KEYWORD:
            fit = {key: _value(one, hint, key, name) for key, one in value.items()}
        else:
            fit = _value(value, hint, parameter, name)
        bound.arguments[parameter] = fit
    return bound.args, bound.kwargs


def _edited(
    args: tuple[object, ...],
    kwargs: dict[str, object],
    edits: Mapping[str, object],
    signature: Signature,
    hints: Mapping[str, Any],
    name: str,
) -> Arguments:
    """Return arguments with others in the place of the edited ones."""
    bound = _bound(signature, args, kwargs, name)
    bound.apply_defaults()  # what stands after an argument that is left out would go by its name
    for parameter, value in edits.items():
        known = signature.parameters.get(parameter)
        if known is not None and known.kind is not Parameter.VAR_KEYWORD:
            hint = hints.get(parameter, Any)
            if known.kind is Parameter.VAR_POSITIONAL:
                hint = GenericAlias(tuple, (hint, ...))
            bound.arguments[parameter] = _value(value, hint, parameter, name)
            continue
        rest = next((one for one in signature.parameters.values() if one.kind is Parameter.VAR_KEYWORD), None)
        if rest is None:
            raise _error(name, f"there is no parameter {parameter!r}; it has {', '.join(signature.parameters)}")
        further = dict(bound.arguments.get(rest.name, {}))
        bound.arguments[rest.name] = {**further, parameter: _value(value, hints.get(rest.name, Any), parameter, name)}
    return bound.args, bound.kwargs


def _bound(
    signature: Signature, args: tuple[object, ...], kwargs: dict[str, object], name: str
) -> inspect.BoundArguments:
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        raise _error(name, str(error)) from None


def _value(value: object, hint: Any, path: str, name: str) -> object:
    try:
        return fitted(value, hint, path)
    except Unfit as unfit:
        raise _error(name, str(unfit)) from None


def _error(name: str, problem: str) -> PayloadError:
    return PayloadError(what=f"the arguments of {name}", problem=problem, way_out=_WAY_OUT, is_everywhere=True)
