"""How slots go from threads to the event loop and back, and what they tell of the nodes in them."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import Context
from queue import SimpleQueue
from threading import Event, get_ident
from typing import Any, cast

import pytest

from dagorama.calls.capture import Scope, current_scope
from dagorama.worker.kernel.messages import Ended
from dagorama.worker.kernel.states import State
from dagorama.worker.shell import node_loop, slots
from dagorama.worker.shell.alarm import Alarm
from dagorama.worker.shell.board import Board
from dagorama.worker.shell.execution import Executor
from dagorama.worker.shell.held import Function, Held, Report
from dagorama.worker.shell.mailbox import Freed, HandedOver, Mailbox, Passed
from dagorama.worker.shell.node_loop import CLOSE_S, NodeLoop, Rest
from dagorama.worker.shell.slots import LOOP_BLOCKED_S, Slots
from tests.timing import WAIT_S

PLAIN, LATER = Function("plain", b""), Function("later", b"")


def held(number: int, function: Function = PLAIN) -> Held:
    """Make a node."""
    return Held(bytes([number]) * 16, number, b"i", function, b"", 1, None)


class Watch:
    """Stands for the alarm and the board: keeps what is said of nodes."""

    def __init__(self) -> None:
        self.said: SimpleQueue[tuple[object, ...]] = SimpleQueue()

    def watch(self, node: Held, grace_s: float) -> None:
        """Keep it."""
        self.said.put(("watch", node.token, grace_s))

    def forget(self, node: Held) -> None:
        """Keep it."""
        self.said.put(("forget", node.token))

    def begins(self, node: Held) -> None:
        """Keep it, and give the node a place."""
        node.place = 0
        self.said.put(("begins", node.token))

    def follows(self, node: Held, ended: Held) -> None:
        """Keep it, and pass the place on."""
        node.place, ended.place = ended.place, -1
        self.said.put(("follows", node.token, ended.token))

    def ends(self, node: Held) -> None:
        """Keep it."""
        node.place = -1
        self.said.put(("ends", node.token))

    def all(self) -> list[tuple[object, ...]]:
        """Give what was said since the last time."""
        return [self.said.get() for _ in range(self.said.qsize())]


class Bench:
    """Slots with an executor whose functions do what a test says."""

    def __init__(self, count: int = 1, **options: Any) -> None:
        self.known_async: set[str] = set()
        self.begun: SimpleQueue[Held] = SimpleQueue()
        self.go: dict[Held, Event] = {}
        self.threads: dict[Held, int] = {}
        self.told: SimpleQueue[object] = SimpleQueue()
        self.mailbox = Mailbox(self._take)
        self.slots = Slots(count, cast(Executor, self), self.mailbox, **options)

    # -- an executor

    def is_known_async(self, node: Held) -> bool:
        """Return whether the function was asynchronous before."""
        return node.function.name in self.known_async

    def run(self, node: Held) -> Rest | None:
        """Run a plain function, or begin an asynchronous one."""
        self.threads[node] = get_ident()
        if node.function is LATER or node.function.name == "later":
            self.known_async.add("later")
            context = Context()
            context.run(current_scope.set, Scope(node.instance_id, node))
            return Rest(self._later(node), context)
        self.begun.put(node)
        assert self.gate(node).wait(WAIT_S)
        node.report = None if node.rejected is not None else Report(1, value=b"")
        return None

    async def _later(self, node: Held) -> None:
        self.begun.put(node)
        while not await asyncio.to_thread(self.gate(node).wait, 0.001):
            pass  # so that it can be cancelled
        node.report = Report(1, value=b"")

    def gate(self, node: Held) -> Event:
        """Give what lets a node end."""
        return self.go.setdefault(node, Event())

    # -- what a test does

    def _take(self, item: Any) -> None:
        match item:
            case Freed():
                self.slots.freed(item)
            case Passed():
                self.slots.passed(item)
            case HandedOver():
                self.slots.handed_over(item)
        self.told.put(item)

    def next(self) -> Held:
        """Wait for the next node that begins."""
        return self.begun.get(timeout=WAIT_S)

    def until(self, kind: type) -> list[Any]:
        """Give what is told up to the next item of this kind."""
        found = [self.told.get(timeout=WAIT_S)]
        while not isinstance(found[-1], kind):
            found.append(self.told.get(timeout=WAIT_S))
        return found

    def ends(self, *nodes: Held) -> None:
        """Let nodes end, and wait until that is told."""
        for node in nodes:
            self.gate(node).set()
        left = set(nodes)
        while left:
            left -= set(self.until(Ended)[-1].nodes)


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """Make benches; in the end all nodes end."""
    made: list[Bench] = []

    def make(count: int = 1, **options: Any) -> Bench:
        made.append(Bench(count, **options))
        return made[-1]

    yield make
    for one in made:
        one.slots.take_back(None)
        for gate in one.go.values():
            gate.set()
        one.slots.close()


def test_a_slot_goes_to_the_loop_and_its_thread_to_another(bench: Callable[..., Bench]) -> None:
    """A function that turns out to be asynchronous keeps its slot; its thread begins what has another."""
    it = bench(2)
    first, second, third = held(1, LATER), held(2), held(3)
    it.slots.add([first])
    assert it.next() is first
    (handed_over,) = it.until(HandedOver)
    assert handed_over.held is first
    assert it.slots.tasks_of([first, second]) == [first]
    it.slots.add([second, third])
    assert it.next() is second
    assert it.threads[second] == it.threads[first]
    assert it.begun.empty()
    it.ends(first)
    assert it.next() is third
    assert it.slots.tasks_of([first, third]) == []


def test_what_is_known_to_be_asynchronous_needs_no_thread(bench: Callable[..., Bench]) -> None:
    """The loop takes the next from the line by itself, and gives a plain one to a thread."""
    it = bench(1)
    it.known_async.add("later")
    one, two, plain, three = held(1, LATER), held(2, LATER), held(3), held(4, LATER)
    it.slots.add([one, two, plain, three])
    assert it.next() is one
    it.gate(one).set()
    assert it.next() is two
    assert it.slots._threads == 0
    it.gate(two).set()
    assert it.until(Passed)[-1].held is plain
    assert it.next() is plain
    assert it.slots._threads == 1
    assert it.threads[plain] != it.threads[two]
    it.gate(plain).set()
    assert it.next() is three
    it.ends(three)
    free = it.until(Freed)[-1]
    assert (free.slots, it.slots._free) == (1, 1)


def test_threads_are_used_again(bench: Callable[..., Bench]) -> None:
    """No more begin than nodes have run at once."""
    it = bench(3)
    nodes = [held(number) for number in range(4)]
    it.slots.add(nodes[:2])
    assert {it.next(), it.next()} == set(nodes[:2])
    assert it.slots._threads == 2
    for node in nodes[:2]:
        it.gate(node).set()
    for _ in range(2):
        assert it.until(Freed)[-1] == Freed(slots=1, threads=1)
    it.slots.add(nodes[2:])
    assert {it.next(), it.next()} == set(nodes[2:])
    assert (it.slots._threads, it.slots._free, it.slots._idle_threads) == (2, 1, 0)


def test_a_task_is_cancelled_where_it_waits(bench: Callable[..., Bench]) -> None:
    """A thread is not; and one whose lease had ended before it got to the loop is cancelled there."""
    it = bench(2)
    it.known_async.add("later")
    task, thread = held(1, LATER), held(2)
    it.slots.add([task, thread])
    assert {it.next(), it.next()} == {task, thread}
    for node in (task, thread):
        node.state = State.REVOKED
        it.slots.cancel(node)
    assert it.until(Ended)[-1].nodes == [task]
    assert task.report is None
    late = held(3, LATER)
    late.state = State.REVOKED
    it.slots.add([late])
    assert it.until(Ended)[-1].nodes == [late]
    assert late.report is None


def test_whoever_is_rejected_is_told_of_before_the_next_begins(bench: Callable[..., Bench]) -> None:
    """The others of its kind need not even be begun."""
    it = bench(1)
    first, second = held(1), held(2)
    first.rejected = cast(Any, "of another version")
    taken: list[list[Held]] = []
    take = it.mailbox._handle

    def take_back(item: Any) -> None:
        if isinstance(item, Ended) and first in item.nodes:
            taken.append(it.slots.take_back([second]))
        take(item)

    it.mailbox._handle = take_back
    it.slots.add([first, second])
    assert it.next() is first
    it.ends(first)
    it.until(Freed)
    assert taken == [[second]]
    assert it.begun.empty()


def test_the_board_shows_what_runs(bench: Callable[..., Bench]) -> None:
    """From the beginning on; a node that follows another has its place, also where it moves to the loop."""
    board = Watch()
    it = bench(1, board=cast(Board, board))
    first, second = held(1), held(2, LATER)
    it.slots.add([first, second])
    assert it.next() is first
    assert board.all() == [("begins", 1)]
    it.gate(first).set()
    assert it.next() is second
    assert board.all() == [("follows", 2, 1)]
    it.ends(second)
    it.until(Freed)
    assert board.all() == [("ends", 2)]


@pytest.mark.parametrize("function", [Function("plain", b"", 60.0), Function("plain", b"", at_most_once=True)])
def test_the_alarm_watches_what_may_not_overrun(bench: Callable[..., Bench], function: Function) -> None:
    """Or must not be cut off; in a thread without a grace."""
    alarm = Watch()
    it = bench(1, alarm=cast(Alarm, alarm), cancel_grace_s=5.0)
    free, bound = held(1), held(2, function)
    it.slots.add([free, bound])
    it.gate(free).set()
    assert it.next() is free
    assert it.next() is bound
    assert alarm.all() == [("watch", 2, 0.0)]
    it.ends(bound)
    it.until(Freed)
    assert alarm.all() == [("forget", 2)]


def test_a_task_has_a_grace_with_the_alarm_too(bench: Callable[..., Bench]) -> None:
    """It is told to stop when its time is over, and not before."""
    alarm = Watch()
    it = bench(1, alarm=cast(Alarm, alarm), cancel_grace_s=5.0)
    it.known_async.add("later")
    node = held(1, Function("later", b"", 60.0))
    it.slots.add([node])
    assert it.next() is node
    assert set(alarm.all()) == {("watch", 1, 5.0)}


def test_a_node_that_comes_to_the_loop_gets_the_grace_then(bench: Callable[..., Bench]) -> None:
    """Its function was not known to be asynchronous when it began."""
    alarm = Watch()
    it = bench(1, alarm=cast(Alarm, alarm), cancel_grace_s=5.0)
    node = held(1, Function("later", b"", 60.0))
    it.slots.add([node])
    assert it.next() is node
    assert alarm.all() == [("watch", 1, 0.0), ("watch", 1, 5.0)]


def test_who_is_abandoned_leaves_alarm_and_board_when_it_ends(bench: Callable[..., Bench]) -> None:
    """Until then its process may still have to end for it."""
    watch = Watch()
    it = bench(1, alarm=cast(Alarm, watch), board=cast(Board, watch))
    node = held(1, Function("plain", b"", 60.0))
    it.slots.add([node])
    assert it.next() is node
    it.slots.abandon(node)
    assert (it.slots._threads, it.slots._free) == (0, 1)
    assert watch.all() == [("begins", 1), ("watch", 1, 0.0)]
    it.ends(node)
    assert watch.all() == [("forget", 1), ("ends", 1)]


def test_a_node_goes_on_where_nothing_holds_it_up(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread always; on the loop while that answers."""
    it = bench(2)
    it.known_async.add("later")
    thread, task = held(1), held(2, LATER)
    asked: list[float] = []

    def answers(within_s: float) -> bool:
        asked.append(within_s)
        return False

    monkeypatch.setattr(it.slots._loop, "answers", answers)
    it.slots.add([thread, task])
    assert {it.next(), it.next()} == {thread, task}
    assert it.slots.goes_on(thread)
    assert asked == []
    assert not it.slots.goes_on(task)
    assert asked == [LOOP_BLOCKED_S] == [slots.LOOP_BLOCKED_S]


def test_slots_that_are_closed_end_their_threads() -> None:
    """And the loop."""
    it = Bench(2)
    nodes = [held(1, LATER), held(2)]
    it.slots.add(nodes)
    assert {it.next(), it.next()} == set(nodes)
    it.ends(*nodes)
    it.slots.close()
    threads = [thread for thread in threading.enumerate() if thread.ident in it.threads.values()]
    for thread in (*threads, it.slots._loop._thread):
        assert thread is not None
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_a_loop_that_is_blocked_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it has not answered for so long; nobody waits for that."""
    loop = NodeLoop("test")
    now = [100.0]
    monkeypatch.setattr(node_loop, "monotonic", lambda: now[0])
    assert loop.answers(0.0)  # there is nothing on it
    begun, go = Event(), Event()
    loop.call(begun.set)
    loop.call(go.wait, WAIT_S)
    assert begun.wait(WAIT_S)
    assert loop.answers(10.0)
    now[0] += 9.0
    assert loop.answers(10.0)
    now[0] += 1.0
    assert not loop.answers(10.0)
    go.set()
    answered = Event()
    loop.call(answered.set)
    assert answered.wait(WAIT_S)
    assert loop.answers(10.0)
    loop.close(CLOSE_S)


def test_a_loop_that_is_closed_cancels_what_runs_on_it() -> None:
    """And has ended when that is waited for."""
    loop = NodeLoop("test")
    loop.close(CLOSE_S)  # nothing has begun
    loop = NodeLoop("test")
    begun, cancelled, ended = Event(), Event(), Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    context = Context()
    context.run(current_scope.set, Scope(b"i"))
    loop.call(lambda: loop.start(Rest(wait(), context), ended.set))
    assert begun.wait(WAIT_S)
    here: SimpleQueue[bool] = SimpleQueue()
    loop.call(lambda: here.put(loop.is_here()))
    assert here.get(timeout=WAIT_S)
    assert not loop.is_here()
    loop.close(CLOSE_S)
    assert cancelled.is_set()
    assert ended.is_set()
    assert loop._thread is not None
    assert not loop._thread.is_alive()


def test_a_callback_that_outlives_its_node_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the loop nor another node; it is only told of."""
    loop = NodeLoop("test")
    ended, went_on = Event(), Event()

    async def end() -> None:
        """Be over at once."""

    context = Context()
    context.run(current_scope.set, Scope(b"i"))
    loop.call(lambda: loop.start(Rest(end(), context), ended.set))
    assert ended.wait(WAIT_S)
    assert loop._loop is not None
    for late in (context, Context()):
        loop._loop.call_soon_threadsafe(sys.exit, context=late)
    loop.call(went_on.set)
    assert went_on.wait(WAIT_S)
    said = "SystemExit was raised on the event loop, by no node that still runs; the loop goes on"
    assert caplog.messages == [said, said]
    loop.close(CLOSE_S)
