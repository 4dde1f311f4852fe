"""A queue, by its name."""

from __future__ import annotations

from collections.abc import Sequence

from dagorama.client.asking import broker
from dagorama.client.port import ControlQueue, ListQueues, Request
from dagorama.client.status import QueueStatus
from dagorama.client.steps import Steps
from dagorama.instance.handle import check_is_no_inline
from dagorama.instance.twins import asking, later, question
from dagorama.options import checked_name, checked_running_max


class Queue:
    """A queue, which need not have had nodes as yet.

    Each method returns how the queue stands then, by taint. Changes are durable, and doing one again is a no-op. Each
    raises `BrokerUnavailable`, and has a twin that does not block the event loop: `pause` has `apause`.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        """Take its name; `ValueError` for what cannot be one."""
        self.name = checked_name("name", name)

    def __repr__(self) -> str:
        """Show its name."""
        return f"Queue({self.name!r})"

    @asking
    def status(self) -> Steps[Sequence[QueueStatus]]:
        """Return how it stands; empty where it has no nodes to run and is neither paused nor capped."""
        check_is_no_inline(f"a look at queue {self.name}")
        return _status(self.name)

    astatus = later(status)

    @question
    def pause(self) -> Request[Sequence[QueueStatus]]:
        """Have workers take no further nodes of it; they finish the ones that they have."""
        return self._control(paused=True)

    apause = later(pause)

    @question
    def resume(self) -> Request[Sequence[QueueStatus]]:
        """Let it go on after a `pause`."""
        return self._control(paused=False)

    aresume = later(resume)

    @question
    def cap(self, running_max: int | None) -> Request[Sequence[QueueStatus]]:
        """Have at most so many of its nodes run at once, from 1, whatever their taint; None for any number."""
        return self._control(running_max=0 if running_max is None else checked_running_max(running_max))

    acap = later(cap)

    def _control(self, *, paused: bool | None = None, running_max: int | None = None) -> ControlQueue:
        check_is_no_inline(f"to control queue {self.name}")
        return ControlQueue(self.name, paused=paused, running_max=running_max)


def _status(name: str) -> Steps[Sequence[QueueStatus]]:
    queues = yield from broker().ask(ListQueues())
    return [one for one in queues if one.queue == name]
