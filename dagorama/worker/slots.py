"""The slots: which node is started when, in which thread or on the event loop.

A slot is the right to run one node. Plain functions run in a thread, asynchronous ones as tasks on one event loop that
all share; both take a slot, so no more than `count` nodes are ever started at once. Whoever finishes a node takes the
next one itself, without waking anybody.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from queue import SimpleQueue

from dagorama.worker.held import Held

#: A node whose function is asynchronous: what is left to do, on the event loop.
Rest = Coroutine[object, object, None]


class Slots:
    """Runs nodes in the order in which they were added."""

    def __init__(
        self, count: int, run: Callable[[Held], Rest | None], *, is_known_async: Callable[[Held], bool]
    ) -> None:
        """`run` executes a node in the calling thread; for an asynchronous function it gives what is left instead.

        Where `is_known_async` tells beforehand that it will, no thread is troubled with the node.
        """
        self._run = run
        self._is_known_async = is_known_async
        self._lock = threading.Lock()
        self._pending: OrderedDict[bytes, Held] = OrderedDict()
        self._free = count
        self._idle_threads = 0
        self._threads = 0
        #: A node to start, or None for one thread to end.
        self._starts: SimpleQueue[Held | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, nodes: Iterable[Held]) -> None:
        """Starts nodes as slots are free; the others are pending."""
        starts: list[Held] = []
        with self._lock:
            pending = self._pending
            for held in nodes:
                pending[held.node_id] = held
            while self._free and pending:
                self._free -= 1
                starts.append(pending.popitem(last=False)[1])
        for held in starts:
            self._start(held)

    def take_back(self, node_ids: Iterable[bytes]) -> list[Held]:
        """Returns those of the nodes that have not been started. They will not be."""
        with self._lock:
            return [held for node_id in node_ids if (held := self._pending.pop(node_id, None)) is not None]

    def take_back_all(self) -> list[Held]:
        """Returns all nodes that have not been started. They will not be."""
        with self._lock:
            held = list(self._pending.values())
            self._pending.clear()
            return held

    def close(self) -> None:
        """Lets threads and loop end, once what runs has ended. Nothing may be added any more."""
        with self._lock:
            for _ in range(self._threads):
                self._starts.put(None)
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)

    def _start(self, held: Held) -> None:
        """Hands a node, which has a slot, to the event loop or a thread."""
        if self._loop is not None and self._is_known_async(held):
            self._loop.call_soon_threadsafe(self._advance, held)
            return
        with self._lock:
            if self._idle_threads:
                self._idle_threads -= 1
            else:
                self._threads += 1
                # Daemons: a function that hangs must not keep a process that was told to stop.
                threading.Thread(target=self._work, name=f"dagorama-slot-{self._threads}", daemon=True).start()
        self._starts.put(held)

    def _next(self, *, idle_threads: int) -> Held | None:
        """Takes the next node for a slot; where there is none it frees the slot, and so many threads are idle."""
        with self._lock:
            if self._pending:
                return self._pending.popitem(last=False)[1]
            self._free += 1
            self._idle_threads += idle_threads
            return None

    # -- in a slot's thread -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (held := self._starts.get()) is not None:
            while held is not None:
                rest = self._run(held)
                if rest is not None:
                    self._hand_over(rest)
                    break
                held = self._next(idle_threads=1)
            # Nothing of the last node may live on while this thread waits.
            rest = held = None

    def _hand_over(self, rest: Rest) -> None:
        """Passes this thread's slot on to the event loop."""
        with self._lock:
            self._idle_threads += 1
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._run_loop, args=(self._loop,), name="dagorama-loop", daemon=True).start()
        self._loop.call_soon_threadsafe(self._begin, rest)

    # -- on the event loop --------------------------------------------------------------------------------------------

    @staticmethod
    def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    def _advance(self, held: Held | None) -> None:
        """Begins a node whose function is asynchronous; when that fails at once, the slot's next one."""
        while held is not None:
            if not self._is_known_async(held):
                self._start(held)
                return
            rest = self._run(held)
            if rest is not None:
                self._begin(rest)
                return
            held = self._next(idle_threads=0)

    def _begin(self, rest: Rest) -> None:
        assert self._loop is not None
        task = self._loop.create_task(rest)
        self._tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._advance(self._next(idle_threads=0))
