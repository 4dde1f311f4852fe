"""What the broker says, as messages for the kernel, and what a stream begins with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, cast
from uuid import UUID

import pytest

from dagorama.calls.large import NoStore, asking
from dagorama.code.policy import CodeMismatch
from dagorama.errors import BrokerRefused, BrokerUnavailable, CodeMismatchException, PayloadError, UnknownFunction
from dagorama.v1.graph_pb2 import FunctionSpec, Values
from dagorama.v1.work_pb2 import FunctionVersion, Grants, Lease, Refusal, Trace, Welcome, WorkResponse
from dagorama.worker.kernel import messages as m
from dagorama.worker.kernel.node import Lease as HeldLease
from dagorama.worker.options import WorkerOptions
from dagorama.worker.shell.border import Border
from dagorama.worker.shell.held import Function, Held, Report
from dagorama.worker.shell.shell import Shell
from dagorama.worker.shell.stream import Stream
from dagorama.worker.shell.versions import VersionCheck

NOW = 1000.0


class Noted:
    """Stands for the shell, its log, and a stream: keeps what they are told."""

    def __init__(self) -> None:
        self.posted: list[m.Message] = []
        self.told: list[str] = []
        self.nodes: list[Held] = []
        self.sent: SimpleQueue[list[Held]] = SimpleQueue()
        self.log = self

    def post(self, *messages: m.Message) -> None:
        """Keep messages."""
        self.posted += messages

    def warn(self, text: str, *args: object) -> None:
        """Keep a line."""
        self.told.append(text % args)

    def held(self) -> list[Held]:
        """Give what is held."""
        return self.nodes

    def send(self, nodes: list[Held]) -> None:
        """Keep what is reported."""
        self.sent.put(nodes)

    def welcome(self, lease_duration_s: float) -> None:
        """Keep how long leases are."""
        self.told.append(f"leases of {lease_duration_s:g} s")

    def acknowledge(self, sequence: int) -> list[Held]:
        """Give the nodes whose reports the broker has."""
        return self.nodes[:sequence]

    def end_with(self, error: BaseException) -> None:
        """Keep what ends the worker."""
        self.told.append(f"ends with {type(error).__name__}: {error}")

    def drain(self) -> None:
        """Keep that it drains."""
        self.told.append("drains")

    def beside(self, function: Callable[[], None]) -> None:
        """Do at once what takes long elsewhere."""
        function()

    def end_on_request(self) -> None:
        """Keep that somebody asked for its end."""
        self.told.append("drains on request")


class Bench:
    """A border, and what comes of it."""

    def __init__(self, put_again: Callable[[Sequence[bytes]], None] | None = None, **options: Any) -> None:
        self.noted = Noted()
        self.versions = VersionCheck(CodeMismatch.WAIT)
        shell = cast(Shell, self.noted)
        options = {"worker_id": b"w" * 16, **options}
        self.border = Border(
            WorkerOptions(**options),
            versions=self.versions,
            shell=shell,
            now=lambda: NOW,
            name="host:1",
            put_again=put_again,
        )

    def receive(self, **fields: Any) -> list[m.Message]:
        """Receive a response; give what the kernel is told."""
        before = len(self.noted.posted)
        self.border.receive(cast(Stream, self.noted), WorkResponse(**fields))
        return self.noted.posted[before:]


def held(number: int, *, granted_at: float = NOW - 3) -> Held:
    """Make a node."""
    return Held(bytes([number]) * 16, number, b"i" * 16, Function("m:C.f", b""), b"", 1, None, granted_at)


def grants(*instances: bytes, attempts: tuple[int, ...] = ()) -> Grants:
    """Grant a node in each of these instances."""
    count = len(instances)
    return Grants(
        node_ids=[bytes([number]) * 16 for number in range(count)],
        tokens=range(10, 10 + count),
        instance_ids=instances,
        functions=[number % 2 for number in range(count)],
        arguments=[b"%d" % number for number in range(count)],
        attempts=attempts or [1] * count,
    )


def test_grants_become_nodes() -> None:
    """Each with its function, and its trace if its instance has one."""
    functions = [
        FunctionSpec(name="m:C.f", definition_arguments=b"d", timeout_s=2.5, code_version="v", release="r"),
        FunctionSpec(name="m:C.g", at_most_once=True),
    ]
    one, other = b"1" * 16, b"2" * 16
    values = Values(node_ids=[b"x", b"y"], payloads=[b"px", b"py"])
    [granted] = Bench().receive(
        functions=functions,
        grants=grants(one, other, one, attempts=(1, 2, 3)),
        values=values,
        value_attempts=[4, 5],
        traces=[Trace(instance_id=other, traceparent="trace")],
    )
    assert isinstance(granted, m.Granted)
    nodes = [node for node in granted.nodes if isinstance(node, Held)]
    assert [node.function for node in nodes] == [
        Function("m:C.f", b"d", 2.5, "v", "r", at_most_once=False),
        Function("m:C.g", b"", 0.0, "", "", at_most_once=True),
        Function("m:C.f", b"d", 2.5, "v", "r", at_most_once=False),
    ]
    assert [(node.token, node.instance_id, node.arguments, node.attempt) for node in nodes] == [
        (10, one, b"0", 1),
        (11, other, b"1", 2),
        (12, one, b"2", 3),
    ]
    assert [node.traceparent for node in nodes] == ["", "trace", ""]
    assert [node.deadline for node in nodes] == [NOW + 2.5, None, NOW + 2.5]
    table = nodes[0].values
    assert table is not None
    assert all(node.values is table for node in nodes)
    assert [table.payload(b"y"), table.payload(b"x"), table.attempt(b"x"), table.attempt(b"y")] == [b"py", b"px", 4, 5]
    assert list(table.before(b"y")) == [b"x"]
    with pytest.raises(KeyError):
        table.payload(b"z")


def test_grants_without_values_have_none() -> None:
    """And a value whose attempt is not told was the first."""
    spec = FunctionSpec(name="m:C.f")
    [bare] = Bench().receive(functions=[spec], grants=grants(b"1" * 16))
    assert isinstance(bare, m.Granted)
    assert cast(Held, bare.nodes[0]).values is None
    [more] = Bench().receive(
        functions=[spec], grants=grants(b"1" * 16), values=Values(node_ids=[b"x"], payloads=[b"p"])
    )
    assert isinstance(more, m.Granted)
    table = cast(Held, more.nodes[0]).values
    assert table is not None
    assert table.attempt(b"x") == 1


def test_each_part_of_a_response_is_told() -> None:
    """In an order in which none undoes what another has said."""
    it = Bench()
    it.noted.nodes = [held(1), held(2)]
    leases = [Lease(instance_id=b"i", node_id=b"n", token=7)]
    told = it.receive(
        acknowledged=1,
        welcome=Welcome(lease_duration_s=15, leases=leases),
        revocations=[Lease(node_id=b"r", token=8)],
        recalls=[Lease(token=3), Lease(token=4)],
        functions=[FunctionSpec(name="m:C.f")],
        grants=grants(b"1" * 16),
        refusals=[Refusal(node_id=b"\1" * 16, reason="it has ended")],
    )
    assert told[:4] == [
        m.Acknowledged([it.noted.nodes[0]]),
        m.Welcomed([HeldLease(b"i", b"n", 7)]),
        m.Revoked([HeldLease(b"", b"r", 8)]),
        m.Recalled([3, 4]),
    ]
    assert [type(message) for message in told[4:]] == [m.Granted]
    refused = f"the report of node {UUID(bytes=bytes([1]) * 16)} was refused: it has ended"
    assert it.noted.told == [refused, "leases of 15 s"]


def test_a_report_without_its_values_is_sent_again() -> None:
    """Once they are stored anew; the kernel is not told meanwhile that the broker has it."""
    stored: list[bytes] = []

    def put_again(digests: Sequence[bytes]) -> None:
        stored.extend((asking.node_id, *digests))  # so `why` tells that the node waits where the store is full

    it = Bench(put_again=put_again)
    it.noted.nodes = [held(1), held(2)]
    report = it.noted.nodes[0].report = Report(5, b"a payload")
    refusals = [Refusal(node_id=b"\1" * 16, presented=1, reason="it lacks values", missing=[b"d" * 32])]
    assert it.receive(acknowledged=2, refusals=refusals) == [m.Acknowledged([it.noted.nodes[1]])]
    assert it.noted.sent.get(timeout=60) == [it.noted.nodes[0]]
    assert (stored, it.noted.nodes[0].report, it.noted.told) == (
        [b"\1" * 16, b"d" * 32],
        report,
        [],
    )


@pytest.mark.parametrize(
    "error",
    [
        PayloadError(what="a payload", problem="a value is not at hand", way_out="Run the node again."),
        NoStore(),
        OSError("no map"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_report_whose_values_cannot_be_stored_anew_is_a_failure(error: Exception) -> None:
    """Whatever the reason: without a report the node would run for ever."""

    def put_again(digests: Sequence[bytes]) -> None:
        raise error

    it = Bench(put_again=put_again)
    it.noted.nodes = [held(1)]
    it.noted.nodes[0].report = Report(5, b"a payload")
    refusals = [Refusal(node_id=b"\1" * 16, presented=1, reason="it lacks values", missing=[b"d" * 32])]
    assert it.receive(acknowledged=1, refusals=refusals) == [m.Acknowledged([])]
    (sent,) = it.noted.sent.get(timeout=60)
    assert sent.report is not None
    assert sent.report.failure is not None
    assert type(error).__name__ in sent.report.failure.type


@pytest.mark.parametrize(
    "error",
    [
        BrokerUnavailable(host="broker", port=1, waited_s=1.0, detail="it is away", was_there=True),
        BrokerRefused(request="to store a value", code="UNAVAILABLE", detail="its store does not answer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_report_is_kept_while_no_broker_takes_its_values(error: Exception) -> None:
    """The work is done, and that broker or store are away is nobody's failure: the next one is told of the report."""

    def put_again(digests: Sequence[bytes]) -> None:
        raise error

    it = Bench(put_again=put_again)
    it.noted.nodes = [held(1)]
    report = it.noted.nodes[0].report = Report(5, b"a payload")
    refusals = [Refusal(node_id=b"\1" * 16, presented=1, reason="it lacks values", missing=[b"d" * 32])]
    it.receive(acknowledged=1, refusals=refusals)
    assert it.noted.sent.get(timeout=60) == it.noted.nodes
    assert it.noted.nodes[0].report is report


def test_a_response_that_says_nothing_is_told_to_nobody() -> None:
    """Such as one that only keeps the stream open."""
    it = Bench()
    assert (it.receive(), it.noted.told) == ([], [])


@pytest.mark.parametrize(
    ("fields", "told"), [({"drain": True}, ["drains on request"]), ({"drained": True}, ["drains"])]
)
def test_the_end_is_passed_on(fields: dict[str, bool], told: list[str]) -> None:
    """Where somebody asks for it, and where nothing is left to do."""
    it = Bench()
    assert (it.receive(**fields), it.noted.told) == ([], told)


def test_a_worker_that_is_to_raise_says_what_it_cannot_run() -> None:
    """The version that is left, or what it lacks; one that catches exceptions just ends."""
    left = FunctionVersion(name="m:C.f", code_version="theirs")
    it = Bench(catch_exceptions=False)
    it.versions.taken["m:C.f"] = "ours"
    it.receive(drained=True, mismatch=left)
    error = CodeMismatchException(function="m:C.f", node_version="theirs", worker_version="ours")
    assert it.noted.told == [f"ends with CodeMismatchException: {error}", "drains"]
    it = Bench(catch_exceptions=False)
    lacking = it.versions.lacking["m:C.f"] = UnknownFunction(name="m:C.f", problem="it is gone", way_out="Look.")
    it.receive(drained=True, mismatch=left)
    assert it.noted.told == [f"ends with UnknownFunction: {lacking}", "drains"]
    for other in (Bench(catch_exceptions=True), Bench(catch_exceptions=False)):
        other.receive(drained=True, **({"mismatch": left} if other.border._options.catch_exceptions else {}))
        assert other.noted.told == ["drains"]


def test_a_stream_begins_with_what_the_worker_takes_and_holds() -> None:
    """Its nodes with how long it has had them."""
    it = Bench(concurrency=3, include_queues=("a",), tolerations=("gpu",), exit_when_drained=True)
    it.noted.nodes = [held(1), held(2, granted_at=NOW)]
    it.versions.taken["m:C.f"] = "v"
    hello = it.border.hello()
    assert (hello.worker_id, hello.name, hello.slots) == (b"w" * 16, "host:1", 3)
    assert ([*hello.include_queues], [*hello.tolerations], [*hello.modules]) == (["a"], ["gpu"], [])
    assert ([*hello.function_names], [*hello.code_versions]) == (["m:C.f"], ["v"])
    assert [(lease.token, lease.instance_id, lease.held_s) for lease in hello.held] == [
        (1, b"i" * 16, 3.0),
        (2, b"i" * 16, 0.0),
    ]
    assert (hello.exit_when_drained, hello.exit_when_mismatched) == (True, False)
    assert Bench(catch_exceptions=False).border.hello().exit_when_mismatched
