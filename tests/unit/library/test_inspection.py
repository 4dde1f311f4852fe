"""Promises are found and replaced in objects of every kind, and calls are checked by Python's rules."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagorama.inspection import (
    extract_promise_identifiers,
    find_promises,
    map_promises,
    resolve_promises,
    verify_function_call,
)
from dagorama.models.promise import DAGPromise, LiftedPromise
from tests.unit.library.containers import AROUND, Plain

around_kinds = pytest.mark.parametrize("around", AROUND.values(), ids=AROUND.keys())


@around_kinds
def test_promises_are_found(around: Callable[[object], object]) -> None:
    """A promise is found in every kind of object, with all its fields."""
    promise = DAGPromise(uuid4(), "m:C.f")
    assert find_promises(around(promise)) == [promise]


@around_kinds
def test_promises_are_resolved(around: Callable[[object], object]) -> None:
    """Each promise gives way to the value for its identifier."""
    promise = DAGPromise(uuid4())
    assert resolve_promises(around(promise), {promise.identifier: "value"}) == around("value")


@around_kinds
def test_promises_keep_their_identifiers_only(around: Callable[[object], object]) -> None:
    """What was known of a promise beside its identifier is gone."""
    promise = DAGPromise(uuid4(), "m:C.f")
    assert extract_promise_identifiers(around(promise)) == around(DAGPromise(promise.identifier))


def test_promises_are_found_in_order_and_as_often_as_they_occur() -> None:
    """Each place counts; of a lifted promise, it is the promise of the whole value."""
    first, second = DAGPromise(uuid4()), DAGPromise(uuid4())
    part: Any = second["k"]
    assert find_promises([part.x, (first, second)]) == [second, first, second]


def test_parts_are_taken_of_what_takes_the_place() -> None:
    """A lifted promise gives way to the part of the whole value, or stays a part of a promise."""
    promise = DAGPromise(uuid4(), "m:C.f")
    assert resolve_promises([promise["k"]], {promise.identifier: {"k": 1}}) == [1]
    bare = extract_promise_identifiers([promise["k"]])
    assert bare == [LiftedPromise(DAGPromise(promise.identifier), (("[]", "k"),))]


def test_a_missing_value_is_an_error() -> None:
    """There is no value to put in the place of an unknown promise."""
    with pytest.raises(ValueError, match="no value"):
        resolve_promises([DAGPromise(uuid4())], {})


def test_what_pickle_cannot_take_apart_stays() -> None:
    """Locks, local functions and local classes next to a promise are kept as they are, the same objects."""

    class Local(Plain):
        pass

    promise = DAGPromise(uuid4())
    lock = threading.Lock()
    pattern = re.compile("x")
    held: list[Any] = [lock, lambda: 1, Local, threading, Local(promise), (str(n) for n in range(3)), pattern]
    mapped: Any = map_promises([*held, promise], lambda _: "value")
    assert find_promises(held) == [promise]
    assert mapped[:4] == held[:4]
    assert mapped[4].part == "value"
    assert mapped[5] is held[5]
    assert mapped[6:] == [pattern, "value"]


def required(a: object, b: object, c: object) -> None:
    """Takes three."""


def optional(a: object, b: object, c: object = 3) -> None:
    """Takes two or three."""


def keyword(a: object, /, b: object = 1, *, c: object, d: object = 2) -> None:
    """Takes some by place only, some by name only."""


def anything(a: object, *args: object, **kwargs: object) -> None:
    """Takes one and more."""


def nameless(a: object, /, **kwargs: object) -> None:
    """Takes its first by place only, and the name of that for something else."""


FUNCTIONS = [required, optional, keyword, anything, nameless]


@pytest.mark.parametrize(
    ("fn", "args", "kwargs"),
    [
        (optional, (1, 2), {}),
        (optional, (1,), {"b": 2}),
        (required, (1, 2), {"c": 3}),
        (anything, (1, 2, 3), {"k": 4}),
        (nameless, (1,), {"a": 2}),
    ],
)
def test_right_calls_are_verified(fn: Callable[..., object], args: Sequence[object], kwargs: dict[str, object]) -> None:
    """A call that Python would make is True."""
    assert verify_function_call(fn, args, kwargs) is True


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "match"),
    [
        (optional, (1,), {"b": 2, "d": 4}, "unexpected keyword argument 'd'"),
        (optional, (1,), {}, "missing a required argument: 'b'"),
        (required, (1, 2), {}, "missing a required argument: 'c'"),
        (required, (1, 2, 3, 4), {}, "too many positional"),
        (required, (1, 2, 3), {"a": 1}, "multiple values for argument 'a'"),
        (keyword, (1,), {}, "missing a required"),
        (required, (1,), {"C": 3}, "missing a required argument: 'b'; there is no argument 'C'"),
        (optional, (), {"x": 1, "y": 2}, "there is no argument 'x', 'y'"),
        (anything, (), {"x": 1}, "missing a required argument: 'a'$"),
    ],
)
def test_wrong_calls_are_type_errors(
    fn: Callable[..., object], args: Sequence[object], kwargs: dict[str, object], match: str
) -> None:
    """A call that Python would not make raises what is wrong with it, and names the function."""
    with pytest.raises(TypeError, match=rf"{fn.__name__}\(\): .*{match}"):
        verify_function_call(fn, args, kwargs)


@given(st.sampled_from(FUNCTIONS), st.lists(st.none(), max_size=5), st.sets(st.sampled_from("abcde")))
def test_calls_are_judged_as_python_does(fn: Callable[..., object], args: list[None], names: set[str]) -> None:
    """Verifying a call says yes exactly when making it would."""
    kwargs = dict.fromkeys(names)
    try:
        fn(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            verify_function_call(fn, args, kwargs)
    else:
        assert verify_function_call(fn, args, kwargs)
