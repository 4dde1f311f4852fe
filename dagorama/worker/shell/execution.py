"""One attempt: the arguments are decoded, the function is called, and what it gives is encoded."""

from __future__ import annotations

import os
import socket
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from functools import partial
from hashlib import blake2b
from time import monotonic, perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dagorama.calls import capture
from dagorama.calls.capture import CapturedCall, Logs, Scope, current_scope
from dagorama.calls.hook_calls import HOOKS_MODULE
from dagorama.calls.json_form import JsonText, is_json
from dagorama.calls.large import ValueStore, asking, asks_for
from dagorama.calls.names import followed
from dagorama.calls.payload import Draft, Payload, decode, decode_value, draft, may_have_promises, no_promises
from dagorama.calls.references import is_referring
from dagorama.calls.typed_arguments import typed_arguments
from dagorama.client.steps import run_in_thread
from dagorama.definition import DAGInstance, instance_in_node
from dagorama.errors import CodeMismatchException, DagoramaError, NotAwaited, PayloadError, UnknownFunction
from dagorama.models.promise import DAGPromise, node_id_of
from dagorama.retry import RetryConfiguration
from dagorama.running.attempt import Failed, attempt, attempt_async
from dagorama.running.base_context import node_context
from dagorama.running.belonging import follow_threads
from dagorama.serializer import DEFINITIONS_MAX, FoundFunction, MadeDefinition, find_function, is_name, made_for
from dagorama.tracing.ids import parse
from dagorama.worker.kernel.states import GIVEN
from dagorama.worker.shell import forking
from dagorama.worker.shell.failures import failure_of, refusal_of, sendable
from dagorama.worker.shell.held import Failure, Function, Held, Rejected, Report, ValueTable, report_of
from dagorama.worker.shell.listing import is_inside
from dagorama.worker.shell.node_loop import Rest
from dagorama.worker.shell.versions import VersionCheck

if TYPE_CHECKING:
    from dagorama.tracing.spans import AttemptSpans

#: The field on the wire has 32 bits: 71 minutes. What took longer counts as that.
_DURATION_US_MAX = 2**32 - 1


#: The broker takes 2,000 bytes of what is lacking, and a character has up to four. Escaped ones are rare.
PROBLEM_CHARS_MAX = 450
#: It takes 500 of its name.
LACKS_BYTES_MAX = 500

#: Values that refer to values are decoded within each other so deep; the stack would not bear any number.
_DEPTH_MAX = 20


class _EndedScope(list[CapturedCall]):
    """Takes the place of a node's calls once its report is made."""

    def append(self, call: CapturedCall) -> None:
        """Refuse a call, which would be lost."""
        raise RuntimeError(
            f"{call.function.name} was called after the node whose function calls it had ended; await or join what a "
            "function starts before it returns"
        )


class _Known(NamedTuple):
    """The function of a node, as it came in a message, with what it led to. It holds as long as its name is followed
    there.
    """

    function: Function
    found: FoundFunction
    made: MadeDefinition


class Executor:
    """Runs attempts. One for each worker, used by all its slots.

    Afterwards a node has a `report`; or it is `rejected` if it is of a version that isn't accepted here, or cannot be
    run for want of something that another worker may have; or it has neither, because its lease had ended.
    """

    def __init__(
        self,
        *,
        versions: VersionCheck,
        progressed: Callable[[int], None] | None = None,
        keeps_errors: bool = False,
        only_modules: Sequence[str] = (),
        logs: Logs | None = None,
        spans: AttemptSpans | None = None,
        store: ValueStore | None = None,
    ) -> None:
        """Reject nodes of versions that `versions` doesn't accept.

        `progressed` is called with a running node's token when its function has told how far it has got. With
        `keeps_errors` a report has what the function raised. With `only_modules`, functions that are neither in these
        nor in modules inside them are not run. `logs` take what functions print, and `spans` tell of attempts. `store`
        has the large values of arguments and results.
        """
        self._versions = versions
        self._only_modules = only_modules
        #: By name and their definitions' arguments.
        self._async_functions: set[tuple[str, bytes]] = set()
        self._progressed = progressed
        self._keeps_errors = keeps_errors
        self._logs = logs
        self._spans = spans
        self._store = store
        #: Of the last node: the next is mostly of the same function.
        self._known: _Known | None = None
        follow_threads()

    def run(self, held: Held) -> Rest | None:
        """Run a node in this thread; return the rest of an asynchronous function, for the event loop.

        A node whose lease has ended is not begun.
        """
        if held.state is not GIVEN:
            return None
        started_ns = perf_counter_ns()
        try:
            return self._run(held, started_ns)
        except Exception as error:  # such as of a trace function that the node has set in this thread
            if held.report is None:
                self._end(held, failure_of(error), started_ns)
            return None

    def _run(self, held: Held, started_ns: int) -> Rest | None:
        """Do what `run` does; an error that it raises is neither the function's nor one of finding and calling it."""
        scope = Scope(held.instance_id, held, self._progressed, self._logs, self._store)
        try:
            asking.node_id = held.node_id  # until the next node that begins in this thread
            function, known = held.function, self._known
            if known is None or known.function != function or followed.get(function.name) is not known.found:
                known = self._know(held)
                if known is None:
                    return None
            _, found, (definition, settings) = known
            instance = instance_in_node(held.instance_id, definition, scope)
            used: dict[bytes, None] | None = {} if self._spans is not None and held.traceparent else None
            if is_json(held.arguments):
                args, kwargs = _typed(held, found, used, self._store)
            else:
                args, kwargs = _decoded(held, found, held.arguments, used, self._store)
        except BaseException as error:
            self._refuse(held, error, started_ns)
            return None
        # A context for each node: what one sets in context variables is not seen by the next.
        context = node_context(settings)
        if found.labels is not None and (may_have_promises(held.arguments) or is_json(held.arguments)):
            # What it is made of was not there when the call was made.
            held.label = context.run(found.labels.of_call, (None, *args), kwargs, may_wait=False)
            if self._progressed is not None:
                self._progressed(held.token)
        if used is not None:
            self._begin_span(held, used, context)
        if found.is_async:
            self._remember_async(held)
            context.run(current_scope.set, scope)
            return Rest(self._run_async(held, found, instance, scope, args, kwargs, started_ns), context)
        outcome = context.run(attempt, current_scope, scope, found.function, instance, args, kwargs)
        if scope.process is not capture.here:
            _leave_forked(outcome)
        if scope.logs is not self._logs:  # it has written something
            _end_log(held, scope)
        self._report(held, scope, outcome, started_ns, found)
        if held.span is not None:
            _end_span(held)
        return None

    def _know(self, held: Held) -> _Known | None:
        """Return what is to be called for a node; None where it is rejected. Raises what finding and making it does."""
        function = held.function
        name, definition_arguments, _, wanted, release, _ = function
        if self._only_modules:
            _check_module(name, self._only_modules)
        found = find_function(name)
        if wanted != found.code_version:
            if not self._versions.accepts(function, found):
                held.rejected = Rejected(found.code_version)
                return None
            release = ""  # somebody has chosen that other code runs, and so does what that calls
        # Only now: other code may not even take these arguments.
        known = _Known(function, found, made_for(found, definition_arguments, release, self._store))
        # Not for code that was accepted just this once, nor arguments of which only some are kept.
        if wanted == found.code_version and not is_referring(definition_arguments):
            self._known = known
        return known

    def _begin_span(self, held: Held, used: Iterable[bytes], context: Context) -> None:
        """Have an attempt be traced, linked to the attempts whose values it `used`."""
        parent = parse(held.traceparent)
        if self._spans is None or parent is None:
            return
        values = held.values
        held.span = self._spans.begin(
            parent,
            instance_id=held.instance_id,
            node_id=held.node_id,
            attempt=held.attempt,
            function=held.function.name,
            links=[(node_id, values.attempt(node_id)) for node_id in used] if values is not None else (),
            context=context,
        )

    def is_known_async(self, held: Held) -> bool:
        """Return whether the node can begin on the event loop: its function turned out to be asynchronous before, its
        definition is made, and no large values are to be fetched first.
        """
        return bool(self._async_functions) and held.function[:2] in self._async_functions and not held.has_large_values

    def _remember_async(self, held: Held) -> None:
        if len(self._async_functions) >= DEFINITIONS_MAX:  # each comes back with its next node
            self._async_functions.clear()
        self._async_functions.add(held.function[:2])

    async def _run_async(
        self,
        held: Held,
        found: FoundFunction,
        instance: DAGInstance[Any],
        scope: Scope,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        started_ns: int,
    ) -> None:
        outcome = await attempt_async(current_scope, scope, found.function, instance, args, kwargs)
        if scope.process is not capture.here:
            _leave_forked(outcome)
        if scope.logs is not self._logs:
            _end_log(held, scope)
        if held.dropped and type(outcome) is Failed and isinstance(outcome.error, CancelledError):
            _end_span(held)
            return  # so we stop it, and nobody waits for a report
        if scope.cause is not None:
            outcome = Failed(scope.cause)
        if type(outcome) is not Failed and type(outcome) is not DAGPromise:
            try:
                taken = draft(outcome, what=found.result)
                outcome = _kept(
                    (taken if type(taken) is Payload else await run_in_thread(self._keep, held, taken), None)
                )
            except BaseException as error:
                outcome = _kept((None, error))
                if held.dropped and isinstance(error, CancelledError):
                    _end_span(held)
                    return  # as above
        self._report(held, scope, outcome, started_ns, found)
        if held.span is not None:
            _end_span(held)

    def _report(self, held: Held, scope: Scope, outcome: object, started_ns: int, found: FoundFunction) -> None:
        """Make the report of an attempt from its outcome."""
        if type(outcome) is Failed:
            self._fail(held, outcome, started_ns, found.retry)
            return
        calls, scope.calls = scope.calls, _ENDED
        if scope.places is not None:
            held.places = {**(held.places or {}), **_places_in(calls, scope.places)}
        if type(outcome) is DAGPromise:
            alias_id = node_id_of(outcome)
            held.report = Report(_elapsed_us(started_ns), alias_id=alias_id, children=calls, ended_at=monotonic())
        else:
            try:
                taken = outcome.payload() if type(outcome) is _Kept else draft(outcome, what=found.result)
                data, promise_ids = taken if type(taken) is Payload else self._keep(held, cast(Draft, taken))
            except PayloadError as error:
                # The same function will give such a value again.
                self._end(held, refusal_of(error, permanent=True), started_ns)
                return
            except BaseException as error:  # such as from a __reduce__ of the user's that exits
                self._fail(held, Failed(error), started_ns)
                return
            held.report = report_of((_elapsed_us(started_ns), data, None, None, promise_ids, calls, None, monotonic()))
        held.values = None

    def _keep(self, held: Held, taken: Draft) -> Payload:
        """Store the large values in a node's result."""
        store = self._store
        if store is None:
            from dagorama.client.asking import broker

            store = broker().values()
        with asks_for(held.node_id):
            payload = taken.keep(store, name="result")
        found = taken.places(name="result")
        if found:
            held.places = {digest: (0, path) for digest, path in found.items()} | (held.places or {})
        return payload

    def _fail(self, held: Held, failed: Failed, started_ns: int, retry: RetryConfiguration | None = None) -> None:
        """End an attempt that gave no value; for good where another would not give one either."""
        error = failed.error
        permanent = failed.is_final(retry)
        if failed.is_fault and isinstance(error, NotAwaited):  # no frame of the user's has to do with what was left out
            failure = refusal_of(error, permanent=permanent)
        else:
            failure = failure_of(error, permanent=permanent)
        self._end(held, failure, started_ns, None if failed.is_fault else error)

    def _refuse(self, held: Held, error: BaseException, started_ns: int) -> None:
        """End an attempt whose function was not called, unless another worker may be able to call it."""
        if isinstance(error, UnknownFunction | PayloadError) and (rejected := _rejected(held, error)) is not None:
            self._versions.lacks(held.function.name, error, rejected.lacks)
            held.rejected = rejected
            return
        if isinstance(error, DagoramaError):
            is_the_same_everywhere = isinstance(error, PayloadError) and error.is_everywhere
            is_permanent = is_the_same_everywhere or isinstance(error, CodeMismatchException)
            failure = refusal_of(error, permanent=is_permanent)
            failure = failure._replace(message=failure.message + sendable(_here(), PROBLEM_CHARS_MAX))
        else:
            failure = failure_of(error)
        self._end(held, failure, started_ns, error)

    def _end(self, held: Held, failure: Failure, started_ns: int, error: BaseException | None = None) -> None:
        kept = error if self._keeps_errors else None
        held.report = Report(_elapsed_us(started_ns), failure=failure, error=kept, ended_at=monotonic())
        held.values = None


class _Kept(NamedTuple):
    """The payload of a result, or the error that there was in the place of it."""

    encoded: Payload | None
    error: BaseException | None

    def payload(self) -> Payload:
        """Return the payload; raise the error."""
        if self.encoded is None:
            raise self.error or RuntimeError("a result has neither a payload nor an error")
        return self.encoded


#: Makes one of (encoded, error).
_kept: Callable[[tuple[Payload | None, BaseException | None]], _Kept] = partial(tuple.__new__, _Kept)


_ENDED = _EndedScope()


def _places_in(
    calls: Iterable[CapturedCall], places: Mapping[tuple[str, bytes], Mapping[bytes, str]]
) -> dict[bytes, tuple[int, str]]:
    """Return where large values stand in calls: each in the first that is known to have it."""
    found: dict[bytes, tuple[int, str]] = {}
    for number, call in enumerate(calls, 1):
        for digest, path in places.get((call.function.name, call.arguments), {}).items():
            found.setdefault(digest, (number, path))
    return found


def _end_span(held: Held) -> None:
    """End the span of an attempt that has ended, or was cut off and has no report."""
    span, held.span = held.span, None
    if span is None:
        return
    failure = held.report.failure if held.report is not None else None
    if held.report is None:
        span.end("cancelled", label=held.label)
    elif failure is None:
        span.end("completed", label=held.label)
    else:
        span.end("failed", (failure.type, failure.message, failure.traceback), held.label)


def _end_log(held: Held, scope: Scope) -> None:
    """End the log of a node whose function has ended."""
    if scope.logs is not None:
        held.has_printed = True
        scope.logs.of(scope).end()


def _leave_forked(outcome: object) -> None:
    """End a forked child in which the node's function has ended: the worker is in another process."""
    forking.leave(outcome.error if type(outcome) is Failed else None)


def _rejected(held: Held, error: UnknownFunction | PayloadError) -> Rejected | None:
    """Return the reason with which a node goes back that this worker cannot run; None where no other could either."""
    if isinstance(error, PayloadError):
        if not error.lacks:
            return None
        lacks, problem = error.lacks, str(error)
    elif is_name(held.function.name):
        lacks, problem = "", f"{error.problem}. {error.way_out}"
    else:
        return None
    key = lacks.encode("utf-8", "backslashreplace")
    return Rejected(
        problem=sendable(f"{problem} (It runs in {_folder()}.)", PROBLEM_CHARS_MAX),
        lacks=key.decode() if len(key) <= LACKS_BYTES_MAX else blake2b(key, digest_size=16).hexdigest(),
    )


def _here() -> str:
    return f" (This was worker {socket.gethostname()}:{os.getpid()} in {_folder()}.)"


def _folder() -> str:
    """Return the working directory, which somebody may have removed."""
    try:
        return os.getcwd()
    except OSError as error:
        return f"a folder that is gone ({error.strerror})"


def _check_module(name: str, only_modules: Sequence[str]) -> None:
    """Raise `UnknownFunction` for functions of other modules."""
    module = name.partition(":")[0]
    if not is_inside(module, only_modules) and module != HOOKS_MODULE:
        raise UnknownFunction(
            name=name,
            problem=f"this worker runs only functions of {', '.join(only_modules)}",
            way_out=f"Start a worker with --import {module}, or without --import.",
        )


def _elapsed_us(started_ns: int) -> int:
    elapsed_us = (perf_counter_ns() - started_ns) // 1000 or 1
    return elapsed_us if elapsed_us < _DURATION_US_MAX else _DURATION_US_MAX


def _typed(
    held: Held, found: FoundFunction, used: dict[bytes, None] | None, store: ValueStore | None
) -> tuple[tuple[object, ...], dict[str, object]]:
    """Make a node's arguments of JSON, as its function's type hints say; `used` is as for `_decoded`."""
    return typed_arguments(
        held.arguments, found.function, held.function.name, lambda rest: _decoded(held, found, rest, used, store)
    )


def _decoded(
    held: Held, found: FoundFunction, arguments: bytes, used: dict[bytes, None] | None, store: ValueStore | None
) -> tuple[tuple[object, ...], dict[str, object]]:
    """Decode a node's arguments, with objects of its own: no other node sees what this one does to them.

    The nodes whose values they have in them are added to `used`, if that is wanted.
    """
    resolve = no_promises if held.values is None else _resolver(held.values, store)
    if used is not None:
        resolve = _noting(resolve, used)
    decoded = decode(arguments, resolve, what=found.arguments, store=store)
    match decoded:
        case (tuple() as args, dict() as kwargs):
            return args, kwargs
        case JsonText():
            return typed_arguments(decoded, found.function, held.function.name, lambda rest: ((), {}))
    raise PayloadError(
        what=found.arguments,
        problem=f"they are a {type(decoded).__qualname__} instead of (args, kwargs)",
        way_out="Whoever submits needs a version of dagorama that fits the worker's.",
    )


def _noting(resolve: Callable[[bytes], object], used: dict[bytes, None]) -> Callable[[bytes], object]:
    """Return a function that does the same as another one, and adds to `used` what it is asked for."""

    def noting(node_id: bytes) -> object:
        used[node_id] = None
        return resolve(node_id)

    return noting


def _resolver(values: ValueTable, store: ValueStore | None) -> Callable[[bytes], object]:
    """Return a function that gives one node the values that its arguments refer to, each decoded once."""
    memo: dict[bytes, object] = {}
    depth = 0

    def resolve(node_id: bytes) -> object:
        nonlocal depth
        if node_id not in memo:
            depth += 1
            try:
                if depth > _DEPTH_MAX:
                    decode_all_before(node_id)
                memo[node_id] = decode_value(values.payload(node_id), resolve, node_id, store)
            finally:
                depth -= 1
        return memo[node_id]

    def decode_all_before(node_id: bytes) -> None:
        # Each comes after those that it refers to, so this way none needs another that is not there.
        for other_id in values.before(node_id):
            if other_id not in memo:
                with suppress(PayloadError):  # maybe it is of another node; if not, it fails again where it is needed
                    memo[other_id] = decode_value(values.payload(other_id), resolve, other_id, store)

    return resolve
