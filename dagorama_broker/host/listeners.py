"""The telling of events, once they are durable, to all whom they concern."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol, TypeVar

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Instance, Node, Worker
from dagorama_broker.core.model.values import CUT_OFF, FailedAttempt, InstanceId, NodeId, WorkerId

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class WorkerChannel(Protocol):
    """The connection to one worker."""

    worker: Worker | None  #: as the core knows it; None as long as it has not been told of this connection

    def grant(self, event: e.WorkGranted) -> None:
        """Send these nodes."""

    def welcome(self, event: e.WorkerWelcomed) -> None:
        """Send what the worker may keep."""

    def recall(self, event: e.RecallRequested) -> None:
        """Ask for these nodes."""

    def revoke(self, event: e.LeasesRevoked) -> None:
        """Say that these leases have ended."""

    def refuse(self, event: e.ResultRefused) -> None:
        """Say that a result changed nothing."""

    def drained(self, event: e.WorkerDrained) -> None:
        """Say that nothing further can come."""

    def drain(self, event: e.WorkerDraining) -> None:
        """Say that people want it to end."""

    def close(self, reason: str) -> None:
        """End the connection."""


class Listeners:
    """Passes durable outcomes and grants on. Waiters are futures of the host's event loop."""

    def __init__(self) -> None:
        self.channels: dict[WorkerId, WorkerChannel] = {}
        #: Told of all events, with the time, each until it returns False.
        self.onlookers: list[Callable[[Sequence[e.Event], float], bool]] = []
        #: Told of each attempt that was cut off, because its worker was lost or has been silent.
        self.cut_off: Callable[[Node, FailedAttempt], None] | None = None
        self._outcomes: dict[tuple[InstanceId, NodeId], list[asyncio.Future[Node]]] = {}
        self._changes: dict[InstanceId, list[asyncio.Future[Instance]]] = {}
        self._tellers: dict[type[e.Event], Callable[[Any], None]] = {
            e.NodeCompleted: self._tell_outcome,
            e.NodeFailed: self._tell_outcome,
            e.DependencyFailed: self._tell_outcome,
            e.NodesCreated: lambda event: self._tell_change(event.nodes[0].instance),
            e.NodesReset: lambda event: self._tell_change(event.instance),
            e.InstanceFinished: lambda event: self._tell_change(event.instance),
            e.AttemptFailed: self._tell_attempt,
            e.NodeJoining: lambda event: self._tell_change(event.node.instance),
            e.LeaseLost: self._tell_attempt,
            e.WorkGranted: self._tell_grant,
            e.WorkerWelcomed: lambda event: self._channel(event.worker, lambda channel: channel.welcome(event)),
            e.LeasesRevoked: lambda event: self._channel(event.worker, lambda channel: channel.revoke(event)),
            e.NodesCancelled: self._tell_cancelled,
            e.InstanceControlled: lambda event: self._tell_change(event.instance),
            e.RecallRequested: lambda event: self._channel(event.worker, lambda channel: channel.recall(event)),
            e.ResultRefused: self._tell_refusal,
            e.WorkerDrained: lambda event: self._channel(event.worker, lambda channel: channel.drained(event)),
            e.WorkerDraining: lambda event: self._channel(event.worker, lambda channel: channel.drain(event)),
            e.WorkerEvicted: lambda event: self._channel(event.worker, lambda channel: channel.close(_SILENT)),
        }

    def outcome(self, instance_id: InstanceId, node_id: NodeId) -> asyncio.Future[Node]:
        """Give a future of the node, set when it is terminal."""
        future: asyncio.Future[Node] = asyncio.get_running_loop().create_future()
        self._outcomes.setdefault((instance_id, node_id), []).append(future)
        return future

    def forget_outcome(self, instance_id: InstanceId, node_id: NodeId, future: asyncio.Future[Node]) -> None:
        """Take back what `outcome` gave; a no-op after it was set."""
        _discard(self._outcomes, (instance_id, node_id), future)

    def change(self, instance_id: InstanceId) -> asyncio.Future[Instance]:
        """Give a future of the instance, set with its next change."""
        future: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self._changes.setdefault(instance_id, []).append(future)
        return future

    def forget_change(self, instance_id: InstanceId, future: asyncio.Future[Instance]) -> None:
        """Take back what `change` gave; a no-op after it was set."""
        _discard(self._changes, instance_id, future)

    @property
    def waiting(self) -> int:
        """Return how many things are waited for: nodes and instances."""
        return len(self._outcomes) + len(self._changes)

    def tell(self, events: Sequence[e.Event], now: Callable[[], float]) -> None:
        """Tell everybody concerned. Called for every batch after its commit, in order."""
        if self.onlookers:
            at = now()
            self.onlookers = [onlooker for onlooker in self.onlookers if onlooker(events, at)]
        tellers = self._tellers
        for event in events:
            teller = tellers.get(type(event))
            if teller is not None:
                teller(event)

    def _tell_outcome(self, event: e.NodeCompleted | e.NodeFailed | e.DependencyFailed) -> None:
        node = event.node
        if self._outcomes and (waiting := self._outcomes.pop((node.instance.id, node.id), None)):
            _set(waiting, node)
        if self._changes:
            self._tell_change(node.instance)

    def _tell_cancelled(self, event: e.NodesCancelled) -> None:
        instance = event.nodes[0].instance
        awaited = {node_id for instance_id, node_id in self._outcomes if instance_id == instance.id}
        for node in event.nodes if awaited else ():
            if node.id in awaited:
                _set(self._outcomes.pop((instance.id, node.id)), node)
        self._tell_change(instance)

    def _tell_change(self, instance: Instance) -> None:
        if self._changes:
            _set(self._changes.pop(instance.id, ()), instance)

    def _tell_attempt(self, event: e.AttemptFailed | e.LeaseLost) -> None:
        if self.cut_off is not None and (type(event) is e.LeaseLost or event.attempt.failure.type == CUT_OFF):
            self.cut_off(event.node, event.attempt)
        self._tell_change(event.node.instance)

    def _tell_grant(self, event: e.WorkGranted) -> None:
        self._channel(event.worker, lambda channel: channel.grant(event))
        if self._changes:
            for instance in {node.instance for node, _ in event.leases}:
                self._tell_change(instance)

    def _tell_refusal(self, event: e.ResultRefused) -> None:
        channel = self.channels.get(event.worker_id)
        if channel is not None:
            channel.refuse(event)

    def _channel(self, worker: Worker, send: Callable[[WorkerChannel], None]) -> None:
        channel = self.channels.get(worker.id)
        # None: it is gone, and the core hears of that by a command of its own. Another: the worker has connected again
        # since the core decided this, and what it decided of the earlier connection is void.
        if channel is not None and channel.worker is worker:
            send(channel)


_SILENT = "the worker was silent for longer than its leases last"


def _set(futures: Sequence[asyncio.Future[T]], value: T) -> None:
    for future in futures:
        if not future.done():
            future.set_result(value)


def _discard(table: dict[K, list[asyncio.Future[T]]], key: K, future: asyncio.Future[T]) -> None:
    futures = table.get(key, [])
    if future in futures:
        futures.remove(future)
        if not futures:
            del table[key]
