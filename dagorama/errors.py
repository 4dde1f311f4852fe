"""The errors that dagorama raises on its own account. Each error carries its evidence as fields.

    DagoramaError
    |-- PayloadError                      a value cannot be encoded or decoded
    |-- PromiseMisuse      (TypeError)    a promise was used as if it were its value
    |-- NotAwaited         (RuntimeError)   the call of an asynchronous function was not awaited in its node
    |-- LimitKeyError      (ValueError)   a call has no key for a limit of its function
    |-- UnknownFunction    (ValueError)   a name does not lead to a decorated function here
    |-- CodeMismatchException             a node was made with another version of its function than there is here
    |-- BrokerUnavailable  (ConnectionError)   no broker answers
    |-- BrokerRefused                     the broker says no, and why
    |   |-- UnknownId      (LookupError)    it knows of no such instance or node
    |   |   `-- InstancePruned              it has removed that instance since it had ended
    |   `-- CursorExpired  (LookupError)    what came after a cursor is not to be had any more
    |-- KeyConflict        (ValueError)   an instance was started under the key with something else
    |-- NodeFailed                        the value will never come: its function failed, or one that it depends on
    |-- InstanceFailed                    the instance has ended with nodes that failed; its value may be there
    |-- InstanceCancelled                 the value will never come: somebody stopped the work
    |-- NodeStopped                       the running node is to stop: its result would be refused
    |-- MainGuardMissing   (RuntimeError) a program would start all of it again in each process that it starts
    |-- WorkersCannotStart (RuntimeError) none of the workers that were launched can start
    |-- OutOfReach         (ValueError)   no worker process can import the definition
    |-- NotInNode          (RuntimeError) `context()` was asked for where no node runs
    |-- CalledElsewhere    (RuntimeError) a node's call was made where its node does not run
    |-- ResultTimeout      (TimeoutError) the value has not come yet
    `-- Stuck                             the value cannot come: nothing is left to run (in-process broker only)

Wrong arguments of a decorated call are plain `TypeError`s, and a call on the wrong kind of object is a `ValueError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from dagorama.why import Why

#: So many of the nodes that failed are named in a message.
NAMED_MAX = 5
#: So the types of errors begin that tasks of workflows fail with: the message says all, and names the task or the file.
WORKFLOW_ERRORS = "dagorama.workflows."


class DagoramaError(Exception):
    """The base of all errors that dagorama raises on its own account."""

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the fields: an error may cross processes as the failure of a node."""
        return _restore, (type(self), self.args, self.__dict__.copy())


def _restore(kind: type[DagoramaError], args: tuple[object, ...], fields: dict[str, object]) -> DagoramaError:
    """Make an error again from what `__reduce__` kept, without building its message anew."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class PayloadError(DagoramaError):
    """A value cannot travel: it does not encode here, or does not decode there."""

    def __init__(self, *, what: str, problem: str, way_out: str, lacks: str = "", is_everywhere: bool = False) -> None:
        """Take the name of the value, `what` ("argument 'x' of shop:Task.load"), and the `problem` with it.

        `lacks` names what another process may well have: a class that cannot be imported here, as "module:Class". A
        problem that `is_everywhere` is the same in each process that decodes the value, however often.
        """
        self.what = what
        self.problem = problem
        self.way_out = way_out
        self.lacks = lacks
        self.is_everywhere = is_everywhere
        super().__init__(f"{what}: {problem}. {way_out}")


class PromiseMisuse(DagoramaError, TypeError):
    """A promise was used as if it were its value, which is not known yet."""

    def __init__(self, *, promise: str, use: str, way_out: str) -> None:
        """`promise` is the promise's `repr`, `use` what was tried with it."""
        self.promise = promise
        self.use = use
        self.way_out = way_out
        super().__init__(f"{use} needs a value, but {promise} is only the promise of one. {way_out}")


class NotAwaited(DagoramaError, RuntimeError):
    """A node has ended that called asynchronous functions and did not await the calls, so that they do not count."""

    def __init__(self, *, calls: tuple[str, ...]) -> None:
        """`calls` names the functions, as "Class.method", in the order of the calls."""
        self.calls = calls
        names = ", ".join(dict.fromkeys(calls))
        were = "was" if len(calls) == 1 else f"({len(calls)} calls) were"
        super().__init__(
            f"{names} {were} called and not awaited before the function ended, so the call would be lost. Write "
            "`await` before it, or await what it was given to, such as a task or asyncio.gather(); a plain function "
            "can make it with asyncio.run()"
        )


class LimitKeyError(DagoramaError, ValueError):
    """A call has no key for a limit of its function, so nobody could say how many of its kind may run."""

    def __init__(self, *, function: str, limit: str, problem: str, way_out: str) -> None:
        """`function` is "module:Class.method", `limit` names the limit as "Limit(key)"."""
        self.function = function
        self.limit = limit
        self.problem = problem
        self.way_out = way_out
        super().__init__(f"a call of {function} has no key for {limit}: {problem}. {way_out}")


class UnknownFunction(DagoramaError, ValueError):
    """A name does not lead to a decorated method of a DAGDefinition in this process."""

    def __init__(self, *, name: str, problem: str, way_out: str) -> None:
        """`name` is "module:Qualified.name"."""
        self.name = name
        self.problem = problem
        self.way_out = way_out
        super().__init__(f"{name!r} cannot be run here: {problem}. {way_out}")


class CodeMismatchException(DagoramaError):
    """A node was made with a version of its function that this worker doesn't have."""

    def __init__(self, *, function: str, node_version: str, worker_version: str) -> None:
        """`function` is "module:Qualified.name"; the versions come from `calculate_function_hash`."""
        self.function = function
        self.node_version = node_version
        self.worker_version = worker_version
        super().__init__(
            f"{function}: the node was made with version {node_version} of the code, and this worker has version "
            f"{worker_version}. Start a worker with the node's version, cancel the instance, or have it run all the "
            'same: with dagorama(..., code_mismatch="warn") there, or with `worker --code-mismatch warn`'
        )


class BrokerUnavailable(DagoramaError, ConnectionError):
    """No broker answers at the address, or the one that did has gone away."""

    def __init__(self, *, host: str, port: int, waited_s: float, detail: str, was_there: bool = False) -> None:
        """`waited_s` is how long it was tried; `detail` is what the connection said last.

        `was_there` tells that the broker had answered this process before.
        """
        self.host = host
        self.port = port
        self.waited_s = waited_s
        self.detail = detail
        self.was_there = was_there
        tried = f"tried for {waited_s:.1f} s; " if waited_s else ""
        if was_there:
            super().__init__(
                f"the broker at {host}:{port} has gone away ({tried}{detail}): start it again with the storage that it "
                "had, and what it had acknowledged goes on; DAGORAMA_RECONNECT_S says how long it is waited for"
            )
        else:
            super().__init__(
                f"no broker answers at {host}:{port} ({tried}{detail}): "
                "start one with `dagorama broker`, or set DAGORAMA_HOST and DAGORAMA_PORT"
            )


class BrokerRefused(DagoramaError):
    """The broker understood the request and says no: an unknown id, an id used twice, a cycle."""

    def __init__(self, *, request: str, code: str, detail: str, repeated: bool = False) -> None:
        """`code` is the name of the gRPC status, such as "NOT_FOUND".

        `repeated` tells that an earlier attempt at this request got no answer.
        """
        self.request = request
        self.code = code
        self.detail = detail
        self.repeated = repeated
        super().__init__(f"the broker refused {request} ({code}): {detail}")


class UnknownId(BrokerRefused, LookupError):
    """The broker knows of no instance or node with this id, or does not know of it any more."""


class InstancePruned(UnknownId):
    """The instance had ended and was removed since: its time was over, or somebody wanted that."""

    def __init__(
        self,
        *,
        request: str,
        code: str,
        detail: str,
        repeated: bool = False,
        instance_id: UUID,
        definition: str,
        state: str,
        pruned_at: datetime,
    ) -> None:
        """`state` is how it had ended."""
        super().__init__(request=request, code=code, detail=detail, repeated=repeated)
        self.instance_id = instance_id
        self.definition = definition
        self.state = state
        self.pruned_at = pruned_at


class CursorExpired(BrokerRefused, LookupError):
    """The events after this cursor are gone, or another broker, or the same before its restart, gave the cursor."""


#: The errors of refusals that a program may want to tell apart, by the name of the gRPC status.
_REFUSALS: dict[str, type[BrokerRefused]] = {"NOT_FOUND": UnknownId, "OUT_OF_RANGE": CursorExpired}


def refusal(*, request: str, code: str, detail: str, repeated: bool = False) -> BrokerRefused:
    """Make the error of a broker that says no, of the type for its code."""
    kind = _REFUSALS.get(code, BrokerRefused)
    return kind(request=request, code=code, detail=detail, repeated=repeated)


class KeyConflict(DagoramaError, ValueError):
    """An instance was started under this key before, and what was to be started now is another thing."""

    def __init__(self, *, key: str, instance_id: UUID, differs: tuple[str, ...]) -> None:
        """`instance_id` is the instance that has the key.

        `differs` names what is not the same: "definition", "function", "definition arguments", "arguments".
        """
        self.key = key
        self.instance_id = instance_id
        self.differs = differs
        super().__init__(
            f"instance {instance_id} was started under key {key!r}, and this start differs from that in its "
            f"{' and '.join(differs)}; start what is another thing under a key of its own"
        )


class NodeFailed(DagoramaError):
    """A node gave no value: it failed for good itself, or a node that it depends on did.

    `cause_id`, `function`, `attempts`, `exception_type`, `exception_message` and `remote_traceback` belong to the node
    that failed itself; `node_id` is the one that was waited for. `__cause__` is the original exception where it could
    be brought here.
    """

    def __init__(
        self,
        *,
        instance_id: UUID,
        node_id: UUID,
        cause_id: UUID,
        function: str,
        attempts: int,
        exception_type: str,
        exception_message: str,
        remote_traceback: str,
    ) -> None:
        """Take the evidence; `attempts` counts the attempts of the node that failed itself."""
        self.instance_id = instance_id
        self.node_id = node_id
        self.cause_id = cause_id
        self.function = function
        self.attempts = attempts
        self.exception_type = exception_type
        self.exception_message = exception_message
        self.remote_traceback = remote_traceback
        says_all = exception_type.startswith(WORKFLOW_ERRORS) and "Traceback" not in remote_traceback
        remote = f"\n\nOn the worker:\n{remote_traceback.rstrip()}" if remote_traceback and not says_all else ""
        super().__init__(f"{self.in_short()}{remote}")

    def in_short(self) -> str:
        """Return the message without the worker's traceback."""
        times = "attempt" if self.attempts == 1 else "attempts"
        if self.exception_type.startswith(WORKFLOW_ERRORS):  # it names the task
            return f"{self.exception_message} ({self.attempts} {times})"
        failed = f"{self.function} (node {self.cause_id}) failed after {self.attempts} {times}"
        if self.cause_id != self.node_id:
            failed = f"node {self.node_id} has no value, because it depends on one that failed: {failed}"
        said = f": {self.exception_message}" if self.exception_message else ""
        return f"{failed}: {self.exception_type}{said}"


class InstanceFailed(DagoramaError):
    """The instance has ended and is failed: nodes of it failed, whether its value depends on them or not."""

    def __init__(self, *, instance_id: UUID, failures: Sequence[NodeFailed], failed_count: int) -> None:
        """`failures` are the first of the nodes that failed themselves; `failed_count` is how many there are."""
        self.instance_id = instance_id
        self.failures = tuple(failures)
        self.failed_count = failed_count
        nodes = "1 of its nodes" if failed_count == 1 else f"{failed_count} of its nodes"
        named = [f"\n  {failure.in_short()}" for failure in self.failures[:NAMED_MAX]]
        if failed_count > len(named):
            named.append(f"\n  and {failed_count - len(named)} more")
        #: What has failed, without what a program can do about it.
        self.told = f"instance {instance_id} has ended, and {nodes} failed:{''.join(named)}"
        super().__init__(
            f"{self.told}\n`dagorama show {instance_id}` has the tracebacks. instance.retry() runs again what failed; "
            "instance.result() gives the entrypoint's value where that does not depend on it"
        )


class InstanceCancelled(DagoramaError):
    """The instance was stopped on request, so missing values will never come."""

    def __init__(self, *, instance_id: UUID, node_id: UUID | None) -> None:
        """`node_id` is the node that was waited for, None where it was the instance."""
        self.instance_id = instance_id
        self.node_id = node_id
        before = "" if node_id is None else f" before node {node_id} had a value"
        super().__init__(f"instance {instance_id} was cancelled{before}")


class NodeStopped(DagoramaError):
    """The node that runs is to stop: it was cancelled, took too long, or was given to another worker."""

    def __init__(self, *, instance_id: UUID, node_id: UUID) -> None:
        """`node_id` is the node that runs."""
        self.instance_id = instance_id
        self.node_id = node_id
        super().__init__(
            f"node {node_id} of instance {instance_id} is to stop: its lease has ended (it was cancelled, took longer "
            "than its timeout, or was given to another worker), so nobody takes what it returns; clean up and end"
        )


class NotInNode(DagoramaError, RuntimeError):
    """No node runs here, so there is no context."""

    def __init__(self) -> None:
        """Say where there is one."""
        super().__init__(
            "no node runs here: context() works in a decorated function that a worker runs, and in coroutines and "
            "threads that it starts; run those threads in a copy of its context, as asyncio.to_thread does"
        )


class MainGuardMissing(DagoramaError, RuntimeError):
    """A process that only imports the program, for what it defines, is about to do what the program does."""

    def __init__(self, *, what: str) -> None:
        """`what` is about to be done, such as "launch_workers() is called"."""
        self.what = what
        super().__init__(
            f"{what} while this process only imports the program, as each process does that the program starts; "
            'put what the program does below `if __name__ == "__main__":`'
        )


class WorkersCannotStart(DagoramaError, RuntimeError):
    """None of the worker processes that were launched can start, so nobody would run anything."""

    def __init__(self, *, reason: str) -> None:
        """`reason` is what the workers said, or how they ended."""
        self.reason = reason
        super().__init__(f"no worker can start: {reason}")


class OutOfReach(DagoramaError, ValueError):
    """The definition is written where no worker process can import it from."""

    def __init__(self, *, definition: str) -> None:
        """`definition` is "module:Class"."""
        self.definition = definition
        super().__init__(
            f"{definition} is written in a notebook, in `python -c`, on standard input or in a __main__.py, or another "
            "program such as cProfile runs it, and worker processes cannot import it from there. Move it into a "
            "module, a file beside this program, and import it; or run it in this process: inside of "
            "`with dagorama.testing.in_process_broker():`, or with a worker in a thread, "
            "`threading.Thread(target=dagorama.execute_worker, daemon=True).start()`"
        )


class CalledElsewhere(DagoramaError, RuntimeError):
    """A call that belongs to a running node was made in another process, or in a thread that knows of no node."""

    def __init__(self, *, call: str, where: str, way_out: str) -> None:
        """`call` names what was called, `where` the place that it was called in."""
        self.call = call
        self.where = where
        self.way_out = way_out
        super().__init__(
            f"{call} was called in {where}, so the call would not come into being together with the result of the "
            f"node that it belongs to. {way_out}"
        )


class ResultTimeout(DagoramaError, TimeoutError):
    """The value did not come in time. The work goes on, unless it was to be cancelled; it can be waited for again."""

    def __init__(
        self,
        *,
        instance_id: UUID,
        node_id: UUID | None,
        timeout_s: float,
        why: Why | None = None,
        broker_answers: bool = True,
        goes_on: bool = True,
    ) -> None:
        """`node_id` is the node that was waited for, None where it was the instance; `why` says what holds it.

        `why` is None where the broker did not say; `broker_answers` tells whether it answers at all, and `goes_on`
        whether the work was not cancelled.
        """
        self.instance_id = instance_id
        self.node_id = node_id
        self.timeout_s = timeout_s
        self.why = why
        self.broker_answers = broker_answers
        self.goes_on = goes_on
        waited_for = f"node {node_id} of instance {instance_id} had no value"
        if node_id is None:
            waited_for = f"instance {instance_id} had not ended"
        if why is not None:
            holds = f". How it stands:\n{why}"
        elif broker_answers:
            holds = ""
        else:
            holds = "; the broker does not answer now, so what holds it is not known"
        state = "it goes on, and can be waited for again" if goes_on else "it was cancelled then"
        super().__init__(f"{waited_for} within {timeout_s:g} s; {state}{holds}")


class Stuck(DagoramaError):
    """The value cannot come: nothing is left that could run. A broker that has all its workers in itself knows that."""

    def __init__(self, *, instance_id: UUID, node_id: UUID | None, why: str) -> None:
        """`node_id` is the node that was waited for, None where it was the instance; `why` says what holds it."""
        self.instance_id = instance_id
        self.node_id = node_id
        self.why = why
        super().__init__(f"waiting would never end, as nothing is left that could run:\n{why}")
