"""The kernel's shell: tells it what happens, and carries out what it wants done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Protocol, assert_never, cast
from uuid import UUID

from dagorama.calls.capture import Logs
from dagorama.calls.large import ValueStore
from dagorama.v1.work_pb2 import Hello, Lease, Rejection
from dagorama.worker.kernel import instructions as i
from dagorama.worker.kernel import messages as m
from dagorama.worker.kernel.kernel import Kernel
from dagorama.worker.kernel.node import Node
from dagorama.worker.kernel.states import GIVEN
from dagorama.worker.options import WorkerOptions, cancel_grace_s
from dagorama.worker.shell.alarm import Alarm
from dagorama.worker.shell.announcer import Announcer
from dagorama.worker.shell.board import Board
from dagorama.worker.shell.execution import Executor
from dagorama.worker.shell.failure_log import FailureLog
from dagorama.worker.shell.held import Held
from dagorama.worker.shell.log import Log
from dagorama.worker.shell.mailbox import Freed, HandedOver, Item, Mailbox, Passed, StreamChanged
from dagorama.worker.shell.slots import Slots
from dagorama.worker.shell.stopping import EXIT_CANCELLED, EXIT_OVERRUN
from dagorama.worker.shell.stream import Signal, Stream, ToSend
from dagorama.worker.shell.tally import Tally
from dagorama.worker.shell.versions import VersionCheck

if TYPE_CHECKING:
    from dagorama.tracing.spans import AttemptSpans

#: So long it may take a worker that ends to write the last lines of its log.
LOG_S = 1.0


@dataclass(slots=True)
class Opened(StreamChanged):
    """This is the stream from now on, and its hello is sent."""

    stream: Stream


@dataclass(slots=True)
class Closed(StreamChanged):
    """The stream is none any more."""


class Ending(Protocol):
    """The worker that a shell belongs to, as far as the shell has it end."""

    def leave(self, exit_status: int) -> None:
        """End the process with this status, in good order. It may take a while, and has a thread of its own."""
        ...

    def give_up(self, waited_s: float) -> None:
        """End without having found a broker. It must not block."""
        ...


class Timer(Protocol):
    """Something that is to happen later."""

    def cancel(self) -> object:
        """Have it not happen, if that is not too late."""
        ...


CallLater = Callable[[float, Callable[[], None]], Timer]
MakeSlots = Callable[..., Slots]


class Shell:
    """All that a worker consists of beside its connection. Any thread may call the public methods."""

    def __init__(
        self,
        options: WorkerOptions,
        *,
        versions: VersionCheck,
        alarm: Alarm | None,
        board: Board | None,
        worker: Ending,
        now: Callable[[], float] = monotonic,
        call_later: CallLater | None = None,
        slots: MakeSlots = Slots,
        log: Log | None = None,
        logs: Logs | None = None,
        spans: AttemptSpans | None = None,
        store: ValueStore | None = None,
    ) -> None:
        """Have `worker` leave where a node can't be stopped otherwise; without `alarm` such a node goes on.

        `logs` take what nodes print, `spans` tell of attempts, and `store` has large values. The four before are what
        the shell has of the machine: its clock, its timers, slots and a log with their threads.
        """
        self._now = now
        self._call_later = call_later or _after
        self._mailbox = Mailbox(self._take_in)
        #: What ends the worker, once it is reported: the first that a node raised, or an error of the worker's own.
        self.error: BaseException | None = None
        self.is_told_to_end = False  #: somebody has asked the broker for its end
        self._keeps_errors = not options.catch_exceptions
        self._imports = options.imports
        self._versions = versions
        self.log = log or Log()
        # An owner who gets the exception itself need not read of it.
        self._failures = FailureLog(self.log) if options.log_failures and options.catch_exceptions else None
        executor = Executor(
            versions=versions,
            progressed=self._mailbox.progressed,
            keeps_errors=self._keeps_errors,
            only_modules=options.imports,
            logs=logs,
            spans=spans,
            store=store,
        )
        grace_s = cancel_grace_s()
        self._kernel = Kernel(
            cancel_grace_s=grace_s, may_leave=alarm is not None, connect_timeout_s=options.connect_timeout_s
        )
        self._slots = slots(
            options.concurrency, executor, self._mailbox, alarm=alarm, board=board, cancel_grace_s=grace_s
        )
        self._worker = worker
        #: Counts what ends, where somebody wants to know.
        self.tally = Tally() if options.metrics else None
        self._stream: Stream | None = None
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._has_failed = False

    # -- for the worker, and for the connector ------------------------------------------------------------------------

    def connected(self, stream: Stream) -> None:
        """Report on this stream from its welcome on."""
        self._mailbox.post(Opened(stream))

    def disconnected(self) -> None:
        """Start nothing, and keep reports, until there is another stream."""
        self._mailbox.post(Closed())

    def open_stream(self, *, host: str, port: int, hello: Hello) -> Stream:
        """Make a stream whose sending thread looks into the mailbox."""
        announcer = Announcer(self._imports, self._versions.taken)
        return Stream(host=host, port=port, hello=hello, mailbox=self._mailbox, announcer=announcer)

    def post(self, *messages: m.Message) -> None:
        """Tell the kernel."""
        self._mailbox.post(*messages)

    def drain(self) -> None:
        """Hand back what has not been started, also what comes yet, and end the stream when the rest is reported."""
        self._mailbox.post(m.Drain())

    def end_on_request(self) -> None:
        """Drain, because somebody has asked the broker for it."""
        self.is_told_to_end = True
        self.drain()

    def end_with(self, error: BaseException) -> None:
        """Drain; the caller of `Worker.wait` gets the first such error."""
        self.error = self.error or error
        self.drain()

    def end_stream(self) -> None:
        """End the stream that is open, once what was sent is out."""
        stream = self._stream
        if stream is not None:
            stream.send(Signal.END)

    def beside(self, function: Callable[[], None]) -> None:
        """Call a function that may take long, beside all else: by the timer, in a thread of its own."""
        self._call_later(0.0, function)

    def close(self) -> None:
        """Let the slots end. Nothing may be received any more."""
        self._slots.close()
        timer = self._timer
        if timer is not None:
            timer.cancel()
        if self._failures is not None:
            self._failures.flush()
        self.log.close(LOG_S)

    @property
    def is_over(self) -> bool:
        """Tell whether nothing is left to report and nothing comes any more, or the worker itself has failed."""
        return self._has_failed or self._kernel.is_drained

    def unreported(self) -> list[Held] | None:
        """Return what a worker that drains and has nothing left to run has not brought out; else None."""
        held = self.held()
        return None if not self._kernel.is_draining or any(one.report is None for one in held) else held

    def not_to_be_cut_off(self) -> Held | None:
        """Return a node that must not lose its worker now: it would fail, as it may run only once.

        None where there is none, or none that goes on: a blocked event loop, say, stays blocked.
        """
        once = [held for held in self.held() if held.function.at_most_once]
        return next((held for held in once if held.report is not None or self._slots.goes_on(held)), None)

    def held(self) -> list[Held]:
        """Return the nodes whose leases the broker counts on."""
        return cast("list[Held]", list(self._kernel.held.values()))  # at once, whichever thread is at work on them

    def running(self) -> int:
        """Return how many nodes run."""
        return self._slots.running

    def loop_lag_s(self, within_s: float) -> float | None:
        """Return how late the event loop of asynchronous nodes is, no more than that; None where there is none."""
        return self._slots.loop_lag_s(within_s)

    # -- by one thread at a time ---------------------------------------------------------------------------------------

    def _take_in(self, item: Item) -> None:
        try:
            self._handle(item)
        except BaseException as error:
            # What it knows of its nodes may be wrong now, and who brought this cannot help it.
            self.error = self.error or error
            self._has_failed = True
            if self._stream is not None:
                self._stream.cancel()

    def _handle(self, item: Item) -> None:
        match item:  # the most frequent come first
            case m.Ended():
                if self.tally is not None:
                    self.tally.ended(cast("Sequence[Held]", item.nodes))
                self._note_failures(cast("Sequence[Held]", item.nodes))
                self._tell(item)
            case m.Granted() | m.Acknowledged():
                self._tell(item)
            case Freed():
                self._slots.freed(item)
            case Passed():
                self._slots.passed(item)
            case HandedOver():
                self._slots.handed_over(item)
            case Opened():
                self._stream, self._mailbox.wake = item.stream, item.stream.look
                self._mailbox.will_tell = False
                if self.tally is not None:
                    self.tally.streams += 1
                self._tell(m.Connected())
                if self._has_failed:
                    item.stream.cancel()
            case Closed():
                self._tell(m.Disconnected())
                self._stream = self._mailbox.wake = None
            case m.Tick():
                self._timer = None
                if self._failures is not None and (self._failures.due_at or inf) <= self._now():
                    self._failures.flush()
                self._tell(item)
            case StreamChanged():
                raise TypeError(f"{item!r} is neither Opened nor Closed")
            case _:
                self._tell(item)

    def _tell(self, message: m.Message) -> None:
        """Tell the kernel, and do what it says."""
        kernel, failures = self._kernel, self._failures
        for instruction in kernel.handle(message, self._now()):
            self._carry_out(instruction)
        # Hardly ever is anything due, and this is passed three times on the way of each node of a chain.
        if kernel.stopping or kernel.give_up_at is not None or (failures is not None and failures.more):
            self._set_timer()

    def _carry_out(self, instruction: i.Instruction) -> None:
        stream = self._stream
        match instruction:
            case i.Start(nodes):
                self._slots.add(_held(nodes))
            case i.Report(nodes):
                _send(stream, list(_held(nodes)))
            case i.HandBack(leases):
                for lease in leases:
                    _send(stream, Lease(node_id=lease.node_id, token=lease.token))
            case i.TakeBack(nodes):
                taken = self._slots.take_back(None if nodes is None else _held(nodes))
                tasks = self._slots.tasks_of(_held(nodes or ()))
                self._tell(m.TakenBack(instruction, taken, frozenset(tasks)))
            case i.Reject(leases, rejected):
                for lease in leases:
                    of_broker = Lease(node_id=lease.node_id, token=lease.token)
                    _send(stream, Rejection(lease=of_broker, **rejected._asdict()))
            case i.TellProgress(nodes):
                if stream is not None:
                    self._mailbox.will_tell = True  # before the stream can have told it
                    stream.tell_progress(_held(nodes))
            case i.TellDrain():
                _send(stream, Signal.DRAIN)
            case i.EndStream():
                _send(stream, Signal.END)
            case i.Cut():
                if stream is not None:
                    stream.cancel()
            case i.Stop(node):
                self._slots.cancel(cast(Held, node))
            case i.Discard(node):
                self.log.warn(
                    "what node %s (%s) gave is discarded: its lease was lost while it ran, so another worker runs it",
                    UUID(bytes=node.node_id),
                    node.function.name,
                )
            case i.Abandon(node, is_late):
                overrun = _overrun(node, is_late=is_late)
                self.log.warn("%s; the thread that it runs in cannot be ended and is replaced", overrun)
                self._slots.abandon(cast(Held, node))
            case i.Complain(node, is_late):
                self.log.warn("%s; it does not heed that it was cancelled", _overrun(node, is_late=is_late))
            case i.Leave(node, is_late):
                self.log.warn("%s, so its worker process ends", _overrun(node, is_late=is_late))
                self.beside(partial(self._worker.leave, EXIT_OVERRUN if is_late else EXIT_CANCELLED))
            case i.GiveUp(waited_s):
                self._worker.give_up(waited_s)
            case _:
                assert_never(instruction)

    def _note_failures(self, nodes: Iterable[Held]) -> None:
        """Log the attempts that have failed while their leases held, or keep what the first of them raised."""
        for held in nodes:
            report = held.report
            if report is None or report.failure is None or held.state is not GIVEN:
                continue
            if self._failures is not None:
                self._failures.tell(held, report.failure, self._now())
            if report.error is not None and self.error is None:
                self.end_with(report.error)

    def _set_timer(self) -> None:
        due = self._kernel.due_at
        if self._failures is not None and (counted_at := self._failures.due_at) is not None:
            due = counted_at if due is None else min(due, counted_at)
        if due is not None and (self._timer is None or due < self._timer_at):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._call_later(max(0.0, due - self._now()), self._tick)

    def _tick(self) -> None:
        self._mailbox.post(m.Tick())


def _held(nodes: Sequence[Node]) -> Sequence[Held]:
    """Give nodes back as what they are: the shell makes no others."""
    return cast("Sequence[Held]", nodes)


def _send(stream: Stream | None, item: ToSend) -> None:
    if stream is not None:
        stream.send(item)


def _after(delay_s: float, function: Callable[[], None]) -> Timer:
    """Call a function later, in a thread of its own."""
    # Things fall due when no thread of the worker's is awake, and no stream is open.
    timer = threading.Timer(delay_s, function)
    timer.daemon = True
    timer.start()
    return timer


def _overrun(node: Node, *, is_late: bool) -> str:
    problem = "runs on after its timeout" if is_late else "runs on after its lease had ended"
    return f"node {UUID(bytes=node.node_id)} ({node.function.name}) {problem}"
