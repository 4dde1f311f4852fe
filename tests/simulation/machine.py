"""The stepping machine: an event loop in one thread whose time is a number, and several processes that live on it.

Such loops are known from CPython's own tests (`test.test_asyncio.utils.TestLoop`), and simulations of whole systems on
them from FoundationDB (Zhou et al., SIGMOD 2021). Nothing here waits: when no process has anything to do, time jumps to
the next timer. Which of several processes goes on is drawn from the seed; each does its own things in order.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

#: How long it takes a thread to do what is handed to it, at most.
_HAND_OVER_MAX_S = 0.01


class Process:
    """A process of the simulation: all tasks and callbacks in whose context it stands."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stands_still = False  #: it is stopped for a while, or dead
        self.is_dead = False
        self.ready: deque[asyncio.Handle] = deque()
        self._context = Context()
        self._context.run(_current.set, self)

    def context(self) -> Context:
        """Return a context in which this is the current process."""
        return self._context.copy()

    def enter(self, context: Context) -> None:
        """Make this the process of a context that knows none."""
        context.run(_current.set, self)


#: What is of no process is the world's: the network and the faults.
_current: ContextVar[Process | None] = ContextVar("simulated_process", default=None)


def _process_in(context: Context) -> Process | None:
    return context.get(_current, None)


def current_process() -> Process:
    """Return the process that this runs in."""
    process = _current.get()
    assert process is not None, "this is the world"
    return process


class NothingLeft(Exception):
    """Nothing can happen any more, and the end is not reached."""


class Machine(asyncio.BaseEventLoop):
    """Runs processes, a callback at a time."""

    def __init__(self, rng: Random, *, began_at: float) -> None:
        super().__init__()
        self._rng = rng
        self._now = began_at
        self.world = Process("world")
        self._processes: list[Process] = []
        #: All that there ever were: nobody else may know those of a dead process.
        self._tasks: list[asyncio.Task[Any]] = []
        self._is_ending = False
        #: Those that have something to do, in the order in which they got it.
        self._busy: dict[Process, None] = {}
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Process]] = []
        self._numbers = count()
        self.steps = 0
        self.errors: list[BaseException] = []  #: that nobody has caught
        self.set_exception_handler(self._note)

    # -- the processes -------------------------------------------------------------------------------------------------

    def begin(self, process: Process, main: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let a process begin with a coroutine."""
        self._processes.append(process)
        return self.create_task(main, context=process.context())

    def kill(self, process: Process) -> None:
        """Have a process do nothing any more, from one callback to the next, as SIGKILL does."""
        process.stands_still = process.is_dead = True

    def step(self) -> None:
        """Call what is next. Raises `NothingLeft`."""
        while True:
            able = [process for process in self._busy if not process.stands_still]
            if not able:
                self._jump()
                continue
            process = able[self._rng.randrange(len(able))] if len(able) > 1 else able[0]
            handle = process.ready.popleft()
            if not process.ready:
                del self._busy[process]
            if not handle.cancelled():
                self.steps += 1
                handle._run()
                return

    def _jump(self) -> None:
        """Let it be the time of the next timer."""
        while self._timers:
            at, _, timer, process = heappop(self._timers)
            if not timer.cancelled() and not process.is_dead:
                self._now = max(self._now, at)
                self._put(process, timer)
                return
        raise NothingLeft

    def run_steps(self, step: Callable[[], bool]) -> None:
        """Call `step`, which is to call ours, until it returns False. Raises what no task has caught."""
        events._set_running_loop(self)
        try:
            while step():
                if self.errors:
                    raise self.errors[0]
        finally:
            events._set_running_loop(None)

    def end(self) -> None:
        """Have all tasks end, of dead processes too, and close."""
        tasks, self._is_ending = self._tasks, True
        for process in self._processes:
            process.stands_still = process.is_dead = False
        for task in tasks:
            task.cancel()

        def step() -> bool:
            self.errors.clear()  # of those that were cut off
            if all(task.done() for task in tasks):
                return False
            self.step()
            return True

        self.run_steps(step)
        self.close()

    # -- what asyncio asks of a loop -----------------------------------------------------------------------------------

    def time(self) -> float:
        """Return the time."""
        return self._now

    def call_soon(  # type: ignore[override]  # asyncio's types of these tie arguments to the callback's
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Have something called by the process whose context it is."""
        context = copy_context() if context is None else context
        handle = asyncio.Handle(callback, args, self, context)
        self._put(_process_in(context) or self.world, handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Do as `call_soon`: there is one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Have something called after a while."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Have something called at a time."""
        context = copy_context() if context is None else context
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._numbers), timer, _process_in(context) or self.world))
        return timer

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Make a task."""
        task = super().create_task(coro, **options)
        self._tasks.append(task)
        if self._is_ending:
            task.cancel()
        return task

    def run_in_executor(  # type: ignore[override]  # nobody waits for it in another way
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call a function that may take long after a while."""
        answered: asyncio.Future[Any] = self.create_future()

        def call() -> None:
            try:
                value = func(*args)
            except BaseException as error:
                answered.set_exception(error)
            else:
                answered.set_result(value)

        self.call_later(self._rng.uniform(0.0, _HAND_OVER_MAX_S), call)
        return answered

    def _put(self, process: Process, handle: asyncio.Handle) -> None:
        process.ready.append(handle)
        self._busy[process] = None

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.errors.append(error if error is not None else RuntimeError(context["message"]))
