"""Nodes that run where they are called. Values travel as they do through a broker, by way of their payloads.

So each node has arguments of its own, which it may change unseen, and what a broker would refuse is refused here too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from itertools import count
from threading import Lock
from time import monotonic
from typing import Any, cast

from dagorama.calls import capture
from dagorama.calls.capture import Begun, current_scope, inline_node
from dagorama.calls.construction import given_to
from dagorama.calls.ids import new_id
from dagorama.calls.large import MemoryValues, ValueStore
from dagorama.calls.names import Definition
from dagorama.calls.payload import Payload, decode, draft
from dagorama.errors import PromiseMisuse
from dagorama.models.promise import new_promise
from dagorama.retry import RetryConfiguration
from dagorama.running.attempt import Failed, attempt, attempt_async
from dagorama.running.belonging import follow_threads
from dagorama.running.own_stack import copy_for_task, run_in_copy

#: Fencing tokens. They grow over all nodes of the process, as a broker's do.
_tokens = count(1)

#: A node whose time stands still is looked at again after this long, or when its time would be over, if that is later.
_LOOK_AGAIN_S = 0.01

#: What a retry policy is asked about. What ends the program, such as Ctrl-C, ends it, unless it is in a group.
_TRIED_AGAIN = (Exception, BaseExceptionGroup)


class InlineNode:
    """A node that runs inline, for `context()` to tell of, with the time that it takes.

    The nodes that it calls run inside of it, where with a broker they would run after it. So its time stands still
    meanwhile.
    """

    def __init__(self, call: InlineCall) -> None:
        """Begin before the first attempt."""
        caller = inline_node.get()
        self.definition = call.definition
        #: What it begins with. What another node of its definition has set ends with that one, as on a worker; another
        #: definition was made by the caller, and sees what its constructor has set.
        self.context: Context = (
            caller.context
            if isinstance(caller, InlineNode) and caller.definition is call.definition
            else copy_context()
        )
        self.instance_id = call.instance_id
        self.node_id = new_id()
        self.process = capture.here
        self.function_name = call.name
        self.attempt = 0
        self.token = 0
        self.progress: tuple[float, str] | None = None
        self.label = ""
        self.begun: Begun | None = None
        self.misuse: tuple[PromiseMisuse, str] | None = None  #: never, as there are no promises
        self.overran = False  #: whether this attempt has failed because of its timeout
        self._timeout_s = call.timeout_s
        self._lock = Lock()  # what it calls may run in threads
        self._children = 0
        self._left_s = 0.0  #: how much of its time was left when its clock last started
        self._started_at = 0.0

    def begin_attempt(self) -> None:
        """Start the next attempt, and the clock."""
        self.attempt += 1
        self.token = next(_tokens)
        self.progress = None
        self.begun = None
        self.overran = False
        self._left_s = self._timeout_s
        self._started_at = monotonic()

    @property
    def deadline(self) -> float | None:
        """Return when its time is over if it calls nothing more, by `time.monotonic()`; None for never."""
        if not self._timeout_s:
            return None
        return self._left_s + (monotonic() if self._children else self._started_at)

    @property
    def dropped(self) -> bool:
        """Return whether its time is over. Nothing else ends an attempt inline."""
        deadline = self.deadline
        return deadline is not None and deadline <= monotonic()

    @contextmanager
    def child_runs(self) -> Iterator[None]:
        """Stop its clock for the block."""
        with self._lock:
            if not self._children:
                self._left_s -= monotonic() - self._started_at
            self._children += 1
        try:
            yield
        finally:
            with self._lock:
                self._children -= 1
                if not self._children:
                    self._started_at = monotonic()

    def in_time(self, outcome: object) -> object:
        """Return the outcome of an attempt; `Failed` if it took too long, whatever it gave."""
        error = outcome.error if type(outcome) is Failed else None
        is_over = self.dropped and (error is None or isinstance(error, Exception))
        return self.overrun(error) if is_over else outcome

    def overrun(self, cause: BaseException | None = None) -> Failed:
        """Return the outcome of an attempt that took too long."""
        self.overran = True
        error = TimeoutError(f"the attempt took longer than the timeout of {self._timeout_s:g} s")
        error.__cause__ = cause
        return Failed(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineCall:
    """A call of a decorated function that is to be run at once."""

    #: "module:Qualified.name".
    name: str
    function: Callable[..., Any]
    instance_id: bytes
    definition: Definition
    #: Makes the `self` of an attempt, an instance by its id and definition.
    make_self: Callable[[bytes, Definition], object]
    #: Payload of `(args, kwargs)`.
    arguments: bytes
    #: Has the large values in them; None where there are none.
    store: ValueStore | None = None
    #: Attempts follow each other at once: a test has nothing to wait for.
    retry: RetryConfiguration | None
    #: 0 for no limit.
    timeout_s: float

    def run(self) -> object:
        """Return the value; raise the exception of the last attempt."""
        node = InlineNode(self)
        with _called_by_current_node():
            while True:
                node.begin_attempt()
                # A context for each node: what one sets in context variables is not seen by the next.
                outcome = run_in_copy(node.context, partial(self._attempt, node))
                if type(outcome) is not Failed:
                    return self._arrived(outcome)
                if self._gives_up(node, outcome):
                    outcome.again()

    async def run_async(self) -> object:
        """Do the same as `run` for an async function."""
        node = InlineNode(self)
        with _called_by_current_node():
            while True:
                node.begin_attempt()
                task = asyncio.create_task(self._attempt_async(node), context=copy_for_task(node.context))
                outcome = await _in_time(task, node)
                if type(outcome) is not Failed:
                    return self._arrived(outcome)
                if self._gives_up(node, outcome):
                    outcome.again()

    def _gives_up(self, node: InlineNode, failed: Failed) -> bool:
        """Return whether no further attempt follows."""
        retry = self.retry
        if retry is None or not isinstance(failed.error, _TRIED_AGAIN):
            return True
        # A broker ends what takes too long, and knows no types.
        return node.attempt >= retry.numbers().max_attempts or (not node.overran and failed.is_final(retry))

    def _attempt(self, node: InlineNode) -> object:
        """Make an attempt. Nothing can interrupt it, so it has failed afterwards if it took too long."""
        return node.in_time(attempt(inline_node, node, InlineCall._call, self, (), {}))

    async def _attempt_async(self, node: InlineNode) -> object:
        return node.in_time(await attempt_async(inline_node, node, InlineCall._call, self, (), {}))

    def _call(self) -> object:
        """Call the function with an instance and arguments that are this attempt's alone."""
        current_scope.set(None)  # a worker's node may run things inline
        follow_threads()
        args, kwargs = cast(
            Any, decode(self.arguments, new_promise, what=f"the arguments of {self.name}", store=self.store)
        )
        return self.function(self._self(), *args, **kwargs)

    def _self(self) -> object:
        """Make the `self` of an attempt. Lists that the definition was given stay the caller's, to be looked at."""
        made = self.make_self(self.instance_id, self.definition)
        names = made.__dict__
        names["_dagorama_process"] = capture.here
        given = {id(one): one for one in given_to(self.definition)}
        names["_dagorama_copies"] = {id(self.definition): made, **given}
        return made

    def _arrived(self, value: object) -> object:
        """Return the value as others get it. One that can't travel is no reason for another attempt."""
        return arrived(value, f"the result of {self.name}")


def arrived(value: object, what: str) -> object:
    """Return a value as it is where it has travelled; `what` names it in the `PayloadError` of one that can't."""
    taken = draft(value, what=what)
    if isinstance(taken, Payload):
        return decode(taken.data, new_promise, what=what)
    store = MemoryValues()
    return decode(taken.keep(store).data, new_promise, what=what, store=store)


@contextmanager
def _called_by_current_node() -> Iterator[None]:
    """Let the time of the node that makes a call stand still for the block."""
    caller = inline_node.get()
    if isinstance(caller, InlineNode):
        with caller.child_runs():
            yield
    else:
        yield


async def _in_time(task: asyncio.Task[object], node: InlineNode) -> object:
    """Return the outcome of an attempt, which is cancelled and has failed when its time is over."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        deadline = node.deadline
        if node.dropped:
            task.cancel()
        elif deadline is not None:
            timer = loop.call_later(max(_LOOK_AGAIN_S, deadline - monotonic()), look)

    look()
    try:
        outcome = await task
    except asyncio.CancelledError as error:  # before it had begun
        outcome = Failed(error)
    finally:
        if timer is not None:
            timer.cancel()
    if type(outcome) is Failed and isinstance(outcome.error, asyncio.CancelledError):
        caller = asyncio.current_task()
        # Else it is the caller that is to stop.
        if node.dropped and (caller is None or not caller.cancelling()):
            return node.overrun()
    return outcome
