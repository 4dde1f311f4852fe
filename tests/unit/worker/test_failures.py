"""What an exception becomes."""

import logging
from uuid import UUID

import pytest

from dagorama.calls.payload import decode, encode, no_promises
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.errors import UnknownFunction
from dagorama.v1 import graph_pb2
from dagorama.worker.kernel.node import Function
from dagorama.worker.options import WorkerOptions
from dagorama.worker.shell.failure_log import INTERVAL_S, LINES_MAX, FailureLog
from dagorama.worker.shell.failures import MESSAGE_CHARS_MAX, TRACEBACK_CHARS_MAX, failure_of, refusal_of
from dagorama.worker.shell.held import Failure, Held
from dagorama.worker.shell.log import Log
from dagorama.worker.shell.worker import Worker
from tests.unit.worker.work_server import work_server


class Shop(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, message: str) -> None:
        raise ValueError(message) if message else ValueError


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Raises and catches, so that the error has a traceback."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_the_exception_itself_travels() -> None:
    """An exception that pickles is in the failure."""
    failure = failure_of(raised(ValueError("no", 3)))
    exception = decode(failure.exception, no_promises)
    assert isinstance(exception, ValueError)
    assert (failure.type, exception.args, failure.permanent) == ("ValueError", ("no", 3), False)


def test_causes_are_in_the_traceback() -> None:
    """The traceback shows what an exception was raised from."""
    failure = failure_of(raised(ValueError("outer"), cause=KeyError("inner")))
    assert failure.traceback.index("inner") < failure.traceback.index("outer")


def test_a_type_is_named_with_its_module() -> None:
    """Types that are not built in are named so that one finds them."""
    error = UnknownFunction(name="a:B.c", problem="it is gone", way_out="Look elsewhere.")
    assert refusal_of(error).type == "dagorama.errors:UnknownFunction"


@pytest.mark.parametrize("text", ["\ud800", "x" * 2 * MESSAGE_CHARS_MAX, "x" * 2 * TRACEBACK_CHARS_MAX])
def test_any_text_can_be_sent(text: str) -> None:
    """Lone surrogates and endless messages do not keep a failure from its way."""
    failure = failure_of(raised(ValueError(text)))
    assert len(graph_pb2.Failure(**failure._asdict()).SerializeToString()) < 3 * TRACEBACK_CHARS_MAX
    assert failure.message


def leave(self: object) -> str:
    """Ends the process, or would."""
    raise SystemExit(3)


class Nameless(type):
    """Classes whose module nobody can ask for."""


setattr(Nameless, "__module__", property(leave))  # noqa: B010 - for a type checker it is a str


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (type("A", (Exception,), {"__reduce__": leave}), f"{__name__}:A", "oh"),
        (
            type("B", (Exception,), {"__str__": leave}),
            f"{__name__}:B",
            "(its message cannot be had: str() of it raised SystemExit)",
        ),
        (type("Bad", (Exception,), {"__qualname__": "Bad\ud800"}), f"{__name__}:Bad\\ud800", "oh"),
        (Nameless("C", (Exception,), {}), "BaseException", "(it cannot be described)"),
    ],
)
def test_an_exception_that_resists_is_a_failure(kind: type[Exception], name: str, message: str) -> None:
    """Whatever its own methods raise, and whatever its type is called, an exception ends its attempt."""
    failure = failure_of(raised(kind("oh")), permanent=True)
    assert (failure.type, failure.message, failure.permanent) == (name, message, True)


def test_a_large_exception_stays_here() -> None:
    """Of an exception that holds a lot, type, message and traceback travel."""
    assert failure_of(raised(ValueError(b"x" * 100_000))).exception == b""


def test_endless_recursion_is_a_failure() -> None:
    """The traceback of a recursion that went too deep is shortened."""

    def dive() -> None:
        dive()

    with pytest.raises(RecursionError) as caught:
        dive()
    failure = failure_of(caught.value)
    assert failure.type == "RecursionError"
    assert "more times" in failure.traceback


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Has the worker's log seen."""
    monkeypatch.setattr(logging.getLogger("Dagorama"), "propagate", True)
    return caplog


def fail_all(messages: list[str], options: WorkerOptions) -> None:
    """Has a worker run a node for each message, and ends it."""
    with work_server() as server:
        worker = Worker(options, host="localhost", port=server.port)
        worker.start()
        session = server.session()
        session.hello()
        session.welcome()
        name = f"{__name__}:Shop.entrypoint"
        arguments = [encode(((text,), {}), what="a message").data for text in messages]
        session.grant(name, *((number.to_bytes(16), number, sent) for number, sent in enumerate(arguments, 1)))
        session.results(len(messages))
        worker.stop()
        worker.wait_until_ended()


def test_each_failed_attempt_is_logged(log: pytest.LogCaptureFixture) -> None:
    """One line says which attempt of which node, the type and the first line of the message; no traceback."""
    fail_all(["", "no stock\nat all"], WorkerOptions())
    name = f"{__name__}:Shop.entrypoint"
    assert log.messages == [
        f"attempt 1 of node {UUID(int=1)} ({name}) failed: ValueError",
        f"attempt 1 of node {UUID(int=2)} ({name}) failed: ValueError: no stock ...",
    ]
    assert {record.levelname for record in log.records} == {"WARNING"}


def test_a_flood_of_failures_is_counted(log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some lines the rest is counted, and told at the end of the time, or of the worker."""
    monkeypatch.setattr("dagorama.worker.shell.failure_log.INTERVAL_S", 3600.0)
    fail_all([""] * (LINES_MAX + 5), WorkerOptions())
    assert len(log.messages) == LINES_MAX + 1
    name = f"{__name__}:Shop.entrypoint"
    assert log.messages[-1] == f"more attempts failed: 5 of {name}; `dagorama show` lists the nodes"


def test_what_was_counted_is_told_before_the_next_line(log: pytest.LogCaptureFixture) -> None:
    """A failure after the time is over finds what was counted told, and lines to be had again."""
    lines = Log()
    failures = FailureLog(lines)
    held = Held(bytes(16), 1, bytes(16), Function("shop:Order.ship", b""), b"", 1, None)
    for _ in range(LINES_MAX + 2):
        failures.tell(held, Failure("ValueError", ""), 0.0)
    assert failures.due_at == INTERVAL_S
    failures.tell(held, Failure("KeyError", ""), INTERVAL_S)
    assert failures.due_at is None
    lines.close(wait_s=60.0)
    said = "more attempts failed: 2 of shop:Order.ship; `dagorama show` lists the nodes"
    assert log.messages[LINES_MAX:] == [said, f"attempt 1 of node {UUID(int=0)} (shop:Order.ship) failed: KeyError"]


def test_who_tells_failures_otherwise_has_them_left_out(log: pytest.LogCaptureFixture) -> None:
    """`dagorama run` says what has failed, and `catch_exceptions=False` raises it: nobody reads it twice."""
    fail_all([""], WorkerOptions(log_failures=False))
    fail_all([""], WorkerOptions(catch_exceptions=False))
    assert log.messages == []
