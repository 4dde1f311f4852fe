"""What the shell does of the kernel's instructions, with a stream and a process that only take note."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, current_thread
from typing import Any, cast
from unittest.mock import Mock

import pytest

from dagorama import DAGDefinition, dagorama
from dagorama.calls.payload import encode
from dagorama.code.policy import CodeMismatch
from dagorama.v1.work_pb2 import Lease, Rejection
from dagorama.worker.kernel import messages as m
from dagorama.worker.kernel.node import Lease as HeldLease
from dagorama.worker.kernel.states import State
from dagorama.worker.options import WorkerOptions
from dagorama.worker.shell import failure_log
from dagorama.worker.shell.alarm import Alarm
from dagorama.worker.shell.held import Function, Held
from dagorama.worker.shell.mailbox import StreamChanged
from dagorama.worker.shell.shell import Shell
from dagorama.worker.shell.stopping import EXIT_CANCELLED, EXIT_OVERRUN
from dagorama.worker.shell.stream import Signal, Stream
from dagorama.worker.shell.versions import VersionCheck
from tests.timing import WAIT_S

gates = {name: Event() for name in ("started", "go")}


class Gated(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> str:
        return "done"

    @dagorama().syncfn
    def fail(self) -> None:
        raise ValueError("no")

    @dagorama().syncfn
    def hold(self) -> None:
        gates["started"].set()
        assert gates["go"].wait(WAIT_S)

    @dagorama().asyncfn
    async def later(self) -> str:
        return "later"

    @dagorama().asyncfn
    async def heedless(self) -> None:
        gates["started"].set()
        while not gates["go"].is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001)


class Watched:
    """Stands for a stream, the alarm, and the worker that the shell belongs to."""

    def __init__(self) -> None:
        self.sent: SimpleQueue[Any] = SimpleQueue()
        self.left: SimpleQueue[tuple[str, float]] = SimpleQueue()
        self.watched = 0

    # -- a stream

    def send(self, item: object) -> None:
        """Keep what is to be sent."""
        self.sent.put(item)

    def look(self) -> None:
        """Nobody has to: slots look when they have nothing more to do."""

    def tell_progress(self, nodes: list[Held]) -> None:
        """Keep whose progress is to be told."""
        self.sent.put(("progress", [held.token for held in nodes]))

    def cancel(self) -> None:
        """Keep that it is cut."""
        self.sent.put("cut")

    # -- an alarm

    def watch(self, held: Held, grace_s: float = 0.0) -> None:
        """Count what is watched."""
        self.watched += 1

    def forget(self, held: Held) -> None:
        """Count what is watched."""
        self.watched -= 1

    # -- a worker

    def leave(self, exit_status: int) -> None:
        """Keep the status."""
        assert "Main" not in current_thread().name
        self.left.put(("leave", exit_status))

    def give_up(self, waited_s: float) -> None:
        """Keep the time."""
        self.left.put(("give up", waited_s))


class Bench:
    """A shell, and all that it works on."""

    def __init__(self, *, may_leave: bool = False, **options: Any) -> None:
        self.watched = Watched()
        self.shell = Shell(
            WorkerOptions(**options),
            versions=VersionCheck(CodeMismatch.WAIT),
            alarm=cast(Alarm, self.watched) if may_leave else None,
            board=None,
            worker=self.watched,
        )
        self.stream = cast(Stream, self.watched)
        self.said: SimpleQueue[str] = SimpleQueue()
        self.shell.log.warn = lambda text, *args: self.said.put(text % args)  # type: ignore[method-assign]

    def connect(self) -> None:
        """Open a stream that is welcome."""
        self.shell.connected(self.stream)
        self.shell.post(m.Welcomed([]))

    def grant(self, *functions: str, timeout_s: float = 0.0, at_most_once: bool = False) -> list[Held]:
        """Grant nodes, whose tokens count from 1."""
        arguments = encode(((), {}), what="the arguments").data
        nodes = [
            Held(
                bytes([token]) * 16,
                token,
                b"i" * 16,
                Function(f"{__name__}:Gated.{name}", b"", timeout_s, at_most_once=at_most_once),
                arguments,
                1,
                None,
            )
            for token, name in enumerate(functions, 1)
        ]
        self.shell.post(m.Granted(nodes))
        return nodes

    def hold(self, function: str = "hold", **properties: Any) -> Held:
        """Grant a node, and wait until it runs."""
        (node,) = self.grant(function, **properties)
        assert gates["started"].wait(WAIT_S)
        return node

    def revoke(self, node: Held) -> None:
        """End the lease of a node."""
        self.shell.post(m.Revoked([HeldLease(b"", node.node_id, node.token)]))

    def settle(self) -> None:
        """Wait until all that was posted is taken in: a slot's thread may be at work on that."""
        mailbox = self.shell._mailbox
        mailbox.look()
        with mailbox._at_work:
            pass
        mailbox.look()  # that thread may have been about to leave

    def next(self) -> Any:
        """Give what was sent next."""
        return self.watched.sent.get(timeout=WAIT_S)

    def log(self) -> str:
        """Give what was logged next."""
        return self.said.get(timeout=WAIT_S)

    def left(self) -> tuple[str, float]:
        """Give how the worker was ended."""
        return self.watched.left.get(timeout=WAIT_S)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make benches; in the end all nodes end."""
    monkeypatch.setenv("DAGORAMA_CANCEL_GRACE_S", "0.01")
    for gate in gates.values():
        gate.clear()
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(**options))
        return made[-1]

    yield make
    gates["go"].set()
    for one in made:
        one.shell.close()


def test_a_report_goes_out_and_is_let_go(bench: Any) -> None:
    """Until then the broker counts on its lease."""
    it = bench()
    it.connect()
    (node,) = it.grant("entrypoint")
    assert it.next() == [node]
    assert it.shell.held() == [node]
    it.shell.post(m.Acknowledged([node]))
    it.settle()
    assert it.shell.held() == []
    assert not it.shell.is_over


def test_leases_go_back_one_by_one(bench: Any) -> None:
    """As the broker names them."""
    it = bench()
    it.connect()
    it.hold()
    it.shell.post(m.Granted([Held(b"n" * 16, 7, b"i" * 16, Function("m:C.f", b""), b"", 1, None)]))
    it.shell.post(m.Recalled([7]))
    assert it.next() == Lease(node_id=b"n" * 16, token=7)


def test_a_slot_goes_to_the_loop_and_back(bench: Any) -> None:
    """As the functions in line are asynchronous or not."""
    it = bench()
    it.connect()
    nodes = it.grant("later", "later", "entrypoint", "later")
    reported: list[Held] = []
    while len(reported) < len(nodes):
        reported += it.next()
    assert reported == nodes
    assert [node.report.failure for node in nodes] == [None] * 4


def test_what_a_lost_node_gave_is_said_to_be_discarded(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its effects may have been counted on."""
    monkeypatch.setenv("DAGORAMA_CANCEL_GRACE_S", str(WAIT_S))  # else it may be said first that it goes on
    it = bench()
    it.connect()
    it.hold()
    it.shell.disconnected()
    it.connect()
    gates["go"].set()
    assert it.log().endswith(
        f"({__name__}:Gated.hold) gave is discarded: its lease was lost while it ran, so another worker runs it"
    )


def test_what_cannot_be_run_goes_back_with_the_reason(bench: Any) -> None:
    """In the broker's words."""
    it = bench()
    it.connect()
    it.shell.post(m.Granted([Held(b"n" * 16, 7, b"i" * 16, Function(f"{__name__}:Gated.gone", b""), b"", 1, None)]))
    rejection = it.next()
    assert isinstance(rejection, Rejection)
    assert (rejection.lease, rejection.code_version) == (Lease(node_id=b"n" * 16, token=7), "")
    assert "'gone' of" in rejection.problem


def test_progress_is_passed_on(bench: Any) -> None:
    """By the thread that sends, while there is somebody to tell."""
    it = bench()
    it.connect()
    node = it.hold()
    node.progress = (0.5, "half")
    it.shell.post(m.Progressed([1]))
    assert it.next() == ("progress", [1])
    it.shell.disconnected()
    it.shell.post(m.Progressed([1]))
    assert it.watched.sent.empty()


def test_a_drained_worker_says_so_and_ends_its_stream(bench: Any) -> None:
    """Once; then nothing is left, and a stream of which nobody knows is cut."""
    it = bench()
    it.connect()
    it.shell.drain()
    assert [it.next(), it.next()] == [Signal.DRAIN, Signal.END]
    assert it.shell.is_over
    it.shell.disconnected()
    it.shell.end_stream()  # there is none
    it.shell.connected(it.stream)
    assert it.next() == "cut"
    it.shell.end_stream()
    assert it.next() is Signal.END
    assert it.watched.sent.empty()


def test_what_a_draining_worker_has_not_brought_out(bench: Any) -> None:
    """Nothing is said of one that does not drain, or still has something to run."""
    it = bench()
    it.connect()
    node = it.hold()
    assert it.shell.unreported() is None
    it.shell.drain()
    assert it.next() is Signal.DRAIN
    assert it.shell.unreported() is None
    gates["go"].set()
    while it.next() != [node]:
        pass
    assert it.shell.unreported() == [node]


def test_a_thread_that_goes_on_loses_its_slot(bench: Any) -> None:
    """After its grace another takes the slot, and its lease goes back."""
    it = bench()
    it.connect()
    node = it.hold()
    it.revoke(node)
    assert it.next() == Lease(node_id=node.node_id, token=1)
    assert node.state is State.ABANDONED
    name = f"node 01010101-0101-0101-0101-010101010101 ({__name__}:Gated.hold)"
    overrun = f"{name} runs on after its lease had ended"
    assert it.log() == f"{overrun}; the thread that it runs in cannot be ended and is replaced"
    other = Held(b"o" * 16, 2, b"i" * 16, Function(f"{__name__}:Gated.entrypoint", b""), node.arguments, 1, None)
    it.shell.post(m.Granted([other]))
    assert it.next() == [other]


def test_a_task_that_goes_on_is_complained_of(bench: Any) -> None:
    """It keeps its slot, as the loop has only one thread; and it was asked to stop."""
    it = bench()
    it.connect()
    node = it.hold("heedless", timeout_s=0.001)
    it.revoke(node)
    assert it.log().endswith("runs on after its timeout; it does not heed that it was cancelled")
    gates["go"].set()
    assert it.next() == Lease(node_id=node.node_id, token=1)


@pytest.mark.parametrize(("timeout_s", "status"), [(0.0, EXIT_CANCELLED), (0.001, EXIT_OVERRUN)])
def test_a_process_of_its_own_ends_where_a_node_does_not(bench: Any, timeout_s: float, status: int) -> None:
    """With the status that says why, and in a thread of its own."""
    it = bench(may_leave=True)
    it.connect()
    node = it.hold(timeout_s=timeout_s)
    it.revoke(node)
    assert it.left() == ("leave", status)
    why = "its timeout" if timeout_s else "its lease had ended"
    assert it.log().endswith(f"runs on after {why}, so its worker process ends")


def test_an_earlier_timer_takes_the_place_of_a_later_one(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is followed by another when it is over: a worker in which something is always due had ever more."""
    monkeypatch.setenv("DAGORAMA_CANCEL_GRACE_S", "60")
    it = bench(concurrency=2)
    timers: list[tuple[float, Mock]] = []

    def call_later(delay_s: float, function: object) -> Mock:
        timers.append((delay_s, Mock()))
        return timers[-1][1]

    monkeypatch.setattr(it.shell, "_call_later", call_later)
    it.connect()
    node = it.hold()
    timed = Held(b"t" * 16, 2, b"i" * 16, node.function._replace(timeout_s=30.0), node.arguments, 1, None)
    gates["started"].clear()
    it.shell.post(m.Granted([timed]))
    assert gates["started"].wait(WAIT_S)
    it.revoke(node)
    it.revoke(timed)
    it.settle()
    (later_s, later), (earlier_s, earlier) = timers
    assert 0 < earlier_s <= 30 < later_s <= 60
    assert (later.cancel.called, earlier.cancel.called) == (True, False)


def test_no_broker_in_time_is_the_end(bench: Any) -> None:
    """The worker hears of it, with the time that it has waited."""
    it = bench(connect_timeout_s=0.01)
    it.shell.connected(it.stream)
    assert it.left() == ("give up", 0.01)


def test_what_may_not_be_cut_off_is_let_through(bench: Any) -> None:
    """While it goes on; nothing is to wait for of others, or once it is acknowledged."""
    it = bench()
    it.connect()
    assert it.shell.not_to_be_cut_off() is None
    node = it.hold(at_most_once=True)
    assert it.shell.not_to_be_cut_off() is node
    gates["go"].set()
    while it.next() != [node]:
        pass
    assert it.shell.not_to_be_cut_off() is node
    it.shell.post(m.Acknowledged([node]))
    assert it.shell.not_to_be_cut_off() is None


def test_what_a_node_raised_ends_a_worker_that_keeps_it(bench: Any) -> None:
    """The first; it is reported, and nothing more is taken."""
    it = bench(catch_exceptions=False)
    it.connect()
    nodes = it.grant("fail", "fail")
    assert [it.next(), it.next()] == [nodes, Signal.DRAIN]
    assert (type(it.shell.error), str(it.shell.error)) == (ValueError, "no")
    it.shell.end_with(KeyError("later"))
    assert str(it.shell.error) == "no"
    assert it.said.empty()


@pytest.mark.parametrize(("logs", "lines"), [(True, 1), (False, 0)])
def test_failures_are_logged_where_that_is_wanted(bench: Any, logs: bool, lines: int) -> None:
    """A line for each; what a lost node raised is nobody's business."""
    it = bench(log_failures=logs)
    it.connect()
    it.grant("fail")
    assert len(it.next()) == 1
    assert it.said.qsize() == lines
    assert it.shell.error is None


def test_a_worker_that_contradicts_itself_ends(bench: Any) -> None:
    """The error is kept, the stream is cut, and so is any later one."""
    it = bench()
    it.connect()
    it.shell._mailbox.post(StreamChanged())
    assert it.next() == "cut"
    assert (type(it.shell.error), it.shell.is_over) == (TypeError, True)
    it.shell.connected(it.stream)
    assert it.next() == "cut"


def test_failures_beyond_the_lines_are_counted_and_told_when_it_is_time(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else has to happen for that."""
    monkeypatch.setattr(failure_log, "LINES_MAX", 0)
    monkeypatch.setattr(failure_log, "INTERVAL_S", 0.05)
    it = bench(log_failures=True)
    it.connect()
    it.grant("fail")
    assert len(it.next()) == 1
    assert it.log().startswith(f"more attempts failed: 1 of {__name__}:Gated.fail; ")
