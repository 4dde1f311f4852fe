"""The slots: they decide which node is started when, in which thread or on the event loop.

A slot is the right to run one node. Plain functions run in a thread, asynchronous ones as tasks on one event loop that
all share; both take a slot, so no more than `count` nodes are ever started at once. A thread that finishes a node takes
the next one from the line itself, without waking anybody, and without a lock: all operations on the line and on the
nodes that run are atomic by themselves.

A task can be stopped where it waits; a thread cannot. It can lose its slot to another, and ends when its node does.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue

from dagorama.worker.shell.alarm import Alarm
from dagorama.worker.shell.board import Board
from dagorama.worker.shell.execution import Executor
from dagorama.worker.shell.held import Held
from dagorama.worker.shell.mailbox import Freed, HandedOver, Item, Mailbox, Passed
from dagorama.worker.shell.node_loop import NodeLoop, NodeTask, Rest

#: An event loop that has not gone on for so long, while one of its nodes runs on after its time, is given up.
LOOP_BLOCKED_S = 10.0


class Slots:
    """Threads and an event loop that run nodes in the order in which they were added.

    The thread at work on the mailbox calls the public methods; any thread may call `is_in_thread` and `goes_on`.
    """

    def __init__(
        self,
        count: int,
        executor: Executor,
        mailbox: Mailbox,
        *,
        alarm: Alarm | None = None,
        board: Board | None = None,
        cancel_grace_s: float = 0.0,
    ) -> None:
        """Put what has ended into the mailbox, and what has become free.

        With `alarm` this process ends if a node goes on after its deadline; a task that was stopped then gets
        `cancel_grace_s` to end. `board` is told what runs.
        """
        self._executor = executor
        self._mailbox = mailbox
        self._alarm = alarm
        self._board = board
        self._cancel_grace_s = cancel_grace_s
        self._line: deque[Held] = deque()
        self._free = count
        self._idle_threads = 0
        self._threads = 0
        #: A node to start, or None for one thread to end. Threads without a node wait at it.
        self._starts: SimpleQueue[Held | None] = SimpleQueue()
        #: Nodes that run in threads. The thread that takes one out has its slot: its own, or that which abandons it.
        self._running: dict[Held, None] = {}
        self._loop = NodeLoop("dagorama-loop")
        self._tasks: dict[Held, NodeTask] = {}

    @property
    def running(self) -> int:
        """Return how many nodes run, in threads and as tasks. Any thread may ask."""
        return len(self._running) + len(self._tasks)

    def loop_lag_s(self, within_s: float) -> float | None:
        """Return how late the event loop is, see `NodeLoop.lag_s`. Any thread may ask."""
        return self._loop.lag_s(within_s)

    def add(self, nodes: Sequence[Held]) -> None:
        """Start nodes as slots are free; the others stand in line."""
        self._line.extend(nodes)
        self._start_next()

    def freed(self, freed: Freed) -> None:
        """Count what is free, and start what has come into the line since it was found empty."""
        self._free += freed.slots
        self._idle_threads += freed.threads
        self._start_next()

    def passed(self, passed: Passed) -> None:
        """Hand a node, which has a slot, to a thread."""
        self._start(passed.held)

    def handed_over(self, handed_over: HandedOver) -> None:
        """Have the event loop go on with a node, which has a slot."""
        self._idle_threads += 1
        self._loop.call(self._begin, handed_over.held, handed_over.rest)

    def take_back(self, nodes: Iterable[Held] | None) -> list[Held]:
        """Return those of the nodes that have not been started, or all; they will not be."""
        line = self._line
        found: list[Held] = []
        # All are taken out, and the others put back: to look for some of them would be no single operation.
        with suppress(IndexError):  # slots take from it meanwhile
            while True:
                found.append(line.popleft())
        if nodes is None:
            return found
        asked = set(nodes)
        line.extend([held for held in found if held not in asked])
        self._start_next()  # a slot may have found the line empty just now
        return [held for held in found if held in asked]

    def tasks_of(self, nodes: Iterable[Held]) -> list[Held]:
        """Return those of the nodes that run on the event loop."""
        return [held for held in nodes if held in self._tasks]

    def cancel(self, held: Held) -> None:
        """Stop a node that runs on the event loop; a thread goes on. It must be dropped already."""
        if held in self._tasks:
            self._loop.call(self._cancel, held)

    def abandon(self, held: Held) -> None:
        """Give the slot of a node that runs in a thread to another thread. The node's own ends when the node does."""
        if self._running.pop(held, self) is self:
            return  # it has ended just now, and its thread has kept the slot
        self._threads -= 1
        self._free += 1
        self._start_next()

    def is_in_thread(self, held: Held) -> bool:
        """Tell whether a node runs in a thread of its own."""
        return held in self._running

    def goes_on(self, held: Held) -> bool:
        """Tell whether nothing holds a node up; an asynchronous one, that its event loop is not blocked for good."""
        return self.is_in_thread(held) or self._loop.answers(LOOP_BLOCKED_S)

    def close(self) -> None:
        """Let threads and loop end, once what runs has ended. Nothing may be added any more."""
        for _ in range(self._threads):
            self._starts.put(None)
        self._loop.close()

    def _start_next(self) -> None:
        while self._free:
            try:
                held = self._line.popleft()
            except IndexError:  # also where a slot has just taken the last one
                return
            self._free -= 1
            if self._executor.is_known_async(held):
                self._loop.call(self._advance, held)
            else:
                self._start(held)

    def _start(self, held: Held) -> None:
        """Hand a node, which has a slot, to a thread."""
        if self._idle_threads:
            self._idle_threads -= 1
        else:
            self._threads += 1
            # Functions block. Daemons: one that hangs must not keep a process that was told to stop.
            threading.Thread(target=self._work, name=f"dagorama-slot-{self._threads}", daemon=True).start()
        self._starts.put(held)

    # -- in a slot's thread, or on the event loop ----------------------------------------------------------------------

    def _begins(self, held: Held, grace_s: float = 0.0) -> None:
        if self._board is not None and held.place < 0:
            self._board.begins(held)
        if self._alarm is not None and (held.deadline is not None or held.function.at_most_once):
            self._alarm.watch(held, grace_s)

    def _next(self, ended: Held) -> Held | None:
        """Take the next node for a slot; where there is none, the caller has to say that the slot is free."""
        if self._alarm is not None and (ended.deadline is not None or ended.function.at_most_once):
            self._alarm.forget(ended)
        mailbox = self._mailbox
        mailbox.ended.append(ended)  # before the slot begins another: the kernel counts on that order
        if ended.report is None:
            mailbox.look()  # it was rejected, and others may not even have to be begun
        try:
            following = self._line.popleft()
        except IndexError:
            if self._board is not None:
                self._board.ends(ended)
            return None
        if self._board is not None:
            self._board.follows(following, ended)
        mailbox.look_soon()
        return following

    # -- in a slot's thread -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        running = self._running
        run = self._executor.run
        while (held := self._starts.get()) is not None:
            rest: Rest | None = None
            while held is not None:
                running[held] = None
                self._begins(held)
                rest = run(held)
                if running.pop(held, self) is self:
                    self._ends_abandoned(held)
                    return
                if rest is not None:
                    break
                held = self._next(held)
            item: Item = Freed(slots=1, threads=1) if held is None or rest is None else HandedOver(held, rest)
            # Nothing of the last node may live on while this thread waits.
            rest = held = None
            self._mailbox.post(item)
            del item

    def _ends_abandoned(self, held: Held) -> None:
        if self._alarm is not None:
            self._alarm.forget(held)
        if self._board is not None:
            self._board.ends(held)
        self._mailbox.ended.append(held)
        self._mailbox.look()

    # -- on the event loop --------------------------------------------------------------------------------------------

    def _advance(self, held: Held | None) -> None:
        """Begin a node whose function is asynchronous; when that fails at once, the slot's next one."""
        while held is not None:
            if not self._executor.is_known_async(held):
                self._mailbox.post(Passed(held))
                return
            self._begins(held, self._cancel_grace_s)
            rest = self._executor.run(held)
            if rest is not None:
                self._begin(held, rest)
                return
            held = self._next(held)
        self._mailbox.post(Freed(slots=1, threads=0))

    def _begin(self, held: Held, rest: Rest) -> None:
        self._begins(held, self._cancel_grace_s)
        self._tasks[held] = task = self._loop.start(rest, partial(self._ended, held))
        if held.dropped:  # since before it came here
            task.cancel()

    def _cancel(self, held: Held) -> None:
        task = self._tasks.get(held)
        if task is not None:
            task.cancel()

    def _ended(self, held: Held) -> None:
        del self._tasks[held]
        self._advance(self._next(held))
