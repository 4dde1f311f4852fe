"""What nodes write reaches the broker once, and holds nobody up."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from time import monotonic

import grpc
import pytest

from dagorama.v1.logs_pb2 import LogBlock
from dagorama.worker.logs import intake, sending, unacknowledged
from dagorama.worker.logs.node_log import AttemptLog
from dagorama.worker.logs.packer import Attempt
from dagorama.worker.logs.sending import Sender
from tests.ports import kept_port
from tests.timing import WAIT_S
from tests.unit.worker.log_reading import lines_of
from tests.unit.worker.log_server import LogServer, log_server

MakeSender = Callable[..., Sender]


class Warnings:
    """A worker's log."""

    def __init__(self) -> None:
        self.lines: SimpleQueue[str] = SimpleQueue()

    def __call__(self, text: str, *args: object) -> None:
        self.lines.put(text % args)

    def next(self) -> str:
        """Wait for the next line."""
        return self.lines.get(timeout=WAIT_S)


@pytest.fixture
def log() -> Warnings:
    """Makes a worker's log."""
    return Warnings()


@pytest.fixture
def sender_to(log: Warnings) -> Iterator[MakeSender]:
    """Makes senders that are closed after the test."""
    with ExitStack() as stack:

        def make(port: int, *, bytes_max: int = 2**30) -> Sender:
            made = Sender(host="localhost", port=port, worker="me:1", bytes_max=bytes_max, warn=log)
            stack.callback(made.close, 0)
            return made

        yield make


@pytest.fixture
def server() -> Iterator[LogServer]:
    """Runs a server whose streams the test serves."""
    with log_server() as served:
        yield served


def patiently(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a sender take a slow machine for no broker that is away."""
    monkeypatch.setattr(intake, "STUCK_S", WAIT_S)
    monkeypatch.setattr(sending, "CLOSE_STUCK_S", WAIT_S)


def log_in(sender: Sender, node: bytes = b"n", number: int = 1) -> AttemptLog:
    """Make the log of an attempt."""
    return AttemptLog(sender, Attempt(b"i" * 16, node * 16, number, 9), threading.RLock())


def texts(blocks: list[LogBlock]) -> list[str]:
    """Return the texts of all lines."""
    return [line.text for block in blocks for line in lines_of(block)]


def test_lines_go_out_together(server: LogServer, sender_to: MakeSender) -> None:
    """In one block soon, which is not held back until the node ends; its end follows."""
    written = log_in(sender_to(server.port))
    for number in range(3):
        written.printed(1, f"line {number}\n")
    session = server.session()
    request = session.request()
    assert (len(request.sender_id), request.worker) == (16, "me:1")
    (block,) = [*request.blocks] or session.blocks(1)
    assert texts([block]) == ["line 0", "line 1", "line 2"]
    assert (block.sequence, block.parts[0].ended) == (1, False)
    written.end()
    (end,) = session.blocks(1)
    assert (end.sequence, end.parts[0].ended) == (2, True)


def test_nothing_is_made_before_the_first_line(server: LogServer, sender_to: MakeSender) -> None:
    """No thread and no connection."""
    before = set(threading.enumerate())  # some of an earlier test may just be ending
    sender = sender_to(server.port)
    sender.close(WAIT_S)
    assert set(threading.enumerate()) <= before
    assert server.sessions.empty()


def test_what_was_not_acknowledged_is_sent_again(server: LogServer, sender_to: MakeSender) -> None:
    """Over the next stream, under the same numbers, before all else."""
    written = log_in(sender_to(server.port))
    written.printed(1, "one\n")
    session = server.session()
    first = session.request()
    if not first.blocks:
        session.blocks(1)
    for text in ("two\n", "three\n"):
        written.printed(1, text)
        session.blocks(1)
    session.acknowledge(1)
    session.close()
    again = server.session()
    request = again.request()
    assert request.sender_id == first.sender_id
    # The acknowledgement of the first may not have come before the stream broke.
    assert [(block.sequence, *texts([block])) for block in request.blocks][-2:] == [(2, "two"), (3, "three")]
    again.acknowledge(3)
    written.printed(1, "four\n")
    assert [(block.sequence, *texts([block])) for block in again.blocks(1)] == [(4, "four")]


def test_a_broker_that_comes_later_gets_all(sender_to: MakeSender) -> None:
    """Lines wait for it, up to a bound."""
    with log_server() as served:
        port = served.port
    written = log_in(sender_to(port))
    written.printed(1, "early\n")
    with log_server(port) as served:
        session = served.session()
        request = session.request()
        assert texts([*request.blocks] or session.blocks(1)) == ["early"]


def test_without_a_broker_nobody_waits_long(sender_to: MakeSender, monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds no room is dropped; who writes is held up once, and what was dropped is told later."""
    monkeypatch.setattr(intake, "QUEUE_BYTES_MAX", 100_000)
    with log_server() as served:
        port = served.port
    written = log_in(sender_to(port))
    began_at = monotonic()
    for _ in range(1000):
        written.printed(1, "x" * 999 + "\n")
    assert written.attempt.waited_s < 5 * intake.STUCK_S
    assert monotonic() - began_at < 10
    written.end()
    with log_server(port) as served:
        session = served.session()
        blocks: list[LogBlock] = []
        while not any(part.ended for block in blocks for part in block.parts):
            blocks += session.request().blocks
    kept = len(texts(blocks))
    assert 50 < kept < 150
    parts = [part for block in blocks for part in block.parts]
    assert sum(part.dropped_lines for part in parts) == 1000 - kept
    # The end of each line that is kept nowhere counts, too.
    assert sum(part.dropped_bytes for part in parts) == (1000 - kept) * 1000


def test_a_flood_is_held_up_until_it_is_taken(sender_to: MakeSender, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that takes lines more slowly than they are written gets all, and memory stays bounded."""
    monkeypatch.setattr(intake, "QUEUE_BYTES_MAX", 1_000_000)
    monkeypatch.setattr(unacknowledged, "UNACKNOWLEDGED_BYTES_MAX", 2_000_000)
    patiently(monkeypatch)
    with log_server(store=True) as served:
        sender = sender_to(served.port)
        written = log_in(sender)
        line = random.Random(1).randbytes(499).hex() + "\n"
        most = 0
        for _ in range(10_000):
            written.printed(1, line)
            most = max(most, sender._intake.size_bytes + sender._unacknowledged._bytes)
        written.end()
        sender.close(WAIT_S)
        assert texts(served.stored) == [line[:-1]] * 10_000
        assert most < 5_000_000


def test_a_hundred_megabytes_move_as_such(sender_to: MakeSender, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scaled down: what travels is no more than a tenth above the text, though it does not shrink."""
    patiently(monkeypatch)
    with log_server(store=True) as served:
        sender = sender_to(served.port)
        written = log_in(sender)
        draw = random.Random(1)
        size = 0
        for _ in range(200):
            data = draw.randbytes(20_000).replace(b"\r", b"\n")  # it would have the lines overwrite themselves
            size += len(data)
            written.printed(1, data)
        written.end()
        sender.close(WAIT_S)
        assert size < served.bytes < 1.1 * size
        assert not any(part.dropped_lines or part.dropped_bytes for block in served.stored for part in block.parts)


def test_an_endless_line_takes_no_memory(sender_to: MakeSender, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its begin is kept, and the rest counted."""
    patiently(monkeypatch)
    with log_server(store=True) as served:
        sender = sender_to(served.port)
        written = log_in(sender)
        most = 0
        for _ in range(50):
            written.printed(1, "x" * 2**20)
            most = max(most, sender._intake.size_bytes)
        written.printed(1, "\nnext\n")
        written.end()
        sender.close(WAIT_S)
        cut, following = texts(served.stored)
        assert (cut[-17:], following) == ("x [cut at 64 KiB]", "next")
        assert sum(part.dropped_bytes for block in served.stored for part in block.parts) == 50 * 2**20 - 2**16
        assert most < 10 * 2**20


@pytest.mark.parametrize("code", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT])
def test_a_broker_that_wants_none_is_left_alone(
    server: LogServer, sender_to: MakeSender, log: Warnings, code: grpc.StatusCode
) -> None:
    """It is said once, and what is written then is only shown."""
    sender = sender_to(server.port)
    written = log_in(sender)
    written.printed(1, "one\n")
    server.session().close(code)
    said = log.next()
    assert f"the broker at localhost:{server.port} takes no logs of nodes" in said
    written.printed(1, "two\n")
    written.end()
    assert sender._intake.size_bytes == 0
    assert server.sessions.empty()
    sender.close(WAIT_S)
    assert log.lines.empty()


def test_a_broker_that_knows_no_logs_is_said_to_be_older(sender_to: MakeSender, log: Warnings) -> None:
    """As a broker of a version before this one."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port(f"127.0.0.1:{kept_port()}")
    server.start()
    try:
        log_in(sender_to(port)).printed(1, "one\n")
        assert "it is of an older version" in log.next()
    finally:
        server.stop(0).wait()


def test_a_problem_of_the_store_is_said_once(server: LogServer, sender_to: MakeSender, log: Warnings) -> None:
    """And again when it comes again after it was over."""
    sender = sender_to(server.port)
    written = log_in(sender)
    written.printed(1, "x\n")
    session = server.session()
    for number, problem in enumerate(["disk full", "disk full", "", "disk full"], 1):
        session.acknowledge(number, problem)
    assert log.next() == "the broker does not keep what nodes print: disk full"
    assert log.next() == "the broker does not keep what nodes print: disk full"
    sender.close(0)
    assert log.lines.empty()


def test_the_end_waits_for_what_is_on_its_way(sender_to: MakeSender, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that were just written, and begun lines too."""
    patiently(monkeypatch)
    with log_server(store=True) as served:
        sender = sender_to(served.port)
        written = log_in(sender)
        written.printed(1, "one\nbegun")
        sender.close(WAIT_S)
        assert texts(served.stored) == ["one", "begun"]
        written.printed(1, "late\n")
        written.end()
        assert texts(served.stored) == ["one", "begun"]


def test_the_end_waits_for_no_broker_that_is_away(sender_to: MakeSender) -> None:
    """A worker ends soon without one."""
    with log_server() as served:
        port = served.port
    sender = sender_to(port)
    log_in(sender).printed(1, "lost\n")
    began_at = monotonic()
    sender.close(WAIT_S)
    assert monotonic() - began_at < WAIT_S / 2
