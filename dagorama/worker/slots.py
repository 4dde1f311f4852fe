"""The slots: which node is started when, in which thread or on the event loop.

A slot is the right to run one node. Plain functions run in a thread, asynchronous ones as tasks on one event loop that
all share; both take a slot, so no more than `count` nodes are ever started at once. Whoever finishes a node takes the
next one itself, without waking anybody.

A task can be stopped where it waits; a thread cannot. It can lose its slot to another, and ends when its node does.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue

from dagorama.worker.alarm import Alarm
from dagorama.worker.board import Board
from dagorama.worker.held import Held
from dagorama.worker.node_loop import NodeLoop, NodeTask, Rest

#: An event loop that has not gone on for so long, while one of its nodes runs on after its time, is given up.
LOOP_BLOCKED_S = 10.0


class _Abandoned(Exception):
    """The thread has lost its slot."""


class Slots:
    """Runs nodes in the order in which they were added."""

    def __init__(
        self,
        count: int,
        run: Callable[[Held], Rest | None],
        *,
        is_known_async: Callable[[Held], bool],
        stopped: Callable[[Held], None],
        alarm: Alarm | None = None,
        board: Board | None = None,
        cancel_grace_s: float = 0.0,
    ) -> None:
        """`run` executes a node in the calling thread; for an asynchronous function it gives what is left instead.

        Where `is_known_async` tells beforehand that it will, no thread is troubled with the node. `stopped` is called
        with each node that was revoked while it ran, as soon as it takes no slot any more. With `alarm` this process
        ends if a node goes on after its deadline; a task that was stopped then gets `cancel_grace_s` to end. `board`
        is told what runs.
        """
        self._run = run
        self._is_known_async = is_known_async
        self._stopped = stopped
        self._alarm = alarm
        self._board = board
        self._cancel_grace_s = cancel_grace_s
        self._lock = threading.Lock()
        self._pending: OrderedDict[int, Held] = OrderedDict()  #: by fencing token
        self._free = count
        self._idle_threads = 0
        self._threads = 0
        #: A node to start, or None for one thread to end.
        self._starts: SimpleQueue[Held | None] = SimpleQueue()
        self._loop = NodeLoop("dagorama-loop")
        self._tasks: dict[Held, NodeTask] = {}

    def add(self, nodes: Iterable[Held]) -> None:
        """Starts nodes as slots are free; the others are pending."""
        starts: list[Held] = []
        with self._lock:
            pending = self._pending
            for held in nodes:
                pending[held.token] = held
            while self._free and pending:
                self._free -= 1
                starts.append(pending.popitem(last=False)[1])
        for held in starts:
            self._start(held)

    def take_back(self, tokens: Iterable[int]) -> list[Held]:
        """Returns those of the nodes that have not been started. They will not be."""
        with self._lock:
            return [held for token in tokens if (held := self._pending.pop(token, None)) is not None]

    def take_back_all(self) -> list[Held]:
        """Returns all nodes that have not been started. They will not be."""
        with self._lock:
            held = list(self._pending.values())
            self._pending.clear()
            return held

    def cancel(self, held: Held) -> None:
        """Stops a node that runs on the event loop; what runs in a thread goes on. It must be `dropped` already."""
        if held in self._tasks:
            self._loop.call(self._cancel, held)

    def is_in_thread(self, held: Held) -> bool:
        """Tells whether a node runs in a thread of its own."""
        return held.running and held not in self._tasks

    def goes_on(self, held: Held) -> bool:
        """Tells whether nothing holds a node up; an asynchronous one, that its event loop is not blocked for good."""
        return self.is_in_thread(held) or self._loop.answers(LOOP_BLOCKED_S)

    def abandon(self, held: Held) -> None:
        """Gives the slot of a node that runs in a thread to another thread. The node's own ends when the node does."""
        with self._lock:
            if not held.running or held.abandoned:
                return
            held.abandoned = True
            self._threads -= 1
            self._free += 1
        self._stopped(held)
        self.add([])

    def close(self) -> None:
        """Lets threads and loop end, once what runs has ended. Nothing may be added any more."""
        with self._lock:
            for _ in range(self._threads):
                self._starts.put(None)
        self._loop.close()

    def _start(self, held: Held) -> None:
        """Hands a node, which has a slot, to the event loop or a thread."""
        if self._is_known_async(held):
            self._loop.call(self._advance, held)
            return
        with self._lock:
            if self._idle_threads:
                self._idle_threads -= 1
            else:
                self._threads += 1
                # Daemons: a function that hangs must not keep a process that was told to stop.
                threading.Thread(target=self._work, name=f"dagorama-slot-{self._threads}", daemon=True).start()
        self._starts.put(held)

    def _begins(self, held: Held, grace_s: float = 0.0) -> None:
        held.running = True
        if self._board is not None and held.place < 0:
            self._board.begins(held)
        if self._alarm is not None and (held.deadline is not None or held.function.at_most_once):
            self._alarm.watch(held, grace_s)

    def _next(self, ended: Held, *, idle_threads: int) -> Held | None:
        """Takes the next node for a slot; where there is none it frees the slot, and so many threads are idle.

        Raises `_Abandoned` in a thread that has lost its slot while the node that has `ended` ran.
        """
        if self._alarm is not None and (ended.deadline is not None or ended.function.at_most_once):
            self._alarm.forget(ended)
        ended.running = False
        if ended.revoked:
            self._stopped(ended)
        board = self._board
        with self._lock:
            if self._pending and not ended.abandoned:
                following = self._pending.popitem(last=False)[1]
                if board is not None:
                    board.follows(following, ended)
                return following
            if board is not None:
                board.ends(ended)
            if ended.abandoned:
                raise _Abandoned
            self._free += 1
            self._idle_threads += idle_threads
            return None

    # -- in a slot's thread -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        with suppress(_Abandoned):
            while (held := self._starts.get()) is not None:
                while held is not None:
                    self._begins(held)
                    rest = self._run(held)
                    if rest is not None:
                        self._hand_over(held, rest)
                        break
                    held = self._next(held, idle_threads=1)
                # Nothing of the last node may live on while this thread waits.
                rest = held = None

    def _hand_over(self, held: Held, rest: Rest) -> None:
        """Passes this thread's slot on to the event loop."""
        with self._lock:
            self._idle_threads += 1
        self._loop.call(self._begin, held, rest)

    # -- on the event loop --------------------------------------------------------------------------------------------

    def _advance(self, held: Held | None) -> None:
        """Begins a node whose function is asynchronous; when that fails at once, the slot's next one."""
        while held is not None:
            if not self._is_known_async(held):
                self._start(held)
                return
            self._begins(held, self._cancel_grace_s)
            rest = self._run(held)
            if rest is not None:
                self._begin(held, rest)
                return
            held = self._next(held, idle_threads=0)

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
        self._advance(self._next(held, idle_threads=0))
