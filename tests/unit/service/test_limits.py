"""Limits and keys at the border: what does not fit is refused before the core sees it."""

from __future__ import annotations

from math import inf, nan

import pytest

from dagorama.v1 import graph_pb2
from dagorama_broker.core.model.values import LimitSpec
from dagorama_broker.service import convert

LIMITED = graph_pb2.FunctionSpec(
    name="shop:f", limits=[graph_pb2.Limit(max=3), graph_pb2.Limit(rate_per_s=20, burst=5)]
)
PLAIN = graph_pb2.FunctionSpec(name="shop:g")
FUNCTIONS = [convert.to_function(LIMITED), convert.to_function(PLAIN)]
A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


def calls(*keys: str, functions: tuple[int, ...] = (0, 1, 0)) -> graph_pb2.Calls:
    """Give calls of these functions."""
    return graph_pb2.Calls(
        node_ids=[A, B, C][: len(functions)], functions=functions, arguments=[b""] * len(functions), limit_keys=keys
    )


def test_limits_of_a_function() -> None:
    """They come as they were sent, and go as they came; a burst is 1 unless given."""
    assert FUNCTIONS[0].limits == (LimitSpec(max=3), LimitSpec(rate_per_s=20.0, burst=5))
    assert list(convert.from_function(FUNCTIONS[0]).limits) == list(LIMITED.limits)
    rate = graph_pb2.FunctionSpec(name="shop:f", limits=[graph_pb2.Limit(rate_per_s=1e-9)])
    assert convert.to_function(rate).limits == (LimitSpec(rate_per_s=1e-9, burst=1),)
    assert FUNCTIONS[1].limits == ()


def test_each_call_has_its_keys() -> None:
    """In order, as many as its function has limits; a call of a function without limits has none."""
    taken = convert.to_calls(calls("x", "y", "z", "x"), FUNCTIONS)
    assert [call.limit_keys for call in taken] == [("x", "y"), (), ("z", "x")]
    assert [call.limit_keys for call in convert.to_calls(calls(functions=(1, 1)), FUNCTIONS)] == [(), ()]
    assert convert.to_calls(calls(functions=()), FUNCTIONS) == []


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (calls(), "calls have 0 limit_keys; their functions have 4 limits in all"),
        (calls("x", "y", "z"), "calls have 3 limit_keys; their functions have 4 limits in all"),
        (calls("x", functions=(1,)), "calls have 1 limit_keys; their functions have 0 limits in all"),
        (calls("x", functions=()), "calls have 1 limit_keys; their functions have 0 limits in all"),
        (calls("x", "", functions=(0,)), "one of the limit_keys of calls has 0 bytes; it must have 1 to 500"),
        (calls("x", "é" * 251, functions=(0,)), "one of the limit_keys of calls has 502 bytes; it must have 1 to 500"),
        (calls("x", "a\0", functions=(0,)), "one of the limit_keys of calls has a NUL in it"),
    ],
)
def test_keys_that_do_not_fit_are_refused(message: graph_pb2.Calls, said: str) -> None:
    """The error names the field and what it holds."""
    with pytest.raises(convert.MalformedRequest) as caught:
        convert.to_calls(message, FUNCTIONS)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (graph_pb2.Limit(), "limits[1] of function shop:f has neither max nor rate_per_s"),
        (graph_pb2.Limit(max=1, burst=2), "limits[1] of function shop:f has a burst of 2"),
        *(
            (graph_pb2.Limit(rate_per_s=rate), f"rate_per_s of limits[1] of function shop:f is {rate}; it must be")
            for rate in (-1.0, inf, nan, 1e-10, 1e10)
        ),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(limit: graph_pb2.Limit, said: str) -> None:
    """The error names function, limit and field. What is taken leaves the core nothing that is not finite."""
    with pytest.raises(convert.MalformedRequest) as caught:
        convert.to_function(graph_pb2.FunctionSpec(name="shop:f", limits=[graph_pb2.Limit(max=1), limit]))
    assert str(caught.value).startswith(said)


def test_a_function_has_ten_limits_at_most() -> None:
    """Each call carries a key for each, so the number is bounded."""
    limits = [graph_pb2.Limit(max=1)] * 11
    assert len(convert.to_function(graph_pb2.FunctionSpec(name="shop:f", limits=limits[:10])).limits) == 10
    with pytest.raises(convert.MalformedRequest, match=r"^function shop:f has 11 limits; the most is 10$"):
        convert.to_function(graph_pb2.FunctionSpec(name="shop:f", limits=limits))
