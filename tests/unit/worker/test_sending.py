"""What a worker sends on its stream, and when."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from dagorama.v1.work_pb2 import Hello, Lease, Rejection, WorkRequest
from dagorama.worker.kernel.states import State
from dagorama.worker.options import HEARTBEATS_PER_LEASE
from dagorama.worker.shell import stream as stream_module
from dagorama.worker.shell.held import Function, Held, Report
from dagorama.worker.shell.mailbox import Item, Mailbox
from dagorama.worker.shell.stream import PROGRESS_INTERVAL_S, Signal, Stream


class Call:
    """Stands for grpc's side of a stream: takes what is sent when a test asks for it."""

    def __init__(self, requests: Iterator[WorkRequest]) -> None:
        self.requests = requests
        self.is_cancelled = False

    def cancel(self) -> None:
        """Take note."""
        self.is_cancelled = True

    def __iter__(self) -> Iterator[str]:
        """Give what was received."""
        return iter(["a response"])


class Channel:
    """Stands for a connection and its channel."""

    def __init__(self, *_: object) -> None:
        self.channel = self
        self.is_closed = False

    def close(self) -> None:
        """Take note."""
        self.is_closed = True


class Clock(SimpleQueue[Any]):
    """An outbox in which waiting takes no time but that of the clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float | None] = []

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Give what is there; else the time passes, which must have an end."""
        if self.empty():
            self.waits.append(timeout)
            assert timeout is not None, "it would wait for ever"
            self.now += timeout
            raise Empty
        return super().get(block, timeout)


class Bench:
    """A stream, what its mailbox takes in, and a clock."""

    def __init__(self) -> None:
        self.taken: list[Item] = []
        self.mailbox = Mailbox(self.taken.append)
        self.stream = Stream(host="h", port=1, hello=Hello(name="w"), mailbox=self.mailbox)
        self.clock = self.stream._outbox = Clock()
        self.requests = self.stream._requests()
        assert next(self.requests) == WorkRequest(hello=Hello(name="w"))

    def next(self) -> WorkRequest:
        """Give what is sent next."""
        return next(self.requests)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Make a stream that nothing was sent on but the hello."""
    monkeypatch.setattr(stream_module, "Connection", Channel)
    monkeypatch.setattr(stream_module, "WorkServiceStub", lambda _: type("Stub", (), {"Work": Call}))
    made = Bench()
    made.stream._now = lambda: made.clock.now
    made.stream._sent_at = made.clock.now
    return made


def held(number: int, value: bytes = b"value", state: State = State.ENDED) -> Held:
    """Make a node with a report."""
    node = Held(bytes([number]) * 16, number, b"i" * 16, Function("m:C.f", b""), b"", 1, None)
    node.report = Report(1, value=value)
    node.state = state
    return node


def tokens(request: WorkRequest) -> list[int]:
    """Give the tokens of the reports in a request."""
    return list(request.completions.tokens)


def test_what_has_accumulated_goes_out_together(bench: Bench) -> None:
    """Reports, leases that go back, and that the worker drains, in one request."""
    bench.stream.send([held(1), held(2)])
    bench.stream.send(Lease(token=3))
    bench.stream.send(Rejection(lease=Lease(token=4)))
    bench.stream.send(Signal.DRAIN)
    bench.stream.send([held(5)])
    request = bench.next()
    assert (tokens(request), request.sequence, request.draining) == ([1, 2, 5], 1, True)
    assert [lease.token for lease in request.hand_backs] == [3]
    assert [one.lease.token for one in request.rejections] == [4]
    bench.stream.send(Lease(token=6))
    request = bench.next()
    assert (tokens(request), request.sequence, request.draining) == ([], 0, False)


def test_a_report_that_nobody_wants_any_more_is_left_out(bench: Bench) -> None:
    """Its lease may have ended since."""
    bench.stream.send([held(1), held(2, state=State.LET_GO), held(3)])
    assert tokens(bench.next()) == [1, 3]


def test_a_request_is_closed_when_it_is_large(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest follows in the next ones, in its order, and each is acknowledged by itself."""
    monkeypatch.setattr(stream_module, "REQUEST_BYTES", 10)
    nodes = [held(1, b"x" * 4), held(2, b"x" * 6), held(3, b"x" * 9), held(4, b"x"), held(5, b"")]
    bench.stream.send(nodes[:3])
    bench.stream.send(nodes[3:])
    requests = [bench.next() for _ in range(3)]
    assert [tokens(request) for request in requests] == [[1, 2], [3, 4], [5]]
    assert [request.sequence for request in requests] == [1, 2, 3]
    assert list(bench.stream.acknowledge(0)) == []
    assert list(bench.stream.acknowledge(2)) == nodes[:4]
    assert list(bench.stream.acknowledge(2)) == []
    assert list(bench.stream.acknowledge(3)) == nodes[4:]


def test_a_silent_worker_is_heard_of_in_time(bench: Bench) -> None:
    """A part of the lease after whatever was sent last; what is looked for in vain is nothing that was sent."""
    bench.stream.welcome(60)
    assert bench.stream.was_welcome
    for _ in range(2):
        assert bench.next() == WorkRequest()
    interval_s = 60 / HEARTBEATS_PER_LEASE
    assert (bench.clock.waits, bench.clock.now) == ([interval_s] * 2, 100 + 2 * interval_s)
    bench.clock.now += 7
    bench.stream.send(Lease(token=1))
    bench.next()
    bench.clock.now += 8
    bench.stream.look()
    assert bench.next() == WorkRequest()
    assert bench.clock.waits[2:] == [interval_s - 8]


def test_nothing_is_beaten_before_the_welcome(bench: Bench) -> None:
    """Nobody knows yet how often."""
    with pytest.raises(AssertionError, match="for ever"):
        bench.next()
    assert bench.clock.waits == [None]


def test_a_look_takes_in_what_is_there(bench: Bench) -> None:
    """Before anything is sent, so that what follows of it goes out as well."""
    bench.mailbox.wake = bench.stream.look
    bench.mailbox.ended.append(held(1))
    bench.mailbox.look_soon()
    bench.stream.send(Lease(token=1))
    bench.next()
    assert len(bench.taken) == 1
    bench.mailbox.ended.append(held(2))
    bench.stream.send(Lease(token=2))
    bench.mailbox.look_soon()
    bench.next()
    assert len(bench.taken) == 2


def test_progress_is_told_now_and_then_as_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and then no more often than eyes can see; not of what has ended, or told nothing."""
    monkeypatch.setattr(stream_module, "PROGRESS_INTERVAL_S", 0.125)
    running, silent, ended = (held(number, state=State.GIVEN) for number in (1, 2, 3))
    running.progress = (0.1, "begun")
    ended.progress = (0.9, "nearly")
    ended.state = State.ENDED
    bench.stream.tell_progress([running, silent, ended])
    progress = bench.next().progress
    assert (list(progress.tokens), list(progress.fractions), list(progress.messages)) == ([1], [0.1], ["begun"])
    bench.stream.tell_progress([running])
    running.progress = (0.2, "on")
    bench.clock.now += 0.0625
    assert list(bench.next().progress.fractions) == [0.2]
    assert bench.clock.waits == [0.0625]
    bench.stream.tell_progress([running])
    bench.stream.send(Lease(token=1))
    assert not bench.next().HasField("progress")
    bench.stream.tell_progress([silent])
    bench.clock.now += 0.125
    assert list(bench.next().progress.tokens) == [1]
    bench.clock.now += 0.125
    bench.stream.tell_progress([silent])
    assert not bench.next().HasField("progress")


def test_progress_does_not_hold_up_a_heartbeat(bench: Bench) -> None:
    """Whichever is due first goes out."""
    bench.stream.welcome(PROGRESS_INTERVAL_S * HEARTBEATS_PER_LEASE / 4)
    node = held(1, state=State.GIVEN)
    node.progress = (0.5, "")
    bench.stream.tell_progress([node])
    assert bench.next().HasField("progress")
    bench.stream.tell_progress([node])
    assert bench.next() == WorkRequest()


def test_the_last_request_ends_the_stream(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """All reports go out before, in however many requests."""
    monkeypatch.setattr(stream_module, "REQUEST_BYTES", 1)
    bench.stream.send([held(1), held(2)])
    bench.stream.send([held(3)])
    bench.stream.send(Signal.END)
    bench.stream.send([held(4)])
    assert [tokens(request) for request in bench.requests] == [[1], [2], [3], []]


def test_a_stream_that_is_closed_sends_nothing_more(bench: Bench) -> None:
    """Whatever was to be sent; and grpc is told."""
    call: Any = bench.stream._call
    assert list(bench.stream.responses()) == ["a response"]
    bench.stream.send([held(1)])
    bench.stream.close()
    assert list(bench.requests) == []
    channel: Any = bench.stream._channel
    assert (call.is_cancelled, channel.is_closed, bench.clock.qsize()) == (True, True, 2)


def test_a_stream_that_is_closed_while_it_waits_ends(bench: Bench) -> None:
    """Who waits for something to send finds that nothing follows."""
    bench.stream._outbox.put(Signal.END)
    assert bench.next() == WorkRequest()
    assert list(bench.requests) == []


def test_who_cancels_a_stream_tells_grpc(bench: Bench) -> None:
    """At once."""
    call: Any = bench.stream._call
    bench.stream.cancel()
    assert call.is_cancelled


def test_labels_are_told_once(bench: Bench) -> None:
    """With the progress of a node that runs, and with its report where that is sooner, or it has another one then."""
    first, second, plain = (held(number, state=State.GIVEN) for number in (1, 2, 3))
    first.label = "one"
    bench.stream.tell_progress([first, plain])
    labels = bench.next().labels
    assert (list(labels.tokens), list(labels.texts)) == ([1], ["one"])
    bench.clock.now += PROGRESS_INTERVAL_S
    first.progress = (0.5, "")
    bench.stream.tell_progress([first])
    assert not bench.next().HasField("labels")
    second.label = "two"
    for node in (first, second, plain):
        node.state, node.report = State.ENDED, Report(1, b"v")
    bench.stream.send([first, second, plain])
    request = bench.next()
    assert (list(request.labels.tokens), list(request.labels.texts)) == ([2], ["two"])
    assert list(request.completions.tokens) == [1, 2, 3]


def test_a_label_is_told_again_by_another_stream(bench: Bench) -> None:
    """The one before may not have brought it."""
    node = held(1)
    node.label = "one"
    bench.stream.send([node])
    assert list(bench.next().labels.texts) == ["one"]
    bench.stream.send([node])
    assert list(bench.next().labels.texts) == ["one"]
