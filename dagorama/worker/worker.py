"""The worker: leases, the connection and its loss, recalls, draining."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from operator import itemgetter
from time import monotonic, sleep
from uuid import UUID

import grpc

from dagorama.errors import BrokerUnavailable, CodeMismatchException
from dagorama.ids import new_id
from dagorama.logging import get_log_level, get_logger
from dagorama.v1.work_pb2 import FunctionVersion, Hello, Lease, Rejection, WorkResponse
from dagorama.worker.alarm import Alarm
from dagorama.worker.execution import Executor
from dagorama.worker.held import Function, Held, ValueTable
from dagorama.worker.options import WorkerOptions, cancel_grace_s, default_code_mismatch
from dagorama.worker.slots import Slots
from dagorama.worker.stream import Signal, Stream
from dagorama.worker.versions import VersionCheck

#: Between attempts to connect: full jitter up to a bound that doubles from the first to the second. A restarted broker
#: waits 5 s for the workers that it had, so a worker must be well below that.
BACKOFF_MIN_S = 0.05
BACKOFF_MAX_S = 1.0
#: How often a worker says that the broker still does not answer.
COMPLAINT_INTERVAL_S = 30.0

#: Exit statuses of a process that ends because a node does not: its time was over; it was cancelled.
EXIT_OVERRUN = 5
EXIT_CANCELLED = 6
#: So long it may take then to bring out the reports that are made, and what was printed.
LEAVE_S = 0.3


class Worker:
    """One worker process's side of the contract: runs what it is granted, and reports each node exactly once.

    `start` it, `wait` for it; `drain` lets it end.
    """

    def __init__(
        self,
        options: WorkerOptions,
        *,
        host: str,
        port: int,
        connection_changed: Callable[[bool, str], None] | None = None,
        alarm: Alarm | None = None,
    ) -> None:
        """Imports the modules that `options` names; what an import raises passes through.

        `connection_changed(is_connected, text)` is told what a person may want to know; by default it is logged.
        `alarm` says that the process is the worker's own: it ends when a node can't be stopped in any other way, with
        `exit_status` where there is time for that. Without it such a node goes on, and nobody waits for it.
        """
        self._options = options
        self._host = host
        self._port = port
        self._connection_changed = connection_changed or _log_connection
        self._id = new_id()
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        get_log_level()  # a wrong one is better told now than by the first warning
        for module in options.imports:
            import_module(module)
        #: Has all functions of those modules in it: computing their versions takes a few milliseconds for each file.
        self._versions = VersionCheck(options.code_mismatch or default_code_mismatch(), options.imports)
        executor = Executor(
            ended=self._ended,
            versions=self._versions,
            rejected=self._reject,
            raised=None if options.catch_exceptions else self._raised,
            progressed=self._progressed,
            only_modules=options.imports,
        )
        self._cancel_grace_s = cancel_grace_s()
        self._slots = Slots(
            options.concurrency,
            executor.run,
            is_known_async=executor.is_known_async,
            stopped=self._stopped_running,
            alarm=alarm,
            cancel_grace_s=self._cancel_grace_s,
        )
        self._owns_process = alarm is not None
        #: With what the process is to end: 0 unless a node makes it end.
        self.exit_status = 0
        #: Every node from its grant until its report is acknowledged or its lease is lost.
        self._leases: dict[bytes, Held] = {}
        #: Of those, the ones that were pending when the connection broke: not started before the broker says so.
        self._parked: list[Held] = []
        self._stream: Stream | None = None
        self._streams = 0
        self._draining = False
        #: Guards the rare changes: connection lost, connected, draining. Not taken for a node.
        self._lock = threading.RLock()
        self._interrupt = threading.Event()  #: ends a backoff
        self._stopped = False
        self._was_welcome = False
        self._is_connected: bool | None = None  #: as far as it was told; None: nothing was
        self._last_detail = "it did not answer"
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._done_callbacks: list[Callable[[], object]] = []

    # -- for those who run it -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connects and works, in threads of its own."""
        threading.Thread(target=self._run, name="dagorama-worker", daemon=True).start()
        if self._options.connect_timeout_s is not None:
            timer = threading.Timer(self._options.connect_timeout_s, self._give_up)
            timer.daemon = True
            timer.start()

    def wait(self) -> None:
        """Blocks until the worker has ended. Raises `BrokerUnavailable`, or what a node raised (`catch_exceptions`)."""
        self.wait_until_ended()
        if self._error is not None:
            raise self._error

    def wait_until_ended(self) -> None:
        """Blocks until the worker has ended, well or not."""
        self._done.wait()

    def call_when_done(self, callback: Callable[[], object]) -> None:
        """Calls back, in some thread, when `wait` would not block any more."""
        with self._lock:
            if not self._done.is_set():
                self._done_callbacks.append(callback)
                return
        callback()

    def drain(self) -> None:
        """Takes no more nodes, hands back what has not been started, and ends when the rest is acknowledged."""
        with self._lock:
            first, self._draining = not self._draining, True
            unstarted = [*self._slots.take_back_all(), *self._parked]
            self._parked = []
            if first and self._stream is not None:
                self._stream.send(Signal.DRAIN)
            self._hand_back(unstarted)
        self._interrupt.set()
        self._end_if_drained()

    def stop(self) -> None:
        """Ends at once. What it holds is lost to it; the broker gives it to others."""
        self._stopped = True
        with self._lock:
            if self._stream is not None:
                self._stream.cancel()
        self._interrupt.set()

    # -- connections --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self._error = error
        finally:
            self._slots.close()
            with self._lock:
                self._done.set()
            for callback in self._done_callbacks:
                callback()

    def _serve(self) -> None:
        """Keeps a stream open until the worker is drained."""
        bound_s = BACKOFF_MIN_S
        lost_at = monotonic()
        complain_at = lost_at
        while not self._is_over():
            started_at = monotonic()
            was_welcome = self._serve_stream()
            if self._is_over():
                return
            now = monotonic()
            if was_welcome:
                lost_at = complain_at = now
                if now - started_at > BACKOFF_MAX_S:  # else the broker has something against this worker
                    bound_s = BACKOFF_MIN_S
            elif now >= complain_at:
                # Not said when a connection breaks and the next attempt succeeds.
                self._connection_changed(False, self._complaint(now - lost_at))
                self._is_connected = False
                complain_at = now + COMPLAINT_INTERVAL_S
            self._interrupt.wait(random.uniform(0, bound_s))
            self._interrupt.clear()
            bound_s = min(2 * bound_s, BACKOFF_MAX_S)

    def _serve_stream(self) -> bool:
        """Serves one stream until it ends; tells whether the broker had answered."""
        self._streams += 1
        stream = Stream(host=self._host, port=self._port, number=self._streams, hello=self._hello())
        with self._lock:
            self._stream = stream
            if self._stopped:
                stream.cancel()
        self._end_if_drained()
        try:
            for response in stream.responses():
                self._receive(stream, response)
            self._last_detail = "it ended the connection"
        except grpc.RpcError as error:
            self._last_detail = _describe(error)
        finally:
            with self._lock:
                self._stream = None
                # Nothing is started on a lease that may be gone.
                self._parked += self._slots.take_back_all()  # to those of a stream that was never welcome
            stream.close()
        return stream.was_welcome

    def _hello(self) -> Hello:
        options = self._options
        taken = self._versions.taken.copy()
        return Hello(
            worker_id=self._id,
            name=self._name,
            include_queues=options.include_queues,
            exclude_queues=options.exclude_queues,
            tolerations=options.tolerations,
            modules=options.imports,
            function_names=taken.keys(),
            code_versions=taken.values(),
            slots=options.concurrency,
            held=[
                Lease(node_id=held.node_id, token=held.token, instance_id=held.instance_id)
                for held in list(self._leases.values())
            ],
            exit_when_drained=options.exit_when_drained,
            exit_when_mismatched=not options.catch_exceptions,
        )

    def _give_up(self) -> None:
        with self._lock:
            if self._was_welcome or self._done.is_set():
                return
            self._error = BrokerUnavailable(
                host=self._host,
                port=self._port,
                waited_s=self._options.connect_timeout_s or 0.0,
                detail=self._last_detail,
            )
        self.stop()

    def _is_over(self) -> bool:
        return self._stopped or (self._draining and not self._leases)

    def _end_if_drained(self) -> None:
        """Ends the stream when nothing is left to report."""
        if not self._draining or self._leases:
            return
        with self._lock:
            if self._stream is not None:
                if self._stream.was_welcome:
                    self._stream.send(Signal.END)
                else:
                    self._stream.cancel()

    def _complaint(self, since_s: float) -> str:
        if not self._was_welcome:
            return f"no broker answers at {self._host}:{self._port} ({self._last_detail}); still trying"
        return (
            f"the connection to the broker at {self._host}:{self._port} is lost for {since_s:.1f} s "
            f"({self._last_detail}); still trying"
        )

    # -- what the broker says: in the thread that receives -------------------------------------------------------------

    def _receive(self, stream: Stream, response: WorkResponse) -> None:
        if response.acknowledged:
            self._acknowledge(stream, response.acknowledged)
        if response.refusals:
            for refusal in response.refusals:
                get_logger().warning(
                    "the report of node %s was refused: %s", UUID(bytes=refusal.node_id), refusal.reason
                )
        if response.HasField("welcome"):
            self._welcome(stream, response)
        if response.revocations:
            self._revoke(response.revocations)
        if response.recalls:
            self._recall(response.recalls)
        if response.HasField("grants"):
            self._take(response)
        if response.drained:
            if response.HasField("mismatch") and not self._options.catch_exceptions:
                self._error = self._error or self._mismatch(response.mismatch)
            self.drain()

    def _mismatch(self, left: FunctionVersion) -> CodeMismatchException:
        """Describes that nothing but nodes of another version is left."""
        here = self._versions.taken.get(left.name, "another")
        return CodeMismatchException(function=left.name, node_version=left.code_version, worker_version=here)

    def _acknowledge(self, stream: Stream, sequence: int) -> None:
        leases = self._leases
        for held in stream.acknowledge(sequence):
            if leases.get(held.node_id) is held:
                del leases[held.node_id]
        self._end_if_drained()

    def _welcome(self, stream: Stream, response: WorkResponse) -> None:
        """Goes on with what the broker leaves to this worker, and drops the rest."""
        tokens = {lease.node_id: lease.token for lease in response.welcome.leases}
        with self._lock:
            self._was_welcome = True
            kept = []
            lost = []
            for held in list(self._leases.values()):
                if held.node_id in tokens:
                    held.renew(tokens[held.node_id])
                    kept.append(held)
                else:
                    lost.append(held)
            self._slots.renewed()
            self._drop(lost)
            parked, self._parked = self._parked, []
            stream.welcome(response.welcome.lease_duration_s)
            if self._draining:
                stream.send(Signal.DRAIN)
            # A report that is made just now may come from its slot as well: the stream sends it once.
            for held in kept:
                if held.report is not None:
                    stream.send(held)
                elif held.progress is not None:  # the broker may have forgotten it
                    stream.tell_progress(held)
            # What went back since the hello, because the worker drains, is leased to it again.
            for lease in response.welcome.leases:
                if lease.node_id not in self._leases:
                    stream.send(Lease(node_id=lease.node_id, token=lease.token))
            self._start([held for held in parked if not held.dropped])
        self._tell_connected()
        self._end_if_drained()

    def _tell_connected(self) -> None:
        """Tells that the broker answers, where that is news."""
        if self._is_connected is None and self._connection_changed is not _log_connection:
            self._connection_changed(True, f"connected to the broker at {self._host}:{self._port}")
        elif self._is_connected is False:
            self._connection_changed(True, f"the broker at {self._host}:{self._port} answers again")
        self._is_connected = True

    def _take(self, response: WorkResponse) -> None:
        """Takes granted nodes in."""
        functions = [
            Function(spec.name, spec.definition_arguments, spec.timeout_s, spec.code_version)
            for spec in response.functions
        ]
        values = ValueTable(response.values) if response.HasField("values") else None
        grants = response.grants
        granted = [
            Held(node_id, token, instance_id, functions[function], arguments, attempt, values)
            for node_id, token, instance_id, function, arguments, attempt in zip(
                grants.node_ids,
                grants.tokens,
                grants.instance_ids,
                grants.functions,
                grants.arguments,
                grants.attempts,
                strict=True,
            )
        ]
        self._leases.update((held.node_id, held) for held in granted)
        self._start(granted)

    def _start(self, nodes: list[Held]) -> None:
        """Lets the slots have nodes; they go back if the worker drains, also where it begins to meanwhile."""
        if not self._draining:
            self._slots.add(nodes)
            if self._draining:
                self._hand_back(self._slots.take_back_all())
        else:
            self._hand_back(nodes)

    def _recall(self, recalls: Iterable[Lease]) -> None:
        """Hands back what the broker asks for, as far as it has not been started."""
        tokens = {lease.node_id: lease.token for lease in recalls}
        known = [node_id for node_id, token in tokens.items() if self._holds(node_id, token)]
        self._hand_back(self._slots.take_back(known))

    def _revoke(self, revocations: Iterable[Lease]) -> None:
        """Stops nodes whose leases have ended."""
        revoked = []
        for lease in revocations:
            if self._holds(lease.node_id, lease.token):
                held = self._leases[lease.node_id]
                held.revoked = True
                revoked.append(held)
        self._slots.take_back(held.node_id for held in revoked)
        self._drop(revoked)
        # What runs is handed back when it has stopped.
        running = {held.token for held in revoked if held.running}
        for lease in revocations:
            if lease.token not in running and self._stream is not None:
                self._stream.send(Lease(node_id=lease.node_id, token=lease.token))
        self._end_if_drained()

    def _drop(self, nodes: Sequence[Held]) -> None:
        """Lets go of nodes whose leases are lost, and has those that run stopped."""
        for held in nodes:
            held.dropped = True
            self._leases.pop(held.node_id, None)
        running = [held for held in nodes if held.running]
        for held in running:
            self._slots.cancel(held)
        if running:
            threading.Thread(target=self._see_off, args=(running,), name="dagorama-stop", daemon=True).start()

    def _see_off(self, nodes: Iterable[Held]) -> None:
        """Waits until nodes that are to stop have stopped; ends what goes on for too long."""
        now = monotonic()
        for at, held in sorted(((self._patience_until(held, now), held) for held in nodes), key=itemgetter(0)):
            sleep(max(0.0, at - monotonic()))
            if held.running:
                self._end_overrunning(held)

    def _patience_until(self, held: Held, now: float) -> float:
        """Tells when a node that is to stop has to have stopped."""
        at = now + self._cancel_grace_s
        # A task is told to stop by the cancellation; it would be news to a function in a thread that its time is over.
        return at if held.deadline is None or not self._slots.is_in_thread(held) else min(at, held.deadline)

    def _end_overrunning(self, held: Held) -> None:
        """Ends the process if it is the worker's own; else lets the node go on without a slot."""
        is_late = held.deadline is not None and held.deadline <= monotonic()
        problem = "runs on after its timeout" if is_late else "runs on after its lease had ended"
        node = f"node {UUID(bytes=held.node_id)} ({held.function.name}) {problem}"
        if self._owns_process:
            get_logger().warning("%s, so its worker process ends", node)
            self._leave(EXIT_OVERRUN if is_late else EXIT_CANCELLED)
        elif self._slots.is_in_thread(held):
            get_logger().warning("%s; the thread that it runs in cannot be ended and is replaced", node)
            self._slots.abandon(held)
        else:
            get_logger().warning("%s; it does not heed that it was cancelled", node)

    def _leave(self, exit_status: int) -> None:
        """Ends the process: what is pending is handed back, reports go out, and what runs is run again elsewhere."""
        self.exit_status = exit_status
        self.drain()
        with self._lock:
            self._stopped = True
            if self._stream is not None:
                self._stream.send(Signal.END)
        self._interrupt.set()
        # The main thread is on its way out, unless something that a node has left behind keeps it.
        sleep(LEAVE_S)
        os._exit(exit_status)

    def _holds(self, node_id: bytes, token: int) -> bool:
        held = self._leases.get(node_id)
        return held is not None and held.token == token

    def _hand_back(self, nodes: Iterable[Held]) -> None:
        stream = self._stream
        for held in nodes:
            self._leases.pop(held.node_id, None)
            if stream is not None:
                stream.send(Lease(node_id=held.node_id, token=held.token))

    # -- what the slots say -------------------------------------------------------------------------------------------

    def _ended(self, held: Held) -> None:
        """Sends a report. Without a connection it waits for the next welcome."""
        if held.revoked:
            return
        if held.dropped:
            get_logger().warning(
                "what node %s (%s) gave is discarded: its lease was lost while it ran, so another worker runs it",
                UUID(bytes=held.node_id),
                held.function.name,
            )
            return
        stream = self._stream
        if stream is not None:
            stream.send(held)

    def _progressed(self, node_id: bytes) -> None:
        """Tells how far a node has got. Without a connection that waits for the next welcome."""
        held, stream = self._leases.get(node_id), self._stream
        if held is not None and stream is not None:
            stream.tell_progress(held)

    def _reject(self, held: Held, code_version: str) -> None:
        """Gives a node back whose function is here in this version, with all of its kind that have not been started."""
        function = held.function
        wanted = (function.name, function.code_version)
        of_its_kind = [
            other.node_id
            for other in list(self._leases.values())
            if (other.function.name, other.function.code_version) == wanted
        ]
        stream = self._stream
        for other in [held, *self._slots.take_back(of_its_kind)]:
            self._leases.pop(other.node_id, None)
            if stream is not None and not other.dropped:
                lease = Lease(node_id=other.node_id, token=other.token)
                stream.send(Rejection(lease=lease, code_version=code_version))
        self._end_if_drained()

    def _stopped_running(self, held: Held) -> None:
        """Tells that the slot of a node that was revoked is free."""
        stream = self._stream
        if stream is not None:
            stream.send(Lease(node_id=held.node_id, token=held.token))

    def _raised(self, error: BaseException) -> None:
        """Ends the worker with what a node raised, once that is reported."""
        self._error = self._error or error
        threading.Thread(target=self.drain, name="dagorama-drain", daemon=True).start()


def _log_connection(is_connected: bool, text: str) -> None:
    get_logger().warning("%s", text)


def _describe(error: grpc.RpcError) -> str:
    """Says in a few words what broke a stream."""
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(error)
