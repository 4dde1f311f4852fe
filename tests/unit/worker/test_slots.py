"""Which node runs when, with functions that do what a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Event
from typing import Any, cast

import pytest

from dagorama.worker.kernel.messages import Ended
from dagorama.worker.shell.execution import Executor
from dagorama.worker.shell.held import Function, Held, Report
from dagorama.worker.shell.mailbox import Freed, Item, Mailbox
from dagorama.worker.shell.slots import Slots
from tests.timing import WAIT_S


def held(number: int) -> Held:
    """Make a node."""
    return Held(bytes([number]) * 16, number, b"i", Function("f", b""), b"", 1, None)


class Scripted:
    """Stands for the executor: each node waits until it may end."""

    def __init__(self) -> None:
        self.begun: SimpleQueue[Held] = SimpleQueue()
        self.go: dict[Held, Event] = {}

    def run(self, node: Held) -> None:
        """Run a node."""
        self.begun.put(node)
        assert self.go.setdefault(node, Event()).wait(WAIT_S)
        node.report = Report(1, value=b"")

    def is_known_async(self, node: Held) -> bool:
        """No function is."""
        return False

    def next(self) -> Held:
        """Wait for the next node that begins."""
        return self.begun.get(timeout=WAIT_S)

    def end(self, node: Held) -> None:
        """Let a node end."""
        self.go.setdefault(node, Event()).set()


class Bench:
    """Slots, with a mailbox that tells what they say."""

    def __init__(self, count: int) -> None:
        self.executor = Scripted()
        self.told: SimpleQueue[Item] = SimpleQueue()
        self.mailbox = Mailbox(self._take)
        self.slots = Slots(count, cast(Executor, self.executor), self.mailbox)

    def _take(self, item: Any) -> None:
        if isinstance(item, Freed):
            self.slots.freed(item)
        self.told.put(item)

    def ended(self) -> list[Held]:
        """Wait until slots have told of nodes that have ended."""
        while not isinstance(item := self.told.get(timeout=WAIT_S), Ended):
            pass
        return cast("list[Held]", item.nodes)


@pytest.fixture
def bench() -> Iterator[Callable[[int], Bench]]:
    """Make a bench with so many slots; in the end all nodes end."""
    benches: list[Bench] = []

    def make(count: int) -> Bench:
        benches.append(Bench(count))
        return benches[-1]

    yield make
    for one in benches:
        one.slots.take_back(None)
        for go in one.executor.go.values():
            go.set()
        one.slots.close()


def test_nodes_begin_in_their_order_as_slots_are_free(bench: Callable[[int], Bench]) -> None:
    """No more at once than there are slots; who has ended one takes the next."""
    it = bench(2)
    nodes = [held(number) for number in range(4)]
    it.slots.add(nodes)
    first, second = it.executor.next(), it.executor.next()
    assert {first, second} == set(nodes[:2])
    assert it.executor.begun.empty()
    it.executor.end(second)
    assert it.executor.next() is nodes[2]
    it.executor.end(first)
    assert it.executor.next() is nodes[3]


def test_a_slot_that_has_nothing_to_do_gets_what_comes(bench: Callable[[int], Bench]) -> None:
    """However long after the last node."""
    it = bench(1)
    for number in range(3):
        node = held(number)
        it.slots.add([node])
        assert it.executor.next() is node
        it.executor.end(node)
        assert it.ended() == [node]
        while not isinstance(it.told.get(timeout=WAIT_S), Freed):  # it says so afterwards
            pass


def test_what_was_begun_is_not_taken_back(bench: Callable[[int], Bench]) -> None:
    """Of the others those that are asked for never begin, and the rest keeps its order."""
    it = bench(1)
    nodes = [held(number) for number in range(5)]
    it.slots.add(nodes)
    assert it.executor.next() is nodes[0]
    assert it.slots.take_back([nodes[3], nodes[0], nodes[1]]) == [nodes[1], nodes[3]]
    it.executor.end(nodes[0])
    assert it.executor.next() is nodes[2]
    assert it.slots.take_back(None) == [nodes[4]]
    assert it.slots.take_back(None) == []


def test_a_thread_that_is_abandoned_takes_no_further_node(bench: Callable[[int], Bench]) -> None:
    """Another has its slot at once; the node's end is told when it comes, and its thread ends."""
    it = bench(1)
    first, second, third = nodes = [held(number) for number in range(3)]
    it.slots.add(nodes)
    assert it.executor.next() is first
    assert it.slots.is_in_thread(first)
    it.slots.abandon(first)
    it.slots.abandon(first)  # it has no slot any more
    assert it.executor.next() is second
    it.executor.end(first)
    assert it.ended() == [first]
    assert it.executor.begun.empty()
    it.executor.end(second)
    assert it.executor.next() is third
    assert not it.slots.is_in_thread(second)
