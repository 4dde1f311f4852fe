"""What is larger than the broker can keep is stopped at the border, before the journal sees it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote
from uuid import uuid4

import pytest

from dagorama.api import api_pb2
from dagorama.v1 import graph_pb2, work_pb2
from dagorama_broker.core.commands import NodeResult
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.values import Failure, NodeId
from dagorama_broker.requests import checks
from dagorama_broker.requests.answers import Outcome
from dagorama_broker.service import convert, unary_convert
from dagorama_broker.service.convert import incoming, outgoing
from dagorama_broker.service.errors import fitting

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
    completions = work_pb2.Completions(
        node_ids=[A, B], tokens=[1, 2], values=[bytes(100), bytes(101)], durations_us=[5, 5]
    )
    assert convert.to_completions(completions) == (
        [(A, 1, bytes(100), 5 * 1e-6, 0.0)],
        [NodeResult(node_id=B, token=2, failure=failed("the value has 101 bytes"))],  # type: ignore[arg-type]  # an id
        False,
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


@pytest.mark.parametrize("field", ["name", "queue", "taint", "code_version", "release"])
def test_a_name_that_is_too_long_is_refused(field: str) -> None:
    """The error has the beginning of the name, its size and the limit; what just fits is taken."""
    just = "é" * (checks.NAME_BYTES_MAX // 2)
    convert.to_function(graph_pb2.FunctionSpec(**{"name": "f", field: just}))  # type: ignore[arg-type]  # texts, all
    with pytest.raises(convert.MalformedRequest, match=f"'{just[:60]}'... has 2001 bytes; the limit is 2000"):
        convert.to_function(graph_pb2.FunctionSpec(**{"name": "f", field: just + "x"}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        (work_pb2.Hello(slots=10_001), "worker 'w' has 10001 slots; the limit is 10000"),
        (work_pb2.Hello(slots=2**32 - 1), "has 4294967295 slots"),
        (work_pb2.Hello(tolerations=["GPU", "t" * 2001]), "one of the tolerations of worker 'w': 'ttt"),
        (work_pb2.Hello(include_queues=["q" * 2001]), "one of the include_queues of worker 'w': 'qqq"),
        (work_pb2.Hello(function_names=["f"], code_versions=["v" * 2001]), "one of the code_versions of worker 'w'"),
        (work_pb2.Hello(modules=["m" * 2000] * 9_000), "the hello of worker 'w' has 1"),
    ],
)
def test_a_hello_without_bounds_is_refused(hello: work_pb2.Hello, said: str) -> None:
    """Whatever a worker says of itself has a bound, and the error names worker, field and bound."""
    hello.worker_id, hello.name = A, "w"
    with pytest.raises(convert.MalformedRequest) as caught:
        convert.to_connect(hello)
    assert said in str(caught.value)


def test_a_name_of_a_worker_has_a_bound() -> None:
    """Also the name that the other errors name it by."""
    with pytest.raises(convert.MalformedRequest, match=r"worker 'nnn.*'\.\.\. has 3000 bytes"):
        convert.to_connect(work_pb2.Hello(worker_id=A, name="n" * 3000, slots=1))


def test_a_function_that_cannot_be_fails_only_the_nodes_that_call_it() -> None:
    """It stands in the table of the message; a result that makes no use of it counts."""
    functions = [graph_pb2.FunctionSpec(name="f"), graph_pb2.FunctionSpec(name="g", timeout_s=float("nan"))]
    results = [
        work_pb2.Result(node_id=A, token=1, value=b"good", children=calls(1)),
        work_pb2.Result(node_id=B, token=2, value=b"bad", children=calls(1, function=1)),
    ]
    good, bad = convert.to_results(work_pb2.WorkRequest(functions=functions, results=results))
    assert (good.payload, [call.function.name for call in good.children], good.failure) == (b"good", ["f", "f"], None)
    assert bad.failure is not None
    assert (bad.failure.type, bad.failure.permanent) == ("InvalidExpansion", True)
    assert bad.failure.message.startswith("timeout_s of function g is nan")


@pytest.mark.parametrize("text", ["n" * 20_000, "é" * 20_000, "%" * 20_000, "\U0001f40d" * 20_000, "short", "n" * 6144])
def test_the_text_of_an_error_fits_into_a_header(text: str) -> None:
    """Escaped as gRPC escapes it, it has at most 6 KiB; what fits stays whole."""
    kept = fitting(text)
    assert len(quote(kept, safe="".join(map(chr, range(32, 127))).replace("%", ""))) <= 6144
    assert kept == text if len(text) <= 6144 else text.startswith(kept.removesuffix("..."))
    assert len(kept) > 400 or kept == text


def test_values_that_no_message_can_hold_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their sum, the limit and the way out."""
    monkeypatch.setattr(outgoing, "MESSAGE_BYTES_MAX", 250)
    values = [(NodeId(A), bytes(90)), (NodeId(B), bytes(90))]
    outcome = Outcome(NodeId(A), NodeState.COMPLETED, values)
    assert convert.from_outcomes([outcome]).values.payloads == [bytes(90)] * 2
    with pytest.raises(convert.SumTooLarge, match=r"come to 270 bytes together; the limit is .* bytes\. Keep the data"):
        convert.from_outcomes([outcome._replace(values=[*values, (NodeId(b"c" * 16), bytes(90))])])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arguments": bytes(101)}, "arguments of f has 101 bytes"),
        ({"functionName": "f" * 2001}, "functionName 'fff"),
        ({"queueName": "q" * 2001}, "queueName 'qqq"),
        ({"taintName": "t" * 2001}, "taintName 'ttt"),
        ({"functionHash": "h" * 2001}, "functionHash 'hhh"),
    ],
)
def test_the_unary_api_has_the_same_bounds(change: dict[str, object], said: str) -> None:
    """What would not fit into the storage is refused there too."""
    fields = {"identifier": str(uuid4()), "functionName": "f", "arguments": bytes(100)}
    unary_convert.to_call(api_pb2.NodeConfigurationMessage(**fields))  # type: ignore[arg-type]
    with pytest.raises(convert.MalformedRequest) as caught:
        unary_convert.to_call(api_pb2.NodeConfigurationMessage(**(fields | change)))  # type: ignore[arg-type]
    assert str(caught.value).startswith(said)
