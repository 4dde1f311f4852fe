"""A worker as a process of the simulation: the real kernel, shell, slots, executor, border and messages, and no thread.

What threads do otherwise is done by callbacks: a function runs in a moment, and its end is told after a while.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from random import Random
from typing import Any

from dagorama.code.policy import CodeMismatch
from dagorama.v1.work_pb2 import Hello, WorkRequest, WorkResponse
from dagorama.worker.kernel import messages as m
from dagorama.worker.kernel.instructions import Instruction
from dagorama.worker.kernel.invariants import check_invariants
from dagorama.worker.options import WorkerOptions
from dagorama.worker.shell.border import Border
from dagorama.worker.shell.connecting import BACKOFF_MAX_S, BACKOFF_MIN_S
from dagorama.worker.shell.execution import Executor
from dagorama.worker.shell.held import Held, Report
from dagorama.worker.shell.log import Log
from dagorama.worker.shell.mailbox import Freed, HandedOver, Mailbox
from dagorama.worker.shell.node_loop import NodeLoop, NodeTask, Rest
from dagorama.worker.shell.shell import Shell
from dagorama.worker.shell.slots import Slots
from dagorama.worker.shell.stream import Signal, Stream
from dagorama.worker.shell.versions import VersionCheck
from tests.simulation.machine import Machine, Process
from tests.simulation.network import Broken, End, Ended, Network
from tests.simulation.trace import Trace

#: What a function takes; one in so many takes long.
_SHORT_S, _LONG_S = (0.001, 0.3), (0.5, 3.0)
_LONG_EVERY = 10


class SimulatedLoop(NodeLoop):
    """The event loop of asynchronous nodes: the machine's."""

    def __init__(self, machine: Machine, process: Process) -> None:
        super().__init__("")
        self._loop: AbstractEventLoop | None = machine
        self._process = process

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function soon."""
        assert self._loop is not None
        self._loop.call_soon(function, *args, context=self._process.context())

    def start(self, rest: Rest, ended: Callable[[], object]) -> NodeTask:
        """Begin what is left of a node."""
        self._process.enter(rest.context)
        return super().start(rest, ended)

    def answers(self, within_s: float) -> bool:
        """Tell that nothing blocks it."""
        return True

    def close(self, wait_s: float = 0.0) -> None:
        """Do nothing: what runs on it ends with its process."""


class SimulatedSlots(Slots):
    """Slots whose threads are callbacks."""

    def __init__(
        self,
        count: int,
        executor: Executor,
        mailbox: Mailbox,
        *,
        process: Process,
        machine: Machine,
        rng: Random,
        began: Callable[[Held], None],
        **others: Any,
    ) -> None:
        """Tell `began` of each node that begins."""
        super().__init__(count, executor, mailbox, **others)
        self._loop = SimulatedLoop(machine, process)
        self._machine = machine
        self._rng = rng
        self._began = began

    def _start(self, held: Held) -> None:
        self._machine.call_soon(self._begin_in_thread, held)

    def _begins(self, held: Held, grace_s: float = 0.0) -> None:
        self._began(held)
        super()._begins(held, grace_s)

    def _begin_in_thread(self, held: Held) -> None:
        """Do what the thread of a slot does, up to the end of the function."""
        self._running[held] = None
        self._begins(held)
        rest = self._executor.run(held)
        if rest is not None:
            del self._running[held]
            self._mailbox.post(HandedOver(held, rest))
            return
        took_s = self._rng.uniform(*(_SHORT_S if self._rng.randrange(_LONG_EVERY) else _LONG_S))
        report, held.report = held.report, None
        if report is not None:
            ended_at = self._machine.time() + took_s
            report = report._replace(duration_us=int(took_s * 1e6), ended_at=ended_at)
        self._machine.call_later(took_s, self._end_in_thread, held, report)

    def _end_in_thread(self, held: Held, report: Report | None) -> None:
        """Do the rest."""
        held.report = report
        if self._running.pop(held, self) is self:
            self._ends_abandoned(held)
            return
        following = self._next(held)
        if following is not None:
            self._begin_in_thread(following)
        else:
            self._mailbox.post(Freed(slots=1, threads=0))

    def _ended(self, held: Held) -> None:
        if held.report is not None:  # by the clock of this machine it took nothing
            held.report = held.report._replace(duration_us=1000, ended_at=self._machine.time())
        super()._ended(held)


class SimulatedLog(Log):
    """A log without a thread."""

    def __init__(self, trace: Trace, name: str) -> None:
        super().__init__()
        self._trace = trace
        self._name = name

    def warn(self, text: str, *args: object) -> None:
        """Note a line."""
        self._trace.note(self._name, text % args)


class Ending:
    """The worker that a shell belongs to, which ends in no other way than the simulation's."""

    def leave(self, exit_status: int) -> None:
        """Fail: there is no alarm."""
        raise AssertionError(exit_status)

    def give_up(self, waited_s: float) -> None:
        """Fail: it waits for ever."""
        raise AssertionError(waited_s)


class SimulatedStream(Stream):
    """A stream whose thread that sends is a task."""

    def __init__(self, end: End, hello: Hello, mailbox: Mailbox, machine: Machine) -> None:
        """Send the hello; `send_all` sends the rest."""
        self._prepare(hello, mailbox, machine.time)
        self._end = end
        self._news = asyncio.Event()

    def send(self, item: Any) -> None:
        """Send something after what was there before."""
        super().send(item)
        self._news.set()

    def look(self) -> None:
        """Have the mailbox looked into."""
        super().look()
        self._news.set()

    def tell_progress(self, nodes: Any) -> None:
        """Send progress soon."""
        super().tell_progress(nodes)
        self._news.set()

    def cancel(self) -> None:
        """End the stream at once."""
        self._end.hear_of_break()
        self._end.other.hear_of_break()

    async def send_all(self) -> None:
        """Send what there is, request after request."""
        await self._write(WorkRequest(hello=self._hello))
        while self._reports or not self._is_last:
            if self._has_something():
                await self._write(self._next_request())
                continue
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(None if self._due_at() == inf else self._due_at()):
                    await self._news.wait()
        self._end.finish()

    def _has_something(self) -> bool:
        """Look into the mailbox where that is asked for; tell whether the next request would not have to wait."""
        kept: list[Any] = []
        while not self._outbox.empty():
            item = self._outbox.get()
            if item is Signal.LOOK:
                self._mailbox.look()
            elif item is not Signal.PROGRESS:
                kept.append(item)
        for item in kept:
            self._outbox.put(item)
        return bool(kept or self._reports or self._now() >= self._due_at())

    def _due_at(self) -> float:
        """Tell when there is something to send by itself."""
        heartbeat_at = self._sent_at + self._heartbeat_s
        return min(heartbeat_at, self._progress_at) if self._progressed else heartbeat_at

    async def _write(self, request: WorkRequest) -> None:
        self._sent_at = self._now()
        await self._end.write(request.SerializeToString(deterministic=True))


class Worker(Process):
    """One worker from its start to its end."""

    def __init__(
        self,
        number: int,
        *,
        machine: Machine,
        network: Network,
        rng: Random,
        trace: Trace,
        concurrency: int,
        began: Callable[[str, Held], None],
        acknowledged: Callable[[Held], None],
    ) -> None:
        """Tell `began` of each node that begins, and `acknowledged` of each report that the broker has."""
        super().__init__(f"worker{number}")
        self._machine = machine
        self._network = network
        self._rng = rng
        self._trace = trace
        self._acknowledged = acknowledged
        options = WorkerOptions(concurrency=concurrency, log_failures=False)
        versions = VersionCheck(CodeMismatch.WAIT)
        self._shell = Shell(
            options,
            versions=versions,
            alarm=None,
            board=None,
            worker=Ending(),
            log=SimulatedLog(trace, self.name),
            now=machine.time,
            call_later=self._call_later,
            slots=partial(SimulatedSlots, process=self, machine=machine, rng=rng, began=partial(began, self.name)),
        )
        self._border = Border(options, versions=versions, shell=self._shell, now=machine.time, name=self.name)
        self._watch()

    def drain(self) -> None:
        """End when what runs is reported. In this process."""
        self._shell.drain()

    async def main(self) -> None:
        """Keep a stream open until the worker is over, as `dagorama.worker.shell.connecting.Connector` does."""
        bound_s = BACKOFF_MIN_S
        while not self._shell.is_over:
            try:
                end = await self._network.call("Work")
            except Broken:
                was_welcome = False
            else:
                was_welcome = await self._serve(end)
            if self._shell.is_over:
                break
            if was_welcome:
                bound_s = BACKOFF_MIN_S
            await asyncio.sleep(self._rng.uniform(0, bound_s))
            bound_s = min(2 * bound_s, BACKOFF_MAX_S)
        self._shell.close()
        assert self._shell.error is None, self._shell.error

    async def _serve(self, end: End) -> bool:
        stream = SimulatedStream(end, self._border.hello(), self._shell._mailbox, self._machine)
        self._shell.connected(stream)
        sending = asyncio.create_task(stream.send_all())
        try:
            while (message := await end.read()) is not None:
                self._border.receive(stream, WorkResponse.FromString(message))
        except (Broken, Ended):
            pass
        finally:
            self._shell.disconnected()
            sending.cancel()
            with suppress(asyncio.CancelledError, Broken):
                await sending
        return stream.was_welcome

    def _call_later(self, delay_s: float, function: Callable[[], None]) -> asyncio.TimerHandle:
        return self._machine.call_later(delay_s, function, context=self.context())

    def _watch(self) -> None:
        """Have each message of the kernel noted with the instructions that follow, and the kernel checked."""
        kernel = self._shell._kernel
        handle = kernel.handle

        def handle_and_check(message: m.Message, now: float) -> list[Instruction]:
            self._trace.note(self.name, message)
            if isinstance(message, m.Acknowledged):
                for held in message.nodes:
                    assert isinstance(held, Held)
                    self._acknowledged(held)
            instructions = handle(message, now)
            for instruction in instructions:
                self._trace.note(self.name, instruction)
            if not any(type(instruction).__name__ == "TakeBack" for instruction in instructions):
                check_invariants(kernel)  # else the answer comes first
            return instructions

        kernel.handle = handle_and_check  # type: ignore[method-assign]
