"""A broker and its only worker inside of the process that asks: no sockets, no processes, no waiting.

The broker's own core decides, the worker's own executor runs, and everything is encoded on its way between them as it
is elsewhere. A wait for a value runs what is ready, one node at a time, until it is there.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import Context
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, NamedTuple, TypeVar, cast
from uuid import UUID

from dagorama.calls.capture import CapturedCall, current_scope
from dagorama.calls.hook_calls import HookCall
from dagorama.calls.large import ValueStore
from dagorama.client.events import EventBatch
from dagorama.client.log_lines import LogChunk
from dagorama.client.port import (
    GetInstance,
    GetNode,
    ListDefinitions,
    ReadLogs,
    Request,
    Submitted,
    WatchChanges,
    WatchEvents,
)
from dagorama.client.silence import Silence
from dagorama.client.status import InstanceStatus, Outcome
from dagorama.client.steps import Deadline, Steps, run
from dagorama.client.told import time_at
from dagorama.errors import InstancePruned, KeyConflict, ResultTimeout, Stuck, refusal
from dagorama.options import InstanceOptions
from dagorama.running import base_context
from dagorama.running.own_stack import run_off_loop
from dagorama.serializer import forget_definitions, forget_functions
from dagorama.settings import actor
from dagorama.states import InstanceState
from dagorama.testing.core import Core, worker_with
from dagorama.testing.output import Output
from dagorama.testing.translating import (
    from_answer,
    from_chunk,
    to_calls,
    to_definition,
    to_hooks,
    to_options,
    to_parameters,
)
from dagorama.why import Why
from dagorama.worker.kernel.states import GIVEN, State, move
from dagorama.worker.logs.capturing import begin_capture, end_capture, renew_capture
from dagorama.worker.logs.node_log import WorkerLogs
from dagorama.worker.options import captures_logs_by_default, default_code_mismatch
from dagorama.worker.shell.announcing import announced_here
from dagorama.worker.shell.execution import Executor
from dagorama.worker.shell.held import Held
from dagorama.worker.shell.node_loop import CLOSE_S, NodeLoop, NodeTask, Rest
from dagorama.worker.shell.versions import VersionCheck
from dagorama_broker.core.errors import ConflictingKey, PrunedInstance
from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.requests import Requests
from dagorama_broker.requests.refusals import CODES

T = TypeVar("T")


class _Change(NamedTuple):
    """Wait until another thread or task has brought things forward."""

    happened: Future[None]
    loop: NodeLoop
    #: Whoever waits gives up then, by `time.monotonic()`.
    until: float

    def run(self) -> None:
        """Block; raise `RuntimeError` on the loop that asynchronous nodes run on: nothing would ever happen again."""
        if self.loop.is_here():
            raise RuntimeError(
                "an asynchronous function waits for a value without await, which keeps all asynchronous functions from "
                "going on: use `await instance.aresult()` or `await resolve_async(...)` in it"
            )
        with suppress(TimeoutError):
            self.happened.result(self._rest_s())

    async def run_async(self) -> None:
        """Wait without blocking the event loop."""
        await asyncio.wait({asyncio.wrap_future(self.happened)}, timeout=self._rest_s())

    def _rest_s(self) -> float | None:
        return None if self.until == inf else max(0.0, self.until - time.monotonic())


class InProcessBroker:
    """The `Broker` of this process while `dagorama.testing.in_process_broker()` lasts.

    Its clock stands still while nodes run. When nothing is ready it jumps to when something is due, so that a backoff
    of an hour takes no time; `elapsed_s` tells how far it has come.
    """

    def __init__(
        self,
        *,
        tolerations: Iterable[str] = (),
        include_queues: Iterable[str] = (),
        exclude_queues: Iterable[str] = (),
        seed: int = 0,
        check: bool = False,
    ) -> None:
        """Give the first three to its worker. `check` has the core's invariants checked after every step."""
        self._lock = threading.RLock()
        #: What runs, each with the time of its lease, and which of them wait for others in turn.
        self._running: dict[Held, float] = {}
        self._waiting: Counter[Held] = Counter()
        self._tasks: dict[Held, NodeTask] = {}
        self._changes: list[Future[None]] = []
        self._interrupt: KeyboardInterrupt | None = None
        self._output = Output() if captures_logs_by_default() else None
        logs = None if self._output is None else WorkerLogs(self._output)
        versions = VersionCheck(default_code_mismatch())
        self._loop = NodeLoop("dagorama-in-process")
        base_context.adopt()
        # Those that nodes of earlier tests may have changed.
        forget_definitions()
        worker = worker_with(tolerations=tolerations, include_queues=include_queues, exclude_queues=exclude_queues)
        self._core = Core(worker=worker, seed=seed, check=check, revoked=self._revoked, changed=self._changed)
        self._requests = Requests(self._core)
        self._executor = Executor(versions=versions, keeps_errors=True, logs=logs, store=self._core.values)
        if self._output is not None:
            begin_capture(with_programs=False)

    @property
    def elapsed_s(self) -> float:
        """Return how many seconds have passed by the broker's clock: the sum of backoffs and timeouts."""
        return self._core.now() - self._core.began_at

    def close(self) -> None:
        """End what still runs."""
        self._loop.close(CLOSE_S)
        if self._output is not None:
            self._output = None
            end_capture()
        forget_definitions()

    # -- what a process asks of its broker -----------------------------------------------------------------------------

    def ask(self, request: Request[T], deadline: Deadline | None = None) -> Steps[T]:
        """Answer at once. An instance or a node that is looked at runs first, as far as it can."""
        what = str(request)
        if isinstance(request, GetInstance):
            yield from self._run_until(partial(self._is_over, request.instance_id), None, what)
        elif isinstance(request, GetNode):
            yield from self._run_until(partial(self._has_ended, request.instance_id, request.node_id), None, what)
        elif isinstance(request, WatchEvents | WatchChanges) and request.after:
            return cast(T, (yield from self._watch(request, what)))
        with self._asked(what):
            if isinstance(request, ListDefinitions):
                self._core.announce([to_definition(one) for one in announced_here()])
            answer: T = self._answer(getattr(self._requests, request.verb)(**to_parameters(request)))
            return answer

    def _watch(self, request: Request[T], what: str) -> Steps[T]:
        """Run nodes until there is something to tell; where nothing more can be, tell that as well."""

        def read() -> Any:
            return self._answer(getattr(self._requests, request.verb)(**to_parameters(request)))

        happened = yield from self._run_until(lambda: bool(read()), None, what)
        with self._asked(what):
            found = read()
            if isinstance(found, EventBatch):
                return cast(T, found._replace(is_last=not happened))
            return cast(T, replace(found, is_last=not happened))

    def submit(
        self,
        instance_id: bytes,
        definition: str,
        calls: Sequence[CapturedCall],
        options: InstanceOptions,
        what: str,
        hooks: Sequence[HookCall] = (),
    ) -> Steps[Submitted | None]:
        """Make an instance, if it is new, and nodes in it. Nothing runs yet."""
        yield from ()
        with self._asked(what):
            new = (InstanceId(instance_id), definition, to_calls(calls), to_options(options), to_hooks(hooks), actor())
            known = self._core.ask(self._requests.submit(*new))
            return None if known is None else Submitted(known.instance_id, known.node_id)

    def outcomes(
        self, instance_id: bytes, node_ids: Sequence[bytes], deadline: Deadline | None, silence: Silence
    ) -> Steps[Sequence[Outcome]]:
        """Run nodes until these have ended. Raises `Stuck`, or with a deadline `ResultTimeout`, where they can't."""
        outcomes: list[Outcome] = []
        for node_id in node_ids:
            what = f"watching node {UUID(bytes=node_id)}"
            has_ended = partial(self._has_ended, instance_id, node_id)
            yield from self._run_to_the_end(has_ended, instance_id, node_id, deadline, what)
            with self._asked(what):
                outcome: Outcome = self._answer(self._requests.outcome(InstanceId(instance_id), NodeId(node_id)))
            outcomes.append(outcome)
            if outcome.cause is not None:
                break
        return outcomes

    def have_ended(self, instance_id: bytes, node_ids: Sequence[bytes]) -> Steps[bool]:
        """Run nodes first, until these have ended, as far as they can."""
        for node_id in node_ids:
            what = f"a look at node {UUID(bytes=node_id)}"
            if not (yield from self._run_until(partial(self._has_ended, instance_id, node_id), None, what)):
                return False
        return True

    def end(self, instance_id: bytes, deadline: Deadline | None, silence: Silence) -> Steps[InstanceStatus]:
        """Run nodes until the instance has ended; otherwise like `outcomes`."""
        what = f"watching instance {UUID(bytes=instance_id)}"
        yield from self._run_to_the_end(partial(self._is_over, instance_id), instance_id, b"", deadline, what)
        return (yield from self.ask(GetInstance(instance_id)))

    def changes(self, instance_id: bytes) -> Iterator[InstanceStatus]:
        """Yield how the instance stands before anything of it runs, and then when nothing more can."""
        with self._asked(f"watching instance {UUID(bytes=instance_id)}"):
            before: InstanceStatus = self._answer(self._requests.get_instance(InstanceId(instance_id)))
        yield before
        if before.state is InstanceState.RUNNING:
            yield run(self.ask(GetInstance(instance_id)))

    def read_logs(self, request: ReadLogs) -> Steps[LogChunk]:
        """Run nodes first, until the instance or the node has ended, as far as they can."""
        what = str(request)
        has_ended = partial(self._is_over, request.instance_id)
        if request.node_id:
            has_ended = partial(self._has_ended, request.instance_id, request.node_id)
        yield from self._run_until(has_ended, None, what)
        with self._asked(what):
            return from_chunk(self._core.read_logs(request))

    def values(self) -> ValueStore:
        """Return the large values of this broker, which are in memory."""
        return self._core.values

    def deadline(self, timeout_s: float) -> Deadline:
        """Count by the broker's clock."""
        return Deadline(timeout_s, self._core.now)

    def _has_ended(self, instance_id: bytes, node_id: bytes) -> bool:
        return self._core.ask(self._requests.has_ended(InstanceId(instance_id), NodeId(node_id)))

    def _is_over(self, instance_id: bytes) -> bool:
        return self._core.ask(self._requests.is_over(InstanceId(instance_id)))

    def _answer(self, asked: Coroutine[object, None, object]) -> Any:
        return from_answer(self._core.ask(asked))

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        """Do what was asked, alone; say no as a broker over a connection does."""
        with self._lock:
            try:
                yield
            except ConflictingKey as error:
                instance_id = UUID(bytes=error.instance_id)
                raise KeyConflict(key=error.key, instance_id=instance_id, differs=error.differs) from None
            except PrunedInstance as error:
                raise InstancePruned(
                    request=what,
                    code=CODES[PrunedInstance],
                    detail=str(error),
                    instance_id=UUID(bytes=error.instance_id),
                    definition=error.definition,
                    state=str(error.state),
                    pruned_at=time_at(error.pruned_at),
                ) from None
            except tuple(CODES) as error:
                raise refusal(request=what, code=CODES[type(error)], detail=str(error)) from None

    # -- who waits, works ----------------------------------------------------------------------------------------------

    def _run_to_the_end(
        self,
        has_ended: Callable[[], bool],
        instance_id: bytes,
        node_id: bytes,
        deadline: Deadline | None,
        what: str,
    ) -> Steps[None]:
        """Run what is ready until that has ended; raise `Stuck` or `ResultTimeout`, with what holds it, otherwise."""
        if (yield from self._run_until(has_ended, deadline, what)):
            return
        with self._asked(what):
            why: Why = self._answer(self._requests.why(InstanceId(instance_id), NodeId(node_id) if node_id else None))
        whose, which = UUID(bytes=instance_id), UUID(bytes=node_id) if node_id else None
        if deadline is None:
            raise Stuck(instance_id=whose, node_id=which, why=str(why))
        raise ResultTimeout(instance_id=whose, node_id=which, timeout_s=deadline.timeout_s, why=why)

    def _run_until(self, has_ended: Callable[[], bool], deadline: Deadline | None, what: str) -> Steps[bool]:
        """Run what is ready until that has ended; tell whether it has, or nothing more can run before then."""
        scope = current_scope.get()
        waiter = scope.node if scope is not None and isinstance(scope.node, Held) else None
        rest_s = inf if deadline is None else deadline.rest_s()
        # The broker's clock stands still while nodes run, which may be for ever.
        until, give_up_at = self._core.now() + rest_s, time.monotonic() + rest_s
        if waiter is None:
            forget_functions()
        with self._waits(waiter):
            while True:
                with self._asked(what):
                    if has_ended():
                        return True
                    following = self._next(until, give_up_at)
                    if following is None:
                        return has_ended()  # its time may have passed just now
                if isinstance(following, _Change):
                    yield following
                else:
                    self._run(following)

    @contextmanager
    def _waits(self, waiter: Held | None) -> Iterator[None]:
        """Let others run while a node waits for a value."""
        if waiter is None:
            yield
            return
        self._waiting[waiter] += 1
        try:
            yield
        finally:
            self._waiting[waiter] -= 1

    def _next(self, until: float, give_up_at: float) -> Held | _Change | None:
        """Return what is to be run, or waited for; None if there is neither, not before `until` at least.

        So it is, too, when something runs for longer than until `give_up_at`.
        """
        while True:
            if any(not self._waiting[held] for held in self._running):
                if time.monotonic() >= give_up_at:
                    return None
                change = _Change(Future(), self._loop, give_up_at)
                change.happened.set_running_or_notify_cancel()  # so that nobody who gives up waiting cancels it
                self._changes.append(change.happened)
                return change
            held = self._core.grant()
            if held is not None:
                self._running[held] = self._core.now()
                return held
            due_at = self._core.due_at()
            if due_at == inf or due_at > until:
                if until < inf:
                    self._core.advance(until)
                return None
            self._core.advance(due_at)

    def _run(self, held: Held) -> None:
        """Run a plain function; begin an asynchronous one on the event loop."""
        rest: Rest | None = None
        renew_capture()
        try:
            rest = run_off_loop(Context(), partial(self._execute, held))
        finally:  # a Ctrl-C may come in between: nothing would ever be taken for done again
            if rest is None:
                self._end(held)
        if rest is not None:
            with self._lock:
                self._loop.call(self._begin, held, rest)
            return
        interrupt, self._interrupt = self._interrupt, None
        if interrupt is not None:
            raise interrupt

    def _execute(self, held: Held) -> Rest | None:
        """Run a node; keep Ctrl-C, which comes to the main thread only, from passing for its failure."""
        rest = self._executor.run(held)
        error = held.report.error if held.report is not None else None
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            self._interrupt = error
        return rest

    def _begin(self, held: Held, rest: Rest) -> None:
        """Run a coroutine for no longer than it may take. On the event loop."""
        with self._lock:
            self._tasks[held] = task = self._loop.start(rest, partial(self._end, held))
            if held.dropped:
                task.cancel()
        if held.deadline is not None:
            rest_s = max(0.0, held.deadline - time.monotonic())
            timer = asyncio.get_running_loop().call_later(rest_s, self._overrun, held, task)
            task.add_done_callback(lambda _: timer.cancel())

    @staticmethod
    def _overrun(held: Held, task: NodeTask) -> None:
        if held.state is GIVEN:
            move(held, State.LOST)
        task.cancel()

    def _end(self, held: Held) -> None:
        """Report how an attempt has ended, or that it has, where its lease was revoked or its time is over."""
        with self._lock:
            leased_at = self._running.pop(held)
            self._tasks.pop(held, None)
            if self._output is not None and (arrivals := self._output.take()):
                self._core.append_logs(arrivals)
            # A timer of the event loop may be a little early.
            is_revoked = held.state is State.REVOKED
            is_late = held.state is State.LOST or (held.deadline is not None and held.deadline <= time.monotonic())
            if held.rejected is not None:  # its function is another than at the call, or it cannot be run here
                self._core.reject(held, held.rejected)
            if is_late and not is_revoked:
                self._core.advance(leased_at + held.function.timeout_s)
            if is_late or is_revoked or held.report is None:
                self._core.hand_back(held)
            else:
                self._core.report(held)

    # -- what the core and the executor say ----------------------------------------------------------------------------

    def _revoked(self, tokens: set[int]) -> None:
        """Have nodes stop that run under these tokens, as far as that can be."""
        for held in self._running:
            if held.token in tokens:
                if held.state is GIVEN:
                    move(held, State.REVOKED)
                if held in self._tasks:
                    self._loop.call(self._tasks[held].cancel)

    def _changed(self) -> None:
        changes, self._changes = self._changes, []
        for happened in changes:
            happened.set_result(None)
