"""One thread at a time takes in what has happened, whoever brings it, and nobody waits for it."""

from __future__ import annotations

from threading import Event, Thread

from dagorama.worker.kernel import messages as m
from dagorama.worker.shell.held import Function, Held
from dagorama.worker.shell.mailbox import Item, Mailbox
from tests.timing import WAIT_S


def held(number: int) -> Held:
    """Make a node that has ended."""
    return Held(bytes([number]) * 16, number, b"i", Function("f", b""), b"", 1, None)


def test_who_brings_something_does_not_wait_for_another() -> None:
    """The thread that is at work takes in what comes meanwhile, in the order in which it came."""
    begun, go = Event(), Event()
    taken: list[Item] = []

    def take(item: Item) -> None:
        taken.append(item)
        if len(taken) == 1:
            begun.set()
            assert go.wait(WAIT_S)

    mailbox = Mailbox(take)
    first = m.Drain()
    others: list[Item] = [m.Tick(), m.Recalled([1]), m.Recalled([2])]
    at_work = Thread(target=mailbox.post, args=(first,))
    at_work.start()
    assert begun.wait(WAIT_S)
    for message in others:
        mailbox.post(message)
    assert taken == [first]
    go.set()
    at_work.join(WAIT_S)
    assert taken == [first, *others]


def test_what_is_posted_while_something_is_taken_in_comes_after_it() -> None:
    """A message may lead to another one."""
    taken: list[Item] = []

    def take(item: Item) -> None:
        taken.append(item)
        if len(taken) == 1:
            mailbox.post(m.Tick())
            assert len(taken) == 1

    mailbox = Mailbox(take)
    mailbox.post(m.Drain())
    assert taken == [m.Drain(), m.Tick()]


def test_ends_are_taken_in_together_by_who_is_woken_once() -> None:
    """However many there are before it looks; what comes after that wakes it again."""
    taken: list[Item] = []
    wakes: list[None] = []
    mailbox = Mailbox(taken.append)
    mailbox.wake = lambda: wakes.append(None)
    nodes = [held(number) for number in range(4)]
    for node in nodes[:3]:
        mailbox.ended.append(node)
        mailbox.look_soon()
    assert (taken, len(wakes)) == ([], 1)
    mailbox.look()
    mailbox.look()
    assert taken == [m.Ended(nodes[:3])]
    mailbox.ended.append(nodes[3])
    mailbox.look_soon()
    assert len(wakes) == 2


def test_ends_come_before_what_is_brought_after_them() -> None:
    """A recall, say, is about what still stands in line."""
    taken: list[Item] = []
    mailbox = Mailbox(taken.append)
    node = held(1)
    mailbox.ended.append(node)
    mailbox.look_soon()  # nobody is there to be woken
    mailbox.post(m.Recalled([1]))
    assert taken == [m.Ended([node]), m.Recalled([1])]


def test_progress_is_told_once_however_often_it_is_made() -> None:
    """By the token; and not in the thread that makes it."""
    taken: list[Item] = []
    mailbox = Mailbox(taken.append)
    for token in (1, 2, 1, 1):
        mailbox.progressed(token)
    assert taken == []
    mailbox.look()
    (told,) = taken
    assert isinstance(told, m.Progressed)
    assert sorted(told.tokens) == [1, 2]


def test_nobody_is_woken_for_progress_while_some_is_about_to_be_told() -> None:
    """A function may tell it with each small step. What it has told meanwhile is taken in when that is over."""
    taken: list[Item] = []
    wakes: list[None] = []
    mailbox = Mailbox(taken.append)
    mailbox.wake = lambda: wakes.append(None)
    mailbox.progressed(1)
    mailbox.look()
    mailbox.will_tell = True
    for token in (1, 2, 1):
        mailbox.progressed(token)
    assert (taken, len(wakes)) == ([m.Progressed([1])], 1)
    mailbox.will_tell = False
    mailbox.look()
    (_, told) = taken
    assert isinstance(told, m.Progressed)
    assert sorted(told.tokens) == [1, 2]
    mailbox.progressed(1)
    assert len(wakes) == 2
