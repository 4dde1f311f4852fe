"""Promises can be passed, lifted and compared; every other use is refused."""

from __future__ import annotations

import copy
import operator
import os
import pickle
from collections.abc import Callable
from dataclasses import fields
from typing import Any
from uuid import UUID, uuid4

import pytest

from dagorama.calls.ids import new_id
from dagorama.calls.payload import decode, encode
from dagorama.errors import DagoramaError, PayloadError, PromiseMisuse
from dagorama.models.arguments import DAGArguments
from dagorama.models.promise import DAGPromise, LiftedPromise, new_promise, node_id_of


def some_promise() -> Any:
    """Makes a promise. To a type checker it could be any value, as it is in a user's code."""
    return new_promise(new_id())


def test_the_fields_of_0_1_are_there() -> None:
    """A promise is a dataclass of an identifier, a function's name and arguments."""
    identifier = uuid4()
    promise = DAGPromise(identifier)
    assert [field.name for field in fields(promise)] == ["identifier", "function_name", "arguments"]
    assert (promise.identifier, promise.function_name, promise.arguments) == (identifier, None, None)


def test_promises_are_equal_by_field() -> None:
    """Two promises are equal if all their fields are, and then hash alike."""
    node_id = new_id()
    quick, slow = new_promise(node_id, "m:C.f"), DAGPromise(UUID(bytes=node_id), "m:C.f")
    assert quick == slow
    assert hash(quick) == hash(slow)
    assert node_id_of(slow) == node_id
    assert quick != DAGPromise(UUID(bytes=node_id), "m:C.g")
    assert quick != new_promise(new_id(), "m:C.f")
    assert quick is not None
    assert quick != None  # noqa: E711 - that is what is tried


def test_parts_are_promises_too() -> None:
    """Items and attributes of a promise are promises of parts of its value, equal if they lead the same way."""
    promise = some_promise()
    part = promise["k"][0].field
    assert isinstance(part, LiftedPromise)
    assert part == promise["k"][0].field
    assert hash(part) == hash(promise["k"][0].field)
    assert part != promise["k"][1].field
    assert repr(part) == f"{promise!r}['k'][0].field"


def test_a_part_may_be_called_like_anything() -> None:
    """The fields of a promise do not stand in the way of the parts of a part."""
    part = some_promise().config
    for name in ("identifier", "function_name", "arguments", "path", "base"):
        assert repr(getattr(part, name)).endswith(f".config.{name}")


@pytest.mark.parametrize("name", ["__array_interface__", "__wrapped__", "_private", "_repr_html_"])
def test_private_names_are_no_parts(name: str) -> None:
    """Tools that probe for special attributes find none."""
    assert not hasattr(new_promise(new_id()), name)


MISUSES: list[Callable[[Any], object]] = [
    bool,
    list,
    len,
    int,
    float,
    abs,
    round,
    bytes,
    reversed,
    os.fspath,
    operator.neg,
    operator.index,
    lambda p: f"{p:.2f}",
    lambda p: f"{p:d}",
    lambda p: f"{p:05}",
    lambda p: f"{p:%Y}",
    lambda p: "%.1f" % p,  # noqa: UP031 - the old way of formatting is what is tried here
    lambda p: not p,
    lambda p: p + 1,
    lambda p: 1 + p,
    lambda p: [1] * p,
    lambda p: p | {},
    lambda p: p < 1,
    lambda p: p <= 1,
    lambda p: max(p, 1),
    lambda p: 1 in p,
    lambda p: p(),
    lambda p: p.items(),
    lambda p: {**p},
    lambda p: operator.setitem(p, 0, 1),
    lambda p: range(p),
    lambda p: p.__enter__(),
]


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("use", MISUSES)
def test_using_a_promise_as_a_value_is_refused(use: Callable[[object], object], part: bool) -> None:
    """Whatever needs the value raises at once, names the promise, and says what to do instead."""
    promise: Any = new_promise(new_id(), "m:C.f")
    if part:
        promise = promise["k"]
    with pytest.raises(PromiseMisuse, match=r"(?s)m:C\.f.*Pass|Index") as raised:
        use(promise)
    assert isinstance(raised.value, TypeError)
    assert isinstance(raised.value, DagoramaError)


def test_unpacking_says_to_index() -> None:
    """Unpacking a promised tuple says how its parts are had."""
    with pytest.raises(PromiseMisuse, match=r"p\[0\]"):
        _, _ = some_promise()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_promises_copy_and_pickle_as_themselves(duplicate: Callable[[object], object]) -> None:
    """Outside of a payload, promises and parts of them are ordinary objects."""
    promise: Any = DAGPromise(uuid4(), "m:C.f", DAGArguments((1,), {"a": 2}))
    assert duplicate(promise) == promise
    assert duplicate(promise["k"].x) == promise["k"].x


def test_a_part_that_is_not_there_is_named() -> None:
    """Taking a part that a value lacks fails where the value is used, naming the path and the value's type."""
    promise = some_promise()
    data, promise_ids = encode(promise["rows"][3].name, what="x")
    assert promise_ids == (node_id_of(promise),)
    with pytest.raises(
        PayloadError, match=r"promise\['rows'\]\[3\]\.name.*value of promise\['rows'\] is a list.*IndexError"
    ):
        decode(data, lambda _: {"rows": [1]})


def test_arguments_travel_with_bare_promises() -> None:
    """The arguments of a call come back from their payload, with promises that know their identifier only."""
    promise = DAGPromise(uuid4(), "m:C.f")
    arguments = DAGArguments((1, [promise]), {"k": {promise}})
    bare = DAGPromise(promise.identifier)
    assert DAGArguments.from_server_bytes(arguments.to_server_bytes()) == DAGArguments((1, [bare]), {"k": {bare}})
