"""Pauses, priorities and caps of instances and queues. Durable when the call returns; repeating one changes nothing.

All of them raise `BrokerUnavailable`, and `BrokerRefused` for an instance that is not known or has ended.
"""

from __future__ import annotations

from uuid import UUID

from dagorama.client.broker import broker
from dagorama.client.connection import connection
from dagorama.client.requests import Steps, ask, run, run_async
from dagorama.v1.dag_pb2 import ControlInstanceRequest, ControlQueueRequest, InstanceInfo, QueueInfo


def control_instance(
    instance_id: bytes, *, priority: int | None = None, paused: bool | None = None, running_max: int | None = None
) -> InstanceInfo:
    """Changes how an instance is run; None leaves a thing as it is, and a `running_max` of 0 lifts the cap.

    Returns how it stands then.
    """
    return run(_control_instance(instance_id, priority, paused, running_max))


async def control_instance_async(
    instance_id: bytes, *, priority: int | None = None, paused: bool | None = None, running_max: int | None = None
) -> InstanceInfo:
    """Does what `control_instance` does, without blocking the event loop."""
    return await run_async(_control_instance(instance_id, priority, paused, running_max))


def control_queue(queue: str, *, paused: bool | None = None, running_max: int | None = None) -> list[QueueInfo]:
    """Changes how a queue is run, which need not be known; returns how it stands then, by taint."""
    to = connection()
    request = ControlQueueRequest(queue=queue, paused=paused, running_max=running_max)
    return list(run(ask(to, to.dag.ControlQueue, request, f"to control queue {queue}")).queues)


def _control_instance(
    instance_id: bytes, priority: int | None, paused: bool | None, running_max: int | None
) -> Steps[InstanceInfo]:
    request = ControlInstanceRequest(instance_id=instance_id, priority=priority, paused=paused, running_max=running_max)
    return broker().control(request, f"to control instance {UUID(bytes=instance_id)}")
