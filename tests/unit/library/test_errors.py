"""Each error carries its evidence, reads as a user would want, and crosses processes."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from uuid import UUID

import pytest

from dagorama import errors
from dagorama.errors import (
    BrokerRefused,
    BrokerUnavailable,
    CalledElsewhere,
    CodeMismatchException,
    CursorExpired,
    DagoramaError,
    InstanceCancelled,
    InstanceFailed,
    InstancePruned,
    KeyConflict,
    LimitKeyError,
    MainGuardMissing,
    NodeFailed,
    NodeStopped,
    NotAwaited,
    NotInNode,
    OutOfReach,
    PayloadError,
    PromiseMisuse,
    ResultTimeout,
    Stuck,
    UnknownFunction,
    UnknownId,
    WorkersCannotStart,
)

ONE, TWO, THREE = UUID(int=1), UUID(int=2), UUID(int=3)


def failed(cause_id: UUID, traceback: str = "Traceback: ...") -> NodeFailed:
    """Makes the error of node 2, which failed itself or because of another."""
    return NodeFailed(
        instance_id=ONE,
        node_id=TWO,
        cause_id=cause_id,
        function="m:C.f",
        attempts=3,
        exception_type="ValueError",
        exception_message="boom",
        remote_traceback=traceback,
    )


EXAMPLES = [
    PayloadError(what="argument 'x'", problem="cannot be encoded", way_out="Pass data."),
    PromiseMisuse(promise="p", use="calling", way_out="Pass it on."),
    NotAwaited(calls=("C.f", "C.f")),
    LimitKeyError(function="m:C.f", limit="Limit('x')", problem="its key is a promise", way_out="Call later."),
    UnknownFunction(name="m:C.f", problem="no module", way_out="Install it."),
    CodeMismatchException(function="m:C.f", node_version="12", worker_version="34"),
    BrokerUnavailable(host="localhost", port=50051, waited_s=4.2, detail="refused"),
    BrokerRefused(request="a retry", code="FAILED_PRECONDITION", detail="it runs"),
    UnknownId(request="a look", code="NOT_FOUND", detail="no such node"),
    InstancePruned(
        request="a look",
        code="NOT_FOUND",
        detail="it was pruned",
        instance_id=ONE,
        definition="shop:Order",
        state="failed",
        pruned_at=datetime(2026, 11, 28, tzinfo=UTC),
    ),
    CursorExpired(request="events", code="OUT_OF_RANGE", detail="they are gone"),
    KeyConflict(key="order-17", instance_id=ONE, differs=("definition", "arguments")),
    failed(THREE),
    InstanceFailed(instance_id=ONE, failures=[failed(TWO)], failed_count=2),
    InstanceCancelled(instance_id=ONE, node_id=TWO),
    NodeStopped(instance_id=ONE, node_id=TWO),
    NotInNode(),
    MainGuardMissing(what="launch_workers() is called"),
    WorkersCannotStart(reason="exited with status 7"),
    OutOfReach(definition="__main__:Job"),
    CalledElsewhere(call="C.f", where="process 7", way_out="Call it in the node."),
    ResultTimeout(instance_id=ONE, node_id=TWO, timeout_s=1.5),
    Stuck(instance_id=ONE, node_id=TWO, why="m:C.f is ready"),
]


def test_there_is_an_example_of_every_error() -> None:
    """The tests below cover the whole tree."""
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DagoramaError)}
    assert {type(example) for example in EXAMPLES} == kinds - {DagoramaError}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling(error: DagoramaError) -> None:
    """An error that is itself the failure of a node comes back with message and fields."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), repr(again.__dict__)) == (str(error), repr(error.__dict__))


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (PromiseMisuse, TypeError),
        (UnknownFunction, ValueError),
        (BrokerUnavailable, ConnectionError),
        (ResultTimeout, TimeoutError),
        (UnknownId, LookupError),
        (CursorExpired, LookupError),
        (InstancePruned, LookupError),
    ],
)
def test_errors_are_what_python_calls_them(kind: type[Exception], base: type[Exception]) -> None:
    """Code that handles the builtin error handles ours."""
    assert issubclass(kind, base)


def test_an_absent_broker_is_named_with_the_way_out() -> None:
    """The message says where no broker is, and how to get one there."""
    error = BrokerUnavailable(host="localhost", port=50051, waited_s=4.2, detail="refused")
    assert str(error) == (
        "no broker answers at localhost:50051 (tried for 4.2 s; refused): "
        "start one with `dagorama broker`, or set DAGORAMA_HOST and DAGORAMA_PORT"
    )


def test_a_broker_that_has_gone_away_is_not_one_that_never_was() -> None:
    """Who was connected is not told to set an address, but that the broker is to come back, and what is waited."""
    error = BrokerUnavailable(host="localhost", port=50051, waited_s=60.0, detail="refused", was_there=True)
    assert str(error) == (
        "the broker at localhost:50051 has gone away (tried for 60.0 s; refused): start it again with the storage that "
        "it had, and what it had acknowledged goes on; DAGORAMA_RECONNECT_S says how long it is waited for"
    )


def test_a_failed_instance_names_its_nodes_and_the_ways_out() -> None:
    """The message has the first that failed, counts the others, and says what to do."""
    assert str(InstanceFailed(instance_id=ONE, failures=[failed(TWO)] * 7, failed_count=9)) == (
        f"instance {ONE} has ended, and 9 of its nodes failed:"
        + f"\n  m:C.f (node {TWO}) failed after 3 attempts: ValueError: boom" * 5
        + "\n  and 4 more"
        + f"\n`dagorama show {ONE}` has the tracebacks. instance.retry() runs again what failed; "
        "instance.result() gives the entrypoint's value where that does not depend on it"
    )


def test_a_failed_node_shows_what_happened_there() -> None:
    """The message has function, attempts, exception and the worker's traceback."""
    assert str(failed(TWO, "Traceback:\n  line\n")) == (
        f"m:C.f (node {TWO}) failed after 3 attempts: ValueError: boom\n\nOn the worker:\nTraceback:\n  line"
    )


def test_a_dependency_failure_names_the_root_cause() -> None:
    """The message says that another node failed, and which."""
    assert str(failed(THREE, "")) == (
        f"node {TWO} has no value, because it depends on one that failed: "
        f"m:C.f (node {THREE}) failed after 3 attempts: ValueError: boom"
    )
