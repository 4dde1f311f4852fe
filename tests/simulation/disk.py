"""The simulated storage: what was committed outlives every broker, and what was not is lost with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from random import Random
from typing import Any, TypeVar

from dagorama_broker.core import events as e
from dagorama_broker.storage.journal import StorageError
from dagorama_broker.storage.memory import MemoryJournal
from tests.simulation.machine import Machine
from tests.simulation.trace import Trace

T = TypeVar("T")

#: What a call takes, mostly: one in so many takes long.
_QUICK_S, _LONG_S = (0.0001, 0.0008), (0.005, 0.2)
_LONG_EVERY = 12
#: So long it takes until the event loop hears from the disk's thread.
_HEARS_S = 0.001


class Disk(MemoryJournal):
    """The journal of each broker in turn. A commit is there in a moment, and takes its time before."""

    blocking = True

    def __init__(self, rng: Random, trace: Trace, stored: Callable[[Sequence[e.DurableEvent]], None]) -> None:
        """Tell `stored` of every batch that is durable."""
        super().__init__()
        self._rng = rng
        self._trace = trace
        self._stored = stored
        self.fails_next = False  #: the next commit fails
        self.failures = 0
        self.spent_s = 0.0  #: in commits, by the clock of brokers

    def commit(self, events: Sequence[e.DurableEvent]) -> None:
        """Make a batch durable; where it fails, that may have been done all the same. Raises `StorageError`."""
        self.spent_s += self.draw_s()
        fails, self.fails_next = self.fails_next, False
        if fails and self._rng.random() < 0.5:
            self._fail("before")
        super().commit(events)
        for event in events:
            self._trace.note("disk", event)
        self._stored(events)
        if fails:
            self._fail("after")

    def _fail(self, when: str) -> None:
        self._trace.note("disk", f"fails {when} the commit")
        self.failures += 1
        raise StorageError("the simulated disk fails")

    def draw_s(self) -> float:
        """Return how long a call takes."""
        return self._rng.uniform(*(_QUICK_S if self._rng.randrange(_LONG_EVERY) else _LONG_S))


class DiskClock:
    """The clock of a broker, by which its disk takes time also on the event loop."""

    def __init__(self, machine: Machine, disk: Disk, epoch_at: float) -> None:
        self._machine = machine
        self._disk = disk
        self._epoch_at = epoch_at

    def now(self) -> float:
        """Return the time since the epoch."""
        return self._epoch_at + self._machine.time()

    def slept_s(self) -> float:
        """Return that the machine never sleeps."""
        return 0.0

    def counter(self) -> float:
        """Return the time with what the disk has taken."""
        return self._machine.time() + self._disk.spent_s


class DiskThread(Executor):
    """The thread of one broker in which its disk is used: one call after another, each taking its time."""

    def __init__(self, machine: Machine, disk: Disk) -> None:
        self._machine = machine
        self._disk = disk
        self._free_at = 0.0

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call a function when those before are through. It is lost with its process, as is its answer."""
        future: Future[T] = Future()
        self._free_at = max(self._free_at, self._machine.time()) + self._disk.draw_s()
        self._machine.call_at(self._free_at, self._run, future, function, args)
        return future

    def _run(self, future: Future[T], function: Callable[..., T], args: tuple[Any, ...]) -> None:
        future.set_running_or_notify_cancel()
        try:
            value = function(*args)
        except BaseException as error:
            self._machine.call_later(_HEARS_S, future.set_exception, error)
        else:
            self._machine.call_later(_HEARS_S, future.set_result, value)
