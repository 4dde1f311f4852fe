"""Keep up with one worker for as long as it is connected: its words go to the host, and news for it goes out.

Both ways by the batch: all that has accumulated while the last message was on its way is the next one. How a message
travels, and in which form, is the business of the `Connection`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Protocol

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import Refused
from dagorama_broker.core.graph.payloads import IdTaken, add_values, payload_of
from dagorama_broker.core.model.entities import Node, Worker
from dagorama_broker.core.model.values import NodeId, WorkerId
from dagorama_broker.host.host import Host, HostStopped
from dagorama_broker.requests.checks import MESSAGE_BYTES_MAX, SumTooLarge, to_failed
from dagorama_broker.requests.logs import LogRequests
from dagorama_broker.requests.references import (
    CANNOT_READ,
    READS_REFERENCES,
    MissingReport,
    sift_report,
    takes_references,
)

log = logging.getLogger("dagorama.broker")

#: An answer is closed when its payloads come to this many bytes, so that a worker can start before all has arrived.
ANSWER_BYTES = 4 * 2**20

#: So many refusals may wait for a worker that does not read them; until it does, no more is read of what it sends.
ANSWERS_MAX = 10_000

#: So often a worker counts as alive, in a lease duration, while its report waits for the disk.
HEARTBEATS_PER_LEASE = 3


@dataclass(slots=True)
class Sent:
    """One message of a worker."""

    commands: Sequence[c.Command] = ()  #: to be decided in this order, before the report
    report: c.CompleteNodes | None = None
    sequence: int = 0  #: the number of the report, to be acknowledged
    refers: bool = False  #: whether payloads in the report refer to values
    printed: Sequence[int] = ()  #: tokens of those reported on whose lines come on a way of their own


@dataclass(slots=True)
class Answer:
    """One message to a worker. Nodes are as they are now: write it before anything else is decided."""

    acknowledged: int = 0  #: the number of the last report that is durable
    welcome: e.WorkerWelcomed | None = None
    grants: list[tuple[Node, int]] = field(default_factory=list)
    values: dict[NodeId, Node] = field(default_factory=dict)  #: what their arguments refer to, in the order of decoding
    recalls: list[tuple[Node, int]] = field(default_factory=list)
    revocations: list[tuple[Node, int]] = field(default_factory=list)
    refusals: list[e.ResultRefused] = field(default_factory=list)
    missing: list[MissingReport] = field(default_factory=list)  #: reports to be repeated, of live leases
    drained: e.WorkerDrained | None = None
    drain: bool = False  #: people want it to end


class Connection(Protocol):
    """The way to a worker and back, after its hello."""

    async def read(self) -> Sent | None:
        """Return what the worker sends next; None when it has ended the connection in order.

        Raises `MalformedRequest`.
        """
        ...

    async def write(self, answer: Answer) -> None:
        """Send a message; return when there is room for another."""
        ...


class SessionClosed(Exception):
    """The broker has ended the connection; the message says why."""


class Session:
    """One worker's connection: a reader that feeds the host, and a writer that sends what has accumulated."""

    def __init__(
        self,
        host: Host,
        hello: c.ConnectWorker,
        connection: Connection,
        logs: LogRequests | None = None,
        *,
        reads_references: bool = True,
    ) -> None:
        """Serve the worker of a hello. Without `reads_references` it gets no node that takes large values."""
        self._reads_references = reads_references
        self._host = host
        self._logs = logs
        self._hello = hello
        self._id: WorkerId = hello.worker_id
        self._connection = connection
        self._wake = asyncio.Event()
        self.worker: Worker | None = None
        self._welcomed = False
        self._closed: str | None = None
        self._closing = asyncio.Event()  #: set with it
        self._has_room = asyncio.Event()  #: for further refusals
        self._has_room.set()
        self._next = Answer()  #: all that has accumulated, but for the grants that do not fit into one message
        self._acknowledged_sent = 0
        self._grants: deque[tuple[Node, int]] = deque()
        self._drained: e.WorkerDrained | None = None
        self._draining = False

    async def serve(self) -> None:
        """Serve until the worker ends the connection.

        Raises `SessionClosed` where the broker ends it, `MalformedRequest` or `Refused` where that is the worker's
        doing, and `HostStopped`. To say so to the worker is left to the caller: it may read nothing any more.
        """
        channels = self._host.listeners.channels
        earlier = channels.get(self._id)
        if earlier is not None:
            earlier.close("the worker has connected again")
        channels[self._id] = self
        writer = asyncio.create_task(self._write())
        reader = asyncio.create_task(self._read())
        closing = asyncio.create_task(self._closing.wait())
        try:
            self._host.apply(self._hello)
            self.worker = self._host.scheduler.workers[self._id]
            slots = self._hello.slots
            log.info("worker %s connected with %d slot%s", self._hello.name, slots, "" if slots == 1 else "s")
            ended, _ = await asyncio.wait((reader, writer, closing), return_when=asyncio.FIRST_COMPLETED)
            if self._closed is not None:
                raise SessionClosed(self._closed)
            for ending in (reader, writer):
                if ending in ended:
                    ending.result()
        finally:
            # A message that the worker does not read is never through; what waits behind it is forgotten.
            for task in (reader, writer, closing):
                task.cancel()
            if channels.get(self._id) is self:
                del channels[self._id]
                # If the broker ended the connection, the worker is evicted already, or comes back to the next broker,
                # which waits for it: it goes on with what it has.
                if self._closed is None:
                    self._disconnect()

    def _disconnect(self) -> None:
        # The end of the connection alone may be that of a worker that was killed. One that drained was about to end,
        # and whether it closed the connection in order, or that broke, is a matter of which came first.
        left = self._draining
        log.info("worker %s %s", self._hello.name, "left" if left else "is gone")
        with suppress(HostStopped):  # its leases end with the broker
            self._host.apply(c.DisconnectWorker(worker_id=self._id, left=left))

    # -- worker to broker ---------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Feed the host until the worker ends the connection in order."""
        while True:
            await self._has_room.wait()
            sent = await self._connection.read()
            if sent is None:
                return
            await self._take(sent)

    async def _take(self, sent: Sent) -> None:
        host = self._host
        for command in sent.commands:
            if type(command) is c.DrainWorker:
                self._draining = True
            host.apply(command)
        if sent.printed and self._logs is not None and self.worker is not None:
            self._logs.have_printed(self.worker, sent.printed)
        if sent.report is not None:
            report = await self._sift(sent.report) if sent.refers else sent.report
            await host.report(report, partial(self._acknowledge, sent.sequence))
        else:
            host.apply(c.Heartbeat(worker_id=self._id))

    async def _sift(self, report: c.CompleteNodes) -> c.CompleteNodes:
        """Return the part of a report that can be taken. The worker hears of the rest before that is acknowledged.

        While a disk is asked, the worker's heartbeats wait behind its report: it counts as alive.
        """
        sifting = asyncio.ensure_future(sift_report(report, self._host.find_reported or self._host.find_values))
        heartbeat_s = self._host.scheduler.settings.lease_duration_s / HEARTBEATS_PER_LEASE
        try:
            while not (await asyncio.wait({sifting}, timeout=heartbeat_s))[0]:
                self._host.apply(c.Heartbeat(worker_id=self._id))
        finally:
            sifting.cancel()
        report, missing = sifting.result()
        if missing:
            self._next.missing += missing
            self._limit_answers()
            self._wake.set()
        return report

    # -- broker to worker: called by the host's listeners --------------------------------------------------------------

    def _acknowledge(self, sequence: int) -> None:
        self._next.acknowledged = sequence
        self._wake.set()

    def grant(self, event: e.WorkGranted) -> None:
        """Send these nodes."""
        self._grants.extend(event.leases)
        self._wake.set()

    def welcome(self, event: e.WorkerWelcomed) -> None:
        """Send what the worker may keep."""
        self._next.welcome = event
        self._welcomed = True
        self._wake.set()

    def revoke(self, event: e.LeasesRevoked) -> None:
        """Say that these leases have ended. Nodes that were not even sent are not."""
        ended = {token for _, token in event.leases}
        self._grants = deque(grant for grant in self._grants if grant[1] not in ended)
        self._next.revocations += event.leases
        self._wake.set()

    def recall(self, event: e.RecallRequested) -> None:
        """Ask for these nodes. Nodes that were not even sent are taken back here: the worker would not know them."""
        asked = {token for _, token in event.leases}
        unsent = {token for _, token in self._grants if token in asked}
        self._next.recalls += [lease for lease in event.leases if lease[1] not in unsent]
        if unsent:
            self._grants = deque(grant for grant in self._grants if grant[1] not in unsent)
            leases = [c.HeldLease(node_id=node.id, token=token) for node, token in event.leases if token in unsent]
            with suppress(Refused, HostStopped):  # the worker is gone, or the broker about to be
                self._host.apply(c.HandBack(worker_id=self._id, leases=leases))
        self._wake.set()

    def refuse(self, event: e.ResultRefused) -> None:
        """Say that a result changed nothing."""
        self._next.refusals.append(event)
        self._limit_answers()
        self._wake.set()

    def _limit_answers(self) -> None:
        if len(self._next.refusals) + len(self._next.missing) >= ANSWERS_MAX:
            self._has_room.clear()

    def drained(self, event: e.WorkerDrained) -> None:
        """Say that nothing further can come."""
        self._drained = event
        self._wake.set()

    def drain(self, event: e.WorkerDraining) -> None:
        """Say that people want it to end, unless it has said so itself."""
        if event.is_asked:
            self._next.drain = True
            self._wake.set()

    def close(self, reason: str) -> None:
        """End the connection."""
        self._closed = reason
        self._closing.set()
        self._grants.clear()
        self._wake.set()

    async def _write(self) -> None:
        """Send whatever has accumulated, message after message."""
        while self._closed is None:
            await self._wake.wait()
            self._wake.clear()
            while self._closed is None and self._has_news():
                await self._connection.write(self.next_answer())

    def _has_news(self) -> bool:
        # A refusal to the connection before this one may come ahead of the welcome, which is to be first.
        accumulated = self._next
        return self._welcomed and bool(
            accumulated.welcome
            or self._grants
            or accumulated.recalls
            or accumulated.revocations
            or accumulated.refusals
            or accumulated.missing
            or accumulated.drain
            or self._drained
            or accumulated.acknowledged > self._acknowledged_sent
        )

    def next_answer(self) -> Answer:
        """Take what is to be sent now. Nothing further of it is remembered."""
        answer = self._next
        self._acknowledged_sent = answer.acknowledged
        self._next = Answer(acknowledged=answer.acknowledged)
        self._has_room.set()
        if self._grants:
            self._move_grants(answer)
        if self._drained and not self._grants:
            answer.drained, self._drained = self._drained, None
        return answer

    def _move_grants(self, answer: Answer) -> None:
        """Move grants into an answer, up to its size, with the values that their arguments refer to."""
        values = answer.values
        payload_bytes = 0
        while self._grants and payload_bytes < ANSWER_BYTES:
            node, token = self._grants[0]
            added = len(node.arguments)
            known = len(values)
            if node.dependencies:
                try:
                    add_values(node.dependencies, values)
                except IdTaken:  # by a node of another instance: this one goes with the next answer
                    break
                added += sum(map(len, _last_payloads(values, known)))
                if payload_bytes + added > MESSAGE_BYTES_MAX:
                    _shorten(values, known)
                    if payload_bytes:  # it may fit into the next answer
                        break
                    self._grants.popleft()
                    self._refuse_sum(node, token, added)
                    continue
            if not self._reads_references and takes_references(node, _last_payloads(values, known)):
                _shorten(values, known)
                self._grants.popleft()
                self._take_unread(node, token)
                continue
            answer.grants.append(self._grants.popleft())
            payload_bytes += added

    def _take_unread(self, node: Node, token: int) -> None:
        """Take a node back from a worker that cannot read it; it waits for another, and `why` says so."""
        lease = c.HeldLease(node_id=node.id, token=token)
        with suppress(Refused, HostStopped):
            self._host.apply(
                c.RejectUnable(worker_id=self._id, lease=lease, problem=CANNOT_READ, lacks=READS_REFERENCES)
            )

    def _refuse_sum(self, node: Node, token: int, size: int) -> None:
        """Fail a node that no message can bring to any worker."""
        error = SumTooLarge(f"the values that {node.function.spec.name} takes", size)
        with suppress(Refused):  # the lease has ended meanwhile
            self._host.apply(c.CompleteNodes(worker_id=self._id, results=[to_failed(node.id, token, error)]))


def _last_payloads(values: dict[NodeId, Node], known: int) -> Iterator[bytes]:
    """Yield the payloads of all values but for the first `known`."""
    return map(payload_of, islice(reversed(values.values()), len(values) - known))


def _shorten(values: dict[NodeId, Node], known: int) -> None:
    """Leave the first `known` values."""
    while len(values) > known:
        values.popitem()
