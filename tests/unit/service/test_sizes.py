"""What is larger than the broker can keep is stopped at the border, before the journal sees it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dagorama.v1 import graph_pb2, work_pb2
from dagorama_broker.core.commands import NodeResult
from dagorama_broker.core.model import Failure
from dagorama_broker.service import convert
from dagorama_broker.service.convert import checks, incoming

WAY_OUT = "the limit is 100 bytes. Keep the data in a file or a store that all workers reach, and pass its name"
FUNCTIONS = [
    graph_pb2.FunctionSpec(name="shop:f"),
    graph_pb2.FunctionSpec(name="shop:g", definition_arguments=bytes(101)),
]
A, B = b"a" * 16, b"b" * 16


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the limit one that a test can afford."""
    for module in (checks, incoming):
        monkeypatch.setattr(module, "PAYLOAD_BYTES_MAX", 100)


def calls(size: int, function: int = 0) -> graph_pb2.Calls:
    """Give two calls, of which the second has arguments of this size."""
    return graph_pb2.Calls(node_ids=[A, B], functions=[0, function], arguments=[b"", bytes(size)])


def failed(message: str) -> Failure:
    """Give the failure of a node that gave too much."""
    return Failure(type="ValueTooLarge", message=f"{message}; {WAY_OUT}", permanent=True)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (calls(101), "a call of shop:f with its arguments has 101 bytes"),
        (calls(0, function=1), "function shop:g has 113 bytes"),
    ],
)
def test_calls_that_are_too_large_are_refused(message: graph_pb2.Calls, said: str) -> None:
    """The error names the call or function, its size, the limit and what to do; what just fits is taken."""
    functions = [convert.to_function(function) for function in FUNCTIONS]
    with pytest.raises(convert.MalformedRequest) as caught:
        convert.to_calls(message, functions)
    assert str(caught.value) == f"{said}; {WAY_OUT}"
    assert [len(call.arguments) for call in convert.to_calls(calls(100), functions)] == [0, 100]


def test_a_plain_value_that_is_too_large_fails_its_node_alone() -> None:
    """Of the values that come together only the one that is too large becomes a failure, which is permanent."""
    request = work_pb2.WorkRequest(
        completions=work_pb2.Completions(
            node_ids=[A, B], tokens=[1, 2], values=[bytes(100), bytes(101)], durations_us=[5, 5]
        )
    )
    assert (list(convert.to_completions(request.completions)), convert.to_results(request)) == (
        [(A, 1, bytes(100), 5 * 1e-6)],
        [NodeResult(node_id=B, token=2, failure=failed("the value has 101 bytes"))],  # type: ignore[arg-type]  # an id
    )


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (lambda result: setattr(result, "value", bytes(101)), "the value has 101 bytes"),
        (
            lambda result: result.children.CopyFrom(calls(101)),
            "a call of shop:f with its arguments has 101 bytes",
        ),
        (lambda result: result.children.CopyFrom(calls(0, function=1)), "function shop:g has 113 bytes"),
    ],
)
def test_a_result_that_is_too_large_fails_its_node(fill: Callable[[work_pb2.Result], None], said: str) -> None:
    """Whether it is the value or a call that the function made: the node fails for good, and the stream goes on."""
    result = work_pb2.Result(node_id=A, token=1, value=b"")
    fill(result)
    (taken,) = convert.to_results(work_pb2.WorkRequest(functions=FUNCTIONS, results=[result]))
    assert (taken.failure, taken.payload, taken.children) == (failed(said), None, ())


def test_a_failure_that_is_too_large_is_told_by_its_size() -> None:
    """A traceback or an exception too large to keep leaves the failure's type, and whether it is tried again."""
    message = graph_pb2.Failure(type="ValueError", exception=bytes(200))
    failure = convert.to_failure(message)
    assert failure == Failure(
        type="ValueTooLarge",
        message=f"a failure of type ValueError has {message.ByteSize()} bytes; {WAY_OUT}",
        permanent=False,
    )
