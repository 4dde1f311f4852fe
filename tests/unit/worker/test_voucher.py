"""When a voucher speaks, and of whom, with processes and a broker that do what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from multiprocessing import connection
from queue import SimpleQueue
from threading import Event
from time import monotonic
from typing import Any, cast

import grpc
import pytest

from dagorama.v1.work_pb2 import VouchRequest, VouchResponse, WorkerEnd
from dagorama.worker.processes import telling, vouching
from dagorama.worker.processes.telling import REQUEST_S
from dagorama.worker.processes.vouching import TELL_S, Voucher, Word, _is_stopped
from tests.timing import WAIT_S
from tests.unit.worker.fake_processes import FakeProcess


class Broker:
    """Stands for the connection to a broker, and its stub."""

    def __init__(self) -> None:
        self.asked: SimpleQueue[VouchRequest] = SimpleQueue()
        self.answers: SimpleQueue[VouchResponse | Exception] = SimpleQueue()
        self.closed = Event()
        self.channel = self

    def Vouch(self, request: VouchRequest, timeout: float) -> VouchResponse:
        """Hand a request to the test, and answer as that says."""
        assert timeout == REQUEST_S
        self.asked.put(request)
        answer = self.answers.get(timeout=WAIT_S)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Take note."""
        self.closed.set()

    def next(self) -> VouchRequest:
        """Give what is asked next."""
        return self.asked.get(timeout=WAIT_S)

    def let_go(self, voucher: Voucher) -> None:
        """End all that it vouches for, and its thread: left alone that would go on by the clock of another test."""
        for process, _ in list(voucher._living.values()):
            cast(Any, process).end(0)
        self.answers.put(VouchResponse(lease_duration_s=0.001))
        with voucher._changed:
            assert voucher._changed.wait_for(lambda: not voucher._is_running, WAIT_S)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """Have vouchers speak to such a broker, about processes of which none is stopped."""
    made = Broker()
    monkeypatch.setattr(telling, "Connection", lambda *_: made)
    monkeypatch.setattr(telling, "WorkServiceStub", lambda _: made)
    monkeypatch.setattr(vouching, "_is_stopped", lambda process: process.pid < 0)
    monkeypatch.setattr(vouching, "INTERVAL_S", 0.001)
    return made


@pytest.fixture
def voucher(broker: Broker) -> Iterator[Voucher]:
    """Make one with a thread, and see to its end."""
    it = Voucher("h", 1, forks=True)
    yield it
    broker.let_go(it)


def end_of(name: bytes) -> Callable[[], WorkerEnd]:
    """Say how it ended."""
    return lambda: WorkerEnd(worker_id=name, how="so")


def told(request: VouchRequest | Word | None) -> tuple[list[bytes], list[bytes]]:
    """Give who lives and who has ended."""
    assert request is not None
    return sorted(request.worker_ids), sorted(end.worker_id for end in request.ended)


def made(*processes: tuple[bytes, FakeProcess]) -> Any:
    """Make a voucher that has processes, and no thread."""
    it = Voucher("h", 1, forks=True)
    it._living = {name: (cast(Any, process), end_of(name)) for name, process in processes}
    return it


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have time pass only where a voucher waits."""

    class Clock:
        now = 1000.0
        waits: list[float] = []  # noqa: RUF012 - one clock for each test

    mine = threading.current_thread()  # workers of an earlier test may be vouched for until their broker is given up

    def now() -> float:
        return Clock.now if threading.current_thread() is mine else monotonic()

    def wait(these: Any, timeout_s: float) -> list[Any]:
        if threading.current_thread() is not mine:
            return connection.wait(these, timeout_s)
        Clock.waits.append(timeout_s)
        Clock.now += timeout_s
        return []

    monkeypatch.setattr(vouching, "monotonic", now)
    monkeypatch.setattr(vouching, "wait", wait)
    return Clock


def test_who_lives_is_named_when_it_is_time(broker: Broker, clock: Any) -> None:
    """Neither before nor later; who is stopped is not."""
    it = made((b"a", FakeProcess(1)), (b"b", FakeProcess(-2)), (b"c", FakeProcess(3)))
    assert told(it._next(1003.0)) == ([b"a", b"c"], [])
    assert clock.waits == [3.0]
    assert told(it._next(900.0)) == ([b"a", b"c"], [])
    assert clock.waits == [3.0]


def test_there_is_no_connection_where_there_is_nothing_to_tell(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that have ended well before it is time for the first word have said so themselves."""
    connections: list[tuple[object, ...]] = []
    monkeypatch.setattr(telling, "Connection", lambda *words: connections.append(words))
    monkeypatch.setattr(vouching, "INTERVAL_S", WAIT_S)
    it, process = Voucher("h", 1, forks=False), FakeProcess(1)
    it.add(b"a", cast(Any, process), end_of(b"a"))
    process.end(0)
    with it._changed:
        assert it._changed.wait_for(lambda: not it._is_running, WAIT_S / 2)
    assert connections == []


def test_an_end_is_told_at_once(broker: Broker, clock: Any) -> None:
    """With who lives. One that ended well has said so itself."""
    bad, good, alive = FakeProcess(1), FakeProcess(2), FakeProcess(3)
    it = made((b"bad", bad), (b"good", good), (b"alive", alive))
    bad.end(1)
    good.end(0)
    assert told(it._next(2000.0)) == ([b"alive"], [b"bad"])
    assert clock.waits == []


def test_an_end_waits_for_a_broker_that_answers(broker: Broker, clock: Any) -> None:
    """Until it is time to try again."""
    bad = FakeProcess(1)
    it = made((b"bad", bad))
    it._answers = False
    bad.end(1)
    assert told(it._next(1002.0)) == ([], [b"bad"])
    assert clock.waits == [2.0]


def test_what_nobody_wants_to_know_any_more_is_forgotten(broker: Broker, clock: Any) -> None:
    """After a while, by the time of each end."""
    one, other = FakeProcess(1), FakeProcess(2)
    it = made((b"one", one), (b"other", other))
    one.end(1)
    assert told(it._next(900.0)) == ([b"other"], [b"one"])
    clock.now += 1
    other.end(1)
    assert told(it._next(900.0)) == ([], [b"one", b"other"])
    clock.now += TELL_S - 1.5
    assert told(it._next(900.0)) == ([], [b"one", b"other"])
    clock.now += 0.5
    assert told(it._next(900.0)) == ([], [b"other"])
    clock.now += 1
    it._is_running = True
    assert it._next(900.0) is None
    assert not it._is_running


def test_a_voucher_speaks_for_as_long_as_there_is_anybody(broker: Broker, voucher: Voucher) -> None:
    """As often as the broker's leases want it; then it lets go of the connection, and begins again with the next."""
    process = FakeProcess(1)
    voucher.add(b"a", cast(Any, process), end_of(b"a"))
    assert told(broker.next()) == ([b"a"], [])
    broker.answers.put(VouchResponse(lease_duration_s=0.001))
    assert told(broker.next()) == ([b"a"], [])
    broker.answers.put(VouchResponse(lease_duration_s=3600))
    process.end(1)
    assert told(broker.next()) == ([], [b"a"])
    broker.answers.put(VouchResponse(lease_duration_s=3600))
    assert broker.closed.wait(WAIT_S)
    voucher.settle(WAIT_S)
    assert voucher._ended == {}
    voucher.add(b"b", cast(Any, FakeProcess(2)), end_of(b"b"))
    assert told(broker.next()) == ([b"b"], [])
    broker.answers.put(VouchResponse(lease_duration_s=3600))


def test_a_request_that_fails_is_made_again_soon(broker: Broker, voucher: Voucher) -> None:
    """Whatever the leases are; nobody waits for a broker that does not answer."""
    process = FakeProcess(1)
    voucher.add(b"a", cast(Any, process), end_of(b"a"))
    broker.next()
    broker.answers.put(grpc.RpcError())
    broker.next()
    process.end(1)
    broker.answers.put(grpc.RpcError())
    assert told(broker.next()) == ([], [b"a"])
    voucher.settle(WAIT_S)  # at once
    broker.answers.put(VouchResponse(lease_duration_s=3600))
    assert broker.closed.wait(WAIT_S)


def test_settling_waits_for_the_broker(broker: Broker, voucher: Voucher) -> None:
    """Until it knows of who has ended; not of who lives, and not for ever."""
    process = FakeProcess(1)
    voucher.settle(WAIT_S)  # there is nobody
    voucher.add(b"a", cast(Any, process), end_of(b"a"))
    voucher.settle(WAIT_S)
    process.end(1)
    voucher.settle(0.01)
    while told(broker.next()) != ([], [b"a"]):
        broker.answers.put(VouchResponse(lease_duration_s=0.001))
    voucher.settle(0.01)
    assert voucher._ended != {}
    broker.answers.put(VouchResponse(lease_duration_s=3600))
    voucher.settle(WAIT_S)
    assert voucher._ended == {}


def test_settling_waits_only_for_what_can_be_told(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has ended, the broker answers, and there is a thread to tell it."""
    it = made((b"a", FakeProcess(1)))
    seen: list[tuple[bool, float]] = []
    monkeypatch.setattr(it._changed, "wait_for", lambda is_over, timeout_s: seen.append((is_over(), timeout_s)))

    def is_over() -> bool:
        it.settle(3.0)
        assert seen[-1][1] == 3.0
        return seen[-1][0]

    assert is_over()
    it._is_running = True
    assert is_over()
    it._living[b"a"][0].end(1)
    assert not is_over()
    it._see_who_ended()
    assert it._living == {}
    assert not is_over()
    it._answers = False
    assert is_over()
    it._answers, it._is_running = True, False
    assert is_over()


def test_processes_of_one_broker_have_one_voucher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that the environment names at the start; where that is none nobody vouches, and all are settled."""
    done: list[tuple[object, ...]] = []

    class Vouching:
        def __init__(self, *address: object, forks: bool) -> None:
            self.address = address

        def add(self, *what: object) -> None:
            done.append((*self.address, *what))

        def settle(self, timeout_s: float) -> None:
            done.append(("settle", *self.address, timeout_s))

    monkeypatch.setattr(vouching, "Voucher", Vouching)
    monkeypatch.setattr(vouching, "_vouchers", {})
    monkeypatch.setenv("DAGORAMA_HOST", "here")
    process, end = cast(Any, FakeProcess(1)), end_of(b"a")
    for port in ("1", "2", "1", "none"):
        monkeypatch.setenv("DAGORAMA_PORT", port)
        vouching.vouch_for(b"a", process, end, forks=True)
    assert done == [("here", port, b"a", process, end) for port in (1, 2, 1)]
    assert len(vouching._vouchers) == 2
    vouching.settle()
    vouching.settle(7.0)
    assert done[3:] == [("settle", "here", port, seconds) for seconds in (vouching.SETTLE_S, 7.0) for port in (1, 2)]


def test_who_is_added_is_vouched_for_without_waiting_for_the_others(broker: Broker, voucher: Voucher) -> None:
    """A voucher that waits is woken."""
    voucher.add(b"a", cast(Any, FakeProcess(1)), end_of(b"a"))
    broker.next()
    broker.answers.put(VouchResponse(lease_duration_s=3600))
    other = FakeProcess(2)
    voucher.add(b"b", cast(Any, other), end_of(b"b"))
    other.end(1)
    assert told(broker.next()) == ([b"a"], [b"b"])
    broker.answers.put(VouchResponse(lease_duration_s=3600))


@pytest.mark.parametrize(("state", "is_stopped"), [("T", True), ("t", True), ("S", False), ("R", False), ("", False)])
def test_who_is_stopped_is_seen(state: str, is_stopped: bool, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its state; where the system does not tell it is taken to run."""
    (tmp_path / "stat").write_text(f"1 (a) b) {state} 0" if state else "1 (a)")
    monkeypatch.setattr(vouching, "Path", lambda _: tmp_path / "stat")
    assert _is_stopped(cast(Any, FakeProcess(1))) is is_stopped
    (tmp_path / "stat").unlink()
    assert not _is_stopped(cast(Any, FakeProcess(1)))
