"""How a worker stays connected: when it tries again, what it says meanwhile, and when it stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, cast

import grpc
import pytest

from dagorama.common.jitter import chance
from dagorama.v1.work_pb2 import Welcome, WorkResponse
from dagorama.worker.owner import Owner
from dagorama.worker.shell import connecting
from dagorama.worker.shell.border import Border
from dagorama.worker.shell.connecting import BACKOFF_MAX_S, BACKOFF_MIN_S, COMPLAINT_INTERVAL_S, Connector
from dagorama.worker.shell.held import Function, Held, Report
from dagorama.worker.shell.shell import Shell
from tests.timing import WAIT_S

WELCOME = WorkResponse(welcome=Welcome(lease_duration_s=60))


def refused(code: grpc.StatusCode, details: str) -> grpc.RpcError:
    """Make an error as grpc raises it."""
    kind = type("Refused", (grpc.RpcError, grpc.Call), {"code": lambda _: code, "details": lambda _: details})
    kind.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
    made: grpc.RpcError = kind()
    return made


class Script:
    """Stands for the shell, the border, the owner and every stream; time passes only as a test says."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.is_over = False
        self.left: list[Held] | None = None
        #: What each stream does; after the last the worker is over.
        self.streams: list[Callable[[], Iterator[WorkResponse]]] = []
        self.waits: list[float] = []
        self.log: list[str] = []
        self.was_welcome = False
        self.streams_begun = self.streams_ended = self.streams_cut = 0

    # -- a shell

    def open_stream(self, **_: object) -> Script:
        """Begin with the next stream."""
        self.was_welcome = False
        return self

    def connected(self, _: object) -> None:
        """Take note of a stream."""
        self.streams_begun += 1

    def disconnected(self) -> None:
        """Take note that the stream has ended."""
        self.streams_ended += 1

    def unreported(self) -> list[Held] | None:
        """Return what a worker that drains has left."""
        return self.left

    # -- a border

    def hello(self) -> None:
        """Introduce nobody."""

    def receive(self, _: object, response: WorkResponse) -> None:
        """Take a response."""
        self.was_welcome = self.was_welcome or response.HasField("welcome")

    # -- a stream

    def responses(self) -> Iterator[WorkResponse]:
        """Do what the test says; the last stream finds the worker over."""
        stream = self.streams.pop(0)
        self.is_over = not self.streams
        return stream()

    def cancel(self) -> None:
        """Count that a stream was cut."""
        self.streams_cut += 1

    def close(self) -> None:
        """Let go of the stream."""


class Hearing(Owner):
    """An owner that keeps what it is told."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def connected(self, text: str) -> None:
        """Keep the text."""
        self.script.log.append(f"connected: {text}")

    def connection_changed(self, text: str, *, is_connected: bool) -> None:
        """Keep the text."""
        self.script.log.append(f"{'up' if is_connected else 'down'}: {text}")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Make a script whose clock the connector looks at, and whose backoffs take as long as they may."""
    made = Script()
    monkeypatch.setattr(connecting, "monotonic", lambda: made.now)
    monkeypatch.setattr(chance, "uniform", lambda _, bound_s: bound_s)
    return made


def connector(script: Script) -> Connector:
    """Make a connector whose backoffs are noted, and take no time but that of the script."""
    made = Connector(host="h", port=1, shell=cast(Shell, script), border=cast(Border, script), owner=Hearing(script))

    def wait(seconds: float) -> bool:
        script.waits.append(seconds)
        script.now += seconds
        return False

    made._interrupt.wait = wait  # type: ignore[method-assign,assignment]
    return made


def breaks(script: Script, after_s: float = 0.0, *, welcome: bool = False, error: Exception | None = None) -> Any:
    """Make a stream that ends after so long, or with an error."""

    def stream() -> Iterator[WorkResponse]:
        if welcome:
            yield WELCOME
        script.now += after_s
        if error is not None:
            raise error

    return stream


def test_the_wait_doubles_up_to_a_bound(script: Script) -> None:
    """Whatever the reason, from the shortest to the longest."""
    script.streams = [breaks(script) for _ in range(8)]
    connector(script).serve()
    assert script.waits == [BACKOFF_MIN_S * 2**number for number in range(5)] + [BACKOFF_MAX_S] * 2


def test_the_wait_is_short_again_after_a_stream_that_lasted(script: Script) -> None:
    """One that ends at once was welcome, and still there is something wrong with it."""
    script.streams = [
        breaks(script),
        breaks(script),
        breaks(script, BACKOFF_MAX_S, welcome=True),
        breaks(script, BACKOFF_MAX_S + 0.5, welcome=True),
        breaks(script, BACKOFF_MAX_S + 0.5),
        breaks(script),
    ]
    connector(script).serve()
    assert script.waits == [BACKOFF_MIN_S * factor for factor in (1, 2, 4, 1, 2)]


def test_it_complains_at_once_and_then_now_and_again(script: Script) -> None:
    """Of a broker that never answered; and it says when one does, and not that it does so again."""
    gone = refused(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")
    script.streams = [
        breaks(script, error=gone),
        breaks(script, COMPLAINT_INTERVAL_S - 1, error=gone),
        breaks(script, 2.0, error=gone),
        breaks(script, welcome=True),
    ]
    connector(script).serve()
    complaint = "down: no broker answers at h:1 (DEADLINE_EXCEEDED: too late); trying again"
    assert script.log == [complaint, complaint, "up: connected to the broker at h:1"]


def test_it_says_since_when_a_connection_is_broken(script: Script) -> None:
    """Not where the next attempt succeeds, and no time that is less than a second."""
    refusal = refused(grpc.StatusCode.INVALID_ARGUMENT, "no such queue")
    script.streams = [
        breaks(script, 5, welcome=True),
        breaks(script, 5, welcome=True),
        breaks(script, 0.5, error=refusal),
        breaks(script, COMPLAINT_INTERVAL_S + 0.5),
        breaks(script),
    ]
    connector(script).serve()
    assert (script.streams_begun, script.streams_ended) == (5, 5)
    assert script.log == [
        "connected: connected to the broker at h:1",
        "down: the connection to the broker at h:1 broke (INVALID_ARGUMENT: no such queue); trying again",
        "down: the connection to the broker at h:1 broke 31 s ago (it ended the connection); trying again",
    ]


def test_a_second_is_worth_telling(script: Script) -> None:
    """And nothing that is shorter."""
    script.streams = [breaks(script, welcome=True), breaks(script, 1 - BACKOFF_MIN_S), breaks(script)]
    connector(script).serve()
    assert "broke 1 s ago" in script.log[1]


def test_a_broker_that_refuses_is_no_broker_that_does_not_answer(script: Script) -> None:
    """What it says is told; the next problem is another one."""
    refusal = refused(grpc.StatusCode.INVALID_ARGUMENT, "no such queue")
    script.streams = [
        breaks(script, error=refusal),
        breaks(script, COMPLAINT_INTERVAL_S),
        breaks(script, COMPLAINT_INTERVAL_S, error=grpc.RpcError("odd")),
        breaks(script),
    ]
    made = connector(script)
    made.serve()
    assert script.log == [
        "down: the broker refuses this worker at h:1 (INVALID_ARGUMENT: no such queue); trying again",
        "down: no broker answers at h:1 (it ended the connection); trying again",
        "down: no broker answers at h:1 (odd); trying again",
    ]
    assert "it ended the connection" in str(made.unavailable(5))


def test_a_worker_that_drains_looks_for_a_broker_for_a_while(
    script: Script, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It names what it could not report. The time begins anew with each broker that answers."""
    monkeypatch.setenv("DAGORAMA_DRAIN_GRACE_S", "3")
    node = Held(b"n" * 16, 1, b"i", Function("m:C.f", b""), b"", 1, None)
    node.report = Report(1, value=b"")
    script.left = [node]
    script.streams = [
        breaks(script),
        breaks(script, 2),
        breaks(script, 2, welcome=True),
        breaks(script),
        breaks(script, 2),
        breaks(script, 1),
        breaks(script),
    ]
    connector(script).serve()
    assert len(script.streams) == 1
    (said,) = caplog.messages
    assert "for 3 s no broker at h:1 took its reports (it ended the connection)" in said
    assert said.endswith("6e6e6e6e-6e6e-6e6e-6e6e-6e6e6e6e6e6e (m:C.f)")


def test_who_is_stopped_opens_no_further_stream(script: Script) -> None:
    """One that was opened in the same moment is cut."""
    script.streams = [breaks(script)] * 3
    made = connector(script)
    made.cut()
    assert script.streams_cut == 0

    def wait(_: float) -> bool:
        made.stop()
        return False

    made._interrupt.wait = wait  # type: ignore[method-assign,assignment]
    made.serve()
    assert (len(script.streams), script.streams_cut) == (2, 0)
    made._stopped = False
    made._shell = cast(Shell, script)

    def connected(_: object) -> None:
        made.stop()

    script.connected = connected  # type: ignore[method-assign]
    made.serve()
    assert (len(script.streams), script.streams_cut) == (1, 1)
    made.cut()
    assert script.streams_cut == 2


class Waited(Event):
    """Tells of each wait that begins."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: SimpleQueue[bool] = SimpleQueue()

    def wait(self, timeout: float | None = None) -> bool:
        """Tell whether it is set already, and wait."""
        self.begun.put(self.is_set())
        return super().wait(timeout)


def test_a_backoff_can_be_interrupted(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whoever stops the worker; and only the one that is going on."""
    monkeypatch.setattr(chance, "uniform", lambda *_: 3600)
    script.streams = [breaks(script)] * 4
    made = Connector(host="h", port=1, shell=cast(Shell, script), border=cast(Border, script), owner=Owner())
    made._interrupt = waited = Waited()
    thread = Thread(target=made.serve, daemon=True)
    thread.start()
    for left in (3, 2):
        assert waited.begun.get(timeout=WAIT_S) is False
        assert len(script.streams) == left
        made.interrupt()
    made.stop()
    made.interrupt()
    thread.join(WAIT_S)
    assert not thread.is_alive()
