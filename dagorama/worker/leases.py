"""What a worker holds: the nodes that it was granted, what the broker says of them, and what it says of them itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from uuid import UUID

from dagorama.logging import get_logger
from dagorama.v1.work_pb2 import Lease, Rejection, Welcome, WorkResponse
from dagorama.worker.alarm import Alarm
from dagorama.worker.board import Board
from dagorama.worker.execution import Executor
from dagorama.worker.failure_log import FailureLog
from dagorama.worker.held import Function, Held, Rejected, ValueTable
from dagorama.worker.options import WorkerOptions, cancel_grace_s
from dagorama.worker.slots import Slots
from dagorama.worker.stopping import Stopping
from dagorama.worker.stream import Signal, Stream
from dagorama.worker.versions import VersionCheck


class Leases:
    """Every node from its grant until its report is acknowledged or its lease is lost; has them run, and reports them.

    Used by the thread that receives, by the slots, and by whoever drains.
    """

    def __init__(
        self,
        options: WorkerOptions,
        *,
        versions: VersionCheck,
        raised: Callable[[BaseException], None] | None,
        alarm: Alarm | None,
        board: Board | None,
        leave: Callable[[int], None] | None,
    ) -> None:
        """Calls `raised` with what a node raised, before that is reported.

        With `alarm` and `leave`, the process ends where a node can't be stopped in any other way.
        """
        # Whoever is to get the exception itself need not read of it.
        self._failures = FailureLog() if options.log_failures and raised is None else None
        executor = Executor(
            ended=self._ended,
            versions=versions,
            rejected=self._reject,
            raised=raised,
            progressed=self._progressed,
            failed=None if self._failures is None else self._failures.tell,
            only_modules=options.imports,
        )
        grace_s = cancel_grace_s()
        self._slots = Slots(
            options.concurrency,
            executor.run,
            is_known_async=executor.is_known_async,
            stopped=self._stopped_running,
            alarm=alarm,
            board=board,
            cancel_grace_s=grace_s,
        )
        self._stopping = Stopping(self._slots, cancel_grace_s=grace_s, leave=leave)
        #: By fencing token, as in the broker: node ids differ only within an instance.
        self._leases: dict[int, Held] = {}
        #: Of those, the ones that were pending when the connection broke: not started before the broker says so.
        self._parked: list[Held] = []
        self._stream: Stream | None = None
        self._draining = False
        #: Guards the rare changes: connection lost, connected, draining, and what other threads than the one that
        #: receives let go of. Not taken for a node that runs.
        self._lock = threading.RLock()

    # -- the connection, and draining ---------------------------------------------------------------------------------

    def connected(self, stream: Stream) -> None:
        """Reports on this stream from now on, which holds them back until the welcome."""
        with self._lock:
            self._stream = stream

    def disconnected(self) -> None:
        """The stream has ended. Reports wait for the next one."""
        with self._lock:
            self._stream = None
            # Nothing is started on a lease that may be gone.
            self._parked += self._slots.take_back_all()  # to those of a stream that was never welcome

    def cut(self) -> None:
        """Breaks the stream that is open."""
        with self._lock:
            if self._stream is not None:
                self._stream.cancel()

    def end_stream(self) -> None:
        """Ends the stream that is open, once what was sent is out."""
        with self._lock:
            if self._stream is not None:
                self._stream.send(Signal.END)

    def named(self) -> list[Lease]:
        """Returns the leases for a hello."""
        now = monotonic()
        return [
            Lease(
                node_id=held.node_id,
                token=held.token,
                instance_id=held.instance_id,
                held_s=now - held.granted_at,
            )
            for held in list(self._leases.values())
        ]

    def drain(self) -> None:
        """Hands back what has not been started, also what comes yet. `end_if_drained` has to be called then."""
        with self._lock:
            first, self._draining = not self._draining, True
            unstarted = [*self._slots.take_back_all(), *self._parked]
            self._parked = []
            if first and self._stream is not None:
                self._stream.send(Signal.DRAIN)
            self._hand_back(unstarted)

    def is_drained(self) -> bool:
        """Tells whether there is nothing left to report, and nothing comes any more."""
        return self._draining and not self._leases

    def unreported(self) -> list[Held] | None:
        """Returns what a worker that drains and has nothing left to run has not brought out; else None."""
        if not self._draining or any(held.report is None for held in list(self._leases.values())):
            return None
        return list(self._leases.values())

    def end_if_drained(self) -> None:
        """Ends the stream when nothing is left to report."""
        if not self.is_drained():
            return
        with self._lock:
            if self._stream is not None:
                if self._stream.was_welcome:
                    self._stream.send(Signal.END)
                else:
                    self._stream.cancel()

    def not_to_be_cut_off(self) -> Held | None:
        """Returns a node that must not lose its worker now: it would fail, as it may run only once.

        None where there is none, or none that goes on: what blocks the event loop, say, blocks it for good.
        """
        with self._lock:
            once = [held for held in self._leases.values() if held.function.at_most_once]
        return next((held for held in once if held.report is not None or self._slots.goes_on(held)), None)

    def close(self) -> None:
        """Lets the slots end. Nothing may be received any more."""
        self._slots.close()
        if self._failures is not None:
            self._failures.close()

    # -- what the broker says: in the thread that receives -------------------------------------------------------------

    def welcome(self, stream: Stream, welcome: Welcome) -> None:
        """Goes on with what the broker leaves to this worker, and drops the rest."""
        with self._lock:
            kept, lost = self._renew({(lease.instance_id, lease.node_id): lease.token for lease in welcome.leases})
            self._drop(lost)
            parked, self._parked = self._parked, []
            stream.welcome(welcome.lease_duration_s)
            if self._draining:
                stream.send(Signal.DRAIN)
            self._tell_again(stream, kept)
            # What went back since the hello, because the worker drains, is leased to it again.
            for lease in welcome.leases:
                if lease.token not in self._leases:
                    stream.send(Lease(node_id=lease.node_id, token=lease.token))
            self._start([held for held in parked if not held.dropped])

    def take(self, response: WorkResponse) -> None:
        """Takes granted nodes in."""
        functions = [
            Function(
                spec.name,
                spec.definition_arguments,
                spec.timeout_s,
                spec.code_version,
                spec.release,
                spec.at_most_once,
            )
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
        self._leases.update(zip(grants.tokens, granted, strict=True))
        self._start(granted)

    def acknowledge(self, stream: Stream, sequence: int) -> None:
        """Lets go of the nodes whose reports are acknowledged."""
        leases = self._leases
        for held in stream.acknowledge(sequence):
            if leases.get(held.token) is held:
                del leases[held.token]
        self.end_if_drained()

    def recall(self, recalls: Iterable[Lease]) -> None:
        """Hands back what the broker asks for, as far as it has not been started."""
        self._hand_back(self._slots.take_back(lease.token for lease in recalls))

    def revoke(self, revocations: Iterable[Lease]) -> None:
        """Stops nodes whose leases have ended."""
        revoked = [held for lease in revocations if (held := self._leases.get(lease.token)) is not None]
        for held in revoked:
            held.revoked = True
        self._slots.take_back(held.token for held in revoked)
        self._drop(revoked)
        # What runs is handed back when it has stopped.
        running = {held.token for held in revoked if held.running}
        for lease in revocations:
            if lease.token not in running and self._stream is not None:
                self._stream.send(Lease(node_id=lease.node_id, token=lease.token))
        self.end_if_drained()

    def _renew(self, tokens: dict[tuple[bytes, bytes], int]) -> tuple[list[Held], list[Held]]:
        """Puts nodes, named by instance and id, under their new tokens; returns these, and those that have got none.

        The slots go by tokens, too, but have none of them pending: all were parked when the connection broke.
        """
        kept = []
        lost = []
        for held in self._leases.values():  # no other thread changes them without the lock
            token = tokens.get((held.instance_id, held.node_id))
            if token is not None:
                held.renew(token)
                kept.append(held)
            else:
                lost.append(held)
        self._leases = {held.token: held for held in kept}
        return kept, lost

    @staticmethod
    def _tell_again(stream: Stream, kept: Iterable[Held]) -> None:
        """Sends what a stream before this one may not have brought."""
        # A report that is made just now may come from its slot as well: the stream sends it once.
        for held in kept:
            if held.report is not None:
                stream.send(held)
            elif held.progress is not None:  # the broker may have forgotten it
                stream.tell_progress(held)

    def _start(self, nodes: list[Held]) -> None:
        """Lets the slots have nodes; they go back if the worker drains, also where it begins to meanwhile."""
        if not self._draining:
            self._slots.add(nodes)
            if self._draining:
                self._hand_back(self._slots.take_back_all())
        else:
            self._hand_back(nodes)

    def _hand_back(self, nodes: Iterable[Held]) -> None:
        stream = self._stream
        for held in nodes:
            self._leases.pop(held.token, None)
            if stream is not None:
                stream.send(Lease(node_id=held.node_id, token=held.token))

    def _drop(self, nodes: Sequence[Held]) -> None:
        """Lets go of nodes whose leases are lost, and has those that run stopped."""
        for held in nodes:
            held.dropped = True
            self._leases.pop(held.token, None)
        self._stopping.stop([held for held in nodes if held.running])

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

    def _progressed(self, token: int) -> None:
        """Tells how far a node has got. Without a connection, or with a token of before, the next welcome does."""
        held, stream = self._leases.get(token), self._stream
        if held is not None and stream is not None:
            stream.tell_progress(held)

    def _reject(self, held: Held, rejected: Rejected) -> None:
        """Gives a node back that cannot be run here, with all that cannot for the same reason and are not started."""
        function = held.function
        with self._lock:
            of_its_kind = [
                other.token
                for other in (() if rejected.lacks else list(self._leases.values()))
                if other.function.name == function.name
                and (rejected.problem or other.function.code_version == function.code_version)
            ]
            stream = self._stream
            for other in [held, *self._slots.take_back(of_its_kind)]:
                self._leases.pop(other.token, None)
                if stream is not None and not other.dropped:
                    lease = Lease(node_id=other.node_id, token=other.token)
                    stream.send(Rejection(lease=lease, **rejected._asdict()))
        self.end_if_drained()

    def _stopped_running(self, held: Held) -> None:
        """Tells that the slot of a node that was revoked is free."""
        stream = self._stream
        if stream is not None:
            stream.send(Lease(node_id=held.node_id, token=held.token))
