"""Short ways to write commands, and a channel that notes what a worker is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Worker
from dagorama_broker.core.model.values import Failure, FunctionSpec, InstanceId, NewCall, NodeId, RetryPolicy, WorkerId
from dagorama_broker.host.host import Host

WORKER = WorkerId(b"w" * 16)


def submit(
    *names: str,
    instance: str = "i",
    after: Sequence[str] = (),
    retry: RetryPolicy | None = None,
    at_most_once: bool = False,
    timeout_s: float = 0.0,
) -> c.SubmitNodes:
    """Submit nodes, which all depend on those of `after`."""
    spec = FunctionSpec(
        name="f", queue="f", retry=retry or RetryPolicy(), at_most_once=at_most_once, timeout_s=timeout_s
    )
    dependency_ids = tuple(node_id(name) for name in after)
    return c.SubmitNodes(
        instance_id=instance_id(instance),
        definition="d",
        calls=[NewCall(node_id(name), spec, b"", dependency_ids) for name in names],
    )


def node_id(name: str) -> NodeId:
    """Give the id of a node."""
    return NodeId(name.encode().ljust(16))


def instance_id(name: str) -> InstanceId:
    """Give the id of an instance."""
    return InstanceId(name.encode().ljust(16))


def complete(host: Host, name: str, *, instance: str = "i") -> c.CompleteNodes:
    """Complete a node under the lease that it has."""
    node = host.scheduler.node(instance_id(instance), node_id(name))
    return c.CompleteNodes(worker_id=WORKER, results=[c.NodeResult(node_id=node.id, token=node.token, payload=b"v")])


def fail(host: Host, name: str, *, instance: str = "i") -> c.CompleteNodes:
    """Fail the attempt on a node."""
    node = host.scheduler.node(instance_id(instance), node_id(name))
    failure = Failure(type="ValueError", message="no stock")
    return c.CompleteNodes(worker_id=WORKER, results=[c.NodeResult(node_id=node.id, token=node.token, failure=failure)])


class Channel:
    """Notes in a log what the worker is told. Connects it when made."""

    def __init__(self, host: Host, log: list[str], *, slots: int = 1) -> None:
        self._log = log
        self.worker: Worker | None = None
        host.listeners.channels[WORKER] = self
        host.apply(c.ConnectWorker(worker_id=WORKER, name="w1", slots=slots))
        self.worker = host.scheduler.workers[WORKER]

    def grant(self, event: e.WorkGranted) -> None:
        """Note the nodes."""
        self._log.append("grant " + " ".join(node.id.decode().strip() for node, _ in event.leases))

    def welcome(self, event: e.WorkerWelcomed) -> None:
        """Note the welcome."""
        self._log.append("welcome")

    def recall(self, event: e.RecallRequested) -> None:
        """Note the nodes."""
        self._log.append("recall")

    def revoke(self, event: e.LeasesRevoked) -> None:
        """Note the nodes."""
        self._log.append("revoke")

    def refuse(self, event: e.ResultRefused) -> None:
        """Note the node."""
        self._log.append("refuse " + event.node_id.decode().strip())

    def drained(self, event: e.WorkerDrained) -> None:
        """Note that nothing further comes."""
        self._log.append("drained")

    def drain(self, event: e.WorkerDraining) -> None:
        """Note that it is to end."""
        self._log.append("drain")

    def close(self, reason: str) -> None:
        """Note the end."""
        self._log.append("close")


async def spin() -> None:
    """Let everything run that can run without the journal's thread."""
    for _ in range(50):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Let everything run until the condition holds."""
    async with asyncio.timeout(10):
        while True:
            if condition():
                return
            await asyncio.sleep(0)
