"""Pauses and caps of queues."""

from __future__ import annotations

from collections.abc import Sequence

from dagorama.client.asking import ask_broker
from dagorama.client.port import ControlQueue
from dagorama.client.status import QueueStatus


def control_queue(queue: str, *, paused: bool | None = None, running_max: int | None = None) -> Sequence[QueueStatus]:
    """Change how a queue is run, as `ControlQueue` says, and return how it stands then, by taint."""
    return ask_broker(ControlQueue(queue, paused=paused, running_max=running_max))
