"""The place where all that happens in a worker process comes together, so one thread at a time decides what follows.

No thread waits here for another, and none has to be woken: a thread that brings a message takes it in, and all others
that there are, unless another thread is at it already, which then does so (flat combining: Hendler, Incze, Shavit and
Tzafrir, SPAA 2010). Most nodes are not even worth that. Their ends lie here until the thread that sends, which is woken
once for all of them, or any other that comes by takes them in.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from dagorama.worker.kernel.messages import Ended, Message, Progressed
from dagorama.worker.shell.held import Held
from dagorama.worker.shell.node_loop import Rest


@dataclass(slots=True)
class Freed:
    """Slots, and threads for them, have nothing to do."""

    slots: int
    threads: int


@dataclass(slots=True)
class Passed:
    """A slot of the event loop goes to a thread: as far as one knows, this node of it is no asynchronous one."""

    held: Held


@dataclass(slots=True)
class HandedOver:
    """A slot of a thread goes to the event loop, with this node of it, whose function is asynchronous."""

    held: Held
    rest: Rest


@dataclass(slots=True)
class StreamChanged:
    """Another stream, or none, is there from now on. The shell says which."""


Item = Message | Freed | Passed | HandedOver | StreamChanged


class Mailbox:
    """Takes messages from any thread, and gives them to `handle`, one by one, in the order in which they came."""

    def __init__(self, handle: Callable[[Item], None]) -> None:
        """Give messages to `handle`, which must not raise: their bringers have nothing to do with each other."""
        self._handle = handle
        self._messages: deque[Item] = deque()
        #: Held by the thread that is at work. Nobody ever waits for it.
        self._at_work = threading.Lock()
        #: Nodes whose attempts have ended. Their slots put them here; see `look` and `look_soon`.
        self.ended: deque[Held] = deque()
        self._progressed: dict[int, None] = {}
        self._is_nudged = False
        #: Progress will be told soon, and it is looked then: nobody need be woken for more of it.
        self.will_tell = False
        #: Wakes a thread that calls `look`; None while there is none.
        self.wake: Callable[[], None] | None = None

    def post(self, *messages: Item) -> None:
        """Leave messages, and see to it that they are taken in."""
        self._messages.extend(messages)  # atomic by itself, and before the look: so no message is left behind
        self.look()

    def look(self) -> None:
        """Take in what there is, unless another thread is at it."""
        # Who comes while another is about to leave finds the lock taken: so the other looks once more afterwards.
        while (self._messages or self.ended or self._progressed) and self._at_work.acquire(blocking=False):
            try:
                self._take_in()
            finally:
                self._at_work.release()

    def look_soon(self) -> None:
        """Have somebody take in what there is."""
        # Two threads that come at once may both wake it, which does no harm; a lock for each node would.
        if not self._is_nudged:
            self._is_nudged = True
            wake = self.wake
            if wake is not None:
                wake()

    def progressed(self, token: int) -> None:
        """Note that the node with this token has got further. In the midst of a function of the user's."""
        self._progressed[token] = None
        if not self.will_tell:
            self.look_soon()

    def _take_in(self) -> None:
        while True:
            self._is_nudged = False  # before it is looked: who comes after that wakes somebody again
            has_any = False
            # Ends come first: a message such as a recall is about nodes as they are now.
            if self.ended:
                has_any = True
                self._handle(Ended([self.ended.popleft() for _ in range(len(self.ended))]))
            if self._progressed:
                has_any = True
                self._handle(Progressed([self._progressed.popitem()[0] for _ in range(len(self._progressed))]))
            if self._messages:
                has_any = True
                self._handle(self._messages.popleft())
            if not has_any:
                return
