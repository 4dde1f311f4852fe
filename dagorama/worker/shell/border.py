"""The worker's border: translates what the broker says to messages for the kernel, and introduces the worker."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic
from uuid import UUID

from dagorama.calls.hook_calls import HOOKS_MODULE
from dagorama.calls.ids import new_id
from dagorama.calls.large import asks_for
from dagorama.errors import BrokerRefused, BrokerUnavailable, CodeMismatchException, DagoramaError, PayloadError
from dagorama.logging import get_logger
from dagorama.v1.work_pb2 import FunctionVersion, Hello, Lease, Refusal, WorkResponse
from dagorama.worker.kernel import messages as m
from dagorama.worker.kernel.node import Lease as HeldLease
from dagorama.worker.options import WorkerOptions
from dagorama.worker.shell.failures import failure_of, refusal_of
from dagorama.worker.shell.held import Function, Held, Report, ValueTable
from dagorama.worker.shell.shell import Shell
from dagorama.worker.shell.stream import Stream
from dagorama.worker.shell.versions import VersionCheck


def worker_name() -> str:
    """Return the name of this worker: that of host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Border:
    """Speaks for one worker. Used by the thread that connects and receives."""

    def __init__(
        self,
        options: WorkerOptions,
        *,
        versions: VersionCheck,
        shell: Shell,
        now: Callable[[], float] = monotonic,
        name: str = "",
        put_again: Callable[[Sequence[bytes]], None] | None = None,
    ) -> None:
        """Begin without a stream. `now` is the shell's clock; the name is that of host and process, unless given.

        `put_again` stores values anew, by their digests, that the broker's store has lost.
        """
        self._put_again = put_again
        #: Values that the broker lacks, by the tokens of reports that refer to them and are not acknowledged yet.
        self._missing: dict[int, list[bytes]] = {}
        self._now = now
        self._options = options
        self._versions = versions
        self._shell = shell
        self._id = options.worker_id or new_id()
        self._name = name or worker_name()

    def hello(self) -> Hello:
        """Return what a stream begins with now."""
        options = self._options
        taken = self._versions.taken.copy()
        return Hello(
            worker_id=self._id,
            name=self._name,
            include_queues=options.include_queues,
            exclude_queues=options.exclude_queues,
            tolerations=options.tolerations,
            modules=(*options.imports, HOOKS_MODULE) if options.imports else (),
            function_names=taken.keys(),
            code_versions=taken.values(),
            slots=options.concurrency,
            held=_leases(self._shell.held(), self._now()),
            exit_when_drained=options.exit_when_drained,
            exit_when_mismatched=not options.catch_exceptions,
            reads_references=True,
        )

    def receive(self, stream: Stream, response: WorkResponse) -> None:
        """Tell the kernel what a response says, part by part."""
        messages: list[m.Message] = []
        if response.refusals:
            # A report that was refused for want of values is acknowledged like the others, now or later.
            self._missing.update((one.presented, list(one.missing)) for one in response.refusals if one.missing)
            self._log_refusals(response.refusals)
        if response.acknowledged:
            acknowledged = list(stream.acknowledge(response.acknowledged))
            if self._missing:
                acknowledged = self._keep_incomplete(stream, acknowledged)
            messages.append(m.Acknowledged(acknowledged))
        if response.HasField("welcome"):
            stream.welcome(response.welcome.lease_duration_s)
            leases = response.welcome.leases
            messages.append(m.Welcomed([HeldLease(lease.instance_id, lease.node_id, lease.token) for lease in leases]))
        if response.revocations:
            revoked = [HeldLease(b"", lease.node_id, lease.token) for lease in response.revocations]
            messages.append(m.Revoked(revoked))
        if response.recalls:
            messages.append(m.Recalled([lease.token for lease in response.recalls]))
        if response.HasField("grants"):
            messages.append(m.Granted(_granted(response, self._now())))
        self._shell.post(*messages)
        if response.drain:
            self._shell.end_on_request()
        if response.drained:
            if response.HasField("mismatch") and not self._options.catch_exceptions:
                self._shell.end_with(self._mismatch(response.mismatch))
            self._shell.drain()

    def _keep_incomplete(self, stream: Stream, nodes: list[Held]) -> list[Held]:
        """Have reports be sent again that refer to values which the broker lacks; return the other nodes."""
        others = []
        for held in nodes:
            missing = self._missing.pop(held.token, None)
            if missing is None:
                others.append(held)
            else:
                # Uploads take as long as they take, and the broker is listened to meanwhile.
                self._shell.beside(partial(_report_again, stream, held, missing, self._put_again))
        return others

    def _log_refusals(self, refusals: Iterable[Refusal]) -> None:
        for refusal in refusals:
            if not refusal.missing:
                node_id = UUID(bytes=refusal.node_id)
                self._shell.log.warn("the report of node %s was refused: %s", node_id, refusal.reason)

    def _mismatch(self, left: FunctionVersion) -> DagoramaError:
        """Describe that nothing is left but nodes of another version, or of what this worker lacks."""
        if left.name in self._versions.lacking:
            return self._versions.lacking[left.name]
        here = self._versions.taken.get(left.name, "another")
        return CodeMismatchException(function=left.name, node_version=left.code_version, worker_version=here)


def _report_again(
    stream: Stream, held: Held, digests: Sequence[bytes], put_again: Callable[[Sequence[bytes]], None] | None
) -> None:
    """Store values anew that the broker has lost, and send a report again; without them it is that of a failure.

    Where the stream has ended meanwhile, the next one begins with this report.
    """
    report = held.report
    assert report is not None
    try:
        if put_again is None:
            raise PayloadError(what="the report", problem="the broker lacks values", way_out="Run the node again.")
        with asks_for(held.node_id):
            put_again(digests)
    except BrokerUnavailable as error:
        # The work is done, and nobody is to blame for that: the next broker is told of it, and asks for them again.
        get_logger().warning("the report of node %s waits for its values: %s", UUID(bytes=held.node_id), error)
    except DagoramaError as error:
        if isinstance(error, BrokerRefused) and error.code == "UNAVAILABLE":
            # So it is while the broker's store does not answer. The broker asks for them again until it does.
            get_logger().warning("the report of node %s waits for its values: %s", UUID(bytes=held.node_id), error)
        else:
            held.report = Report(report.duration_us, failure=refusal_of(error), ended_at=report.ended_at)
    except Exception as error:  # without a report the node would run for ever
        held.report = Report(report.duration_us, failure=failure_of(error), ended_at=report.ended_at)
    stream.send([held])


def _leases(nodes: Iterable[Held], now: float) -> list[Lease]:
    return [
        Lease(
            node_id=held.node_id,
            token=held.token,
            instance_id=held.instance_id,
            held_s=now - held.granted_at,
        )
        for held in nodes
    ]


def _granted(response: WorkResponse, now: float) -> list[Held]:
    # Columns as lists: a loop over the field itself ends with an error inside of protobuf, which takes long.
    functions = [
        Function(
            spec.name,
            spec.definition_arguments,
            spec.timeout_s,
            spec.code_version,
            spec.release,
            spec.at_most_once,
        )
        for spec in response.functions[:]
    ]
    values = ValueTable(response.values, response.value_attempts) if response.HasField("values") else None
    grants = response.grants
    granted = [
        Held(node_id, token, instance_id, functions[function], arguments, attempt, values, now)
        for node_id, token, instance_id, function, arguments, attempt in zip(
            grants.node_ids[:],
            grants.tokens[:],
            grants.instance_ids[:],
            grants.functions[:],
            grants.arguments[:],
            grants.attempts[:],
            strict=True,
        )
    ]
    if response.traces:
        traces = {trace.instance_id: trace.traceparent for trace in response.traces}
        for held in granted:
            held.traceparent = traces.get(held.instance_id, "")
    return granted
