"""How a worker's reports are written."""

import pytest

from dagorama.calls.capture import CapturedCall, FunctionSpec
from dagorama.retry import StaticRetry
from dagorama.v1 import graph_pb2
from dagorama.v1.graph_pb2 import Calls
from dagorama.v1.work_pb2 import Completions, Result, WorkRequest
from dagorama.worker.shell import stream
from dagorama.worker.shell.held import Failure, Function, Held, Report
from dagorama.worker.shell.stream import fit, write_results

NODES = [bytes([number]) * 16 for number in range(8)]
CHILDREN = [bytes([100 + number]) * 16 for number in range(3)]
FUNCTIONS = {name: FunctionSpec(name, "1", "q", "", StaticRetry(1, 0), b"") for name in ("m:C.f", "m:C.g")}


def held(number: int, report: Report) -> Held:
    """Gives a node that has ended; its token is its number and 10."""
    node = Held(NODES[number], 10 + number, b"i" * 16, Function("m:C.f", b""), b"", 1, None)
    node.report = report
    return node


def written(*reports: Report, now: float = 0.0) -> WorkRequest:
    """Gives the request for the reports, of nodes in their order."""
    request = WorkRequest()
    write_results(request, [held(number, report) for number, report in enumerate(reports)], now)
    return request


def child(number: int, function: str, *dependency_ids: bytes) -> CapturedCall:
    """Gives a call that a node made."""
    return CapturedCall(CHILDREN[number], FUNCTIONS[function], b"arguments", dependency_ids)


def test_plain_values_go_out_as_completions() -> None:
    """Values without promises and children stand in columns, in their order, an empty payload too."""
    request = written(Report(5, value=b"zero"), Report(6, value=b""))
    assert request == WorkRequest(
        completions=Completions(
            node_ids=NODES[:2], tokens=[10, 11], values=[b"zero", b""], durations_us=[5, 6], waits_us=[0, 0]
        )
    )


def test_everything_else_goes_out_as_a_result() -> None:
    """A failure, an alias, a value with promises and one with children are a message each; none is a completion."""
    failure = Failure(type="ValueError", message="no stock")
    request = written(
        Report(1, failure=failure),
        Report(2, alias_id=NODES[7]),
        Report(3, value=b"[7]", promise_ids=[NODES[7]]),
        Report(4, value=b"made one", children=[child(0, "m:C.f")]),
    )
    children = Calls(node_ids=CHILDREN[:1], functions=[0], arguments=[b"arguments"])
    assert list(request.results) == [
        Result(node_id=NODES[0], token=10, failure=graph_pb2.Failure(**failure._asdict()), duration_us=1),
        Result(node_id=NODES[1], token=11, alias_id=NODES[7], duration_us=2),
        Result(node_id=NODES[2], token=12, value=b"[7]", promise_ids=[NODES[7]], duration_us=3),
        Result(node_id=NODES[3], token=13, value=b"made one", children=children, duration_us=4),
    ]
    assert not request.HasField("completions")


def test_reports_tell_how_long_ago_their_attempts_ended() -> None:
    """Those that have waited for a broker say so each time that they are sent; none ended later than it is sent."""
    plain = [Report(1, value=b"", ended_at=99.5), Report(1, value=b"", ended_at=100.25), Report(1, value=b"")]
    other = Report(1, failure=Failure(type="ValueError", message=""), ended_at=40.0)
    request = written(*plain, other, now=100.0)
    assert list(request.completions.waits_us) == [500_000, 0, 0]
    assert [result.waited_us for result in request.results] == [60_000_000]
    assert list(written(plain[0], now=5_099.5).completions.waits_us) == [5_000_000_000]


def test_each_report_of_a_request_goes_its_own_way() -> None:
    """Plain values do not wait for, or become, results because others beside them are."""
    request = written(Report(1, value=b"plain"), Report(2, alias_id=NODES[7]), Report(3, value=b"plain too"))
    assert list(request.completions.node_ids) == [NODES[0], NODES[2]]
    assert [result.node_id for result in request.results] == [NODES[1]]


def test_the_children_of_a_request_share_its_functions() -> None:
    """Children of several nodes refer to one table, and each has the dependencies that are its own."""
    first = [child(0, "m:C.f"), child(1, "m:C.g", CHILDREN[0], NODES[7])]
    request = written(Report(1, value=b"", children=first), Report(2, value=b"", children=[child(2, "m:C.g")]))
    one, two = [result.children for result in request.results]
    assert [function.name for function in request.functions] == ["m:C.f", "m:C.g"]
    assert one == Calls(
        node_ids=CHILDREN[:2],
        functions=[0, 1],
        arguments=[b"arguments"] * 2,
        dependency_counts=[0, 2],
        dependency_ids=[CHILDREN[0], NODES[7]],
    )
    assert two == Calls(node_ids=CHILDREN[2:], functions=[1], arguments=[b"arguments"])


def test_calls_that_no_message_can_hold_fail_their_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once and for good, naming the node's function, the sum and the limit; what just fits goes out."""
    children = [child(0, "m:C.f"), child(1, "m:C.g")]
    size = len(b"value") + sum(stream.CALL_BYTES + len(call.arguments) for call in children)
    monkeypatch.setattr(stream, "MESSAGE_BYTES_MAX", size)
    fitting = held(0, Report(1, value=b"value", children=children))
    assert (fit(fitting), fitting.report) == (size, Report(1, value=b"value", children=children))
    larger = held(1, Report(2, value=b"value!", children=children))
    assert fit(larger) == 0
    assert larger.report is not None
    assert larger.report.failure is not None
    assert (larger.report.failure.type, larger.report.failure.permanent) == ("ValueTooLarge", True)
    assert f"the 2 calls that m:C.f made come with its value to {size + 1} bytes" in larger.report.failure.message
