"""An instance as people look at it who do not have its definition."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from dagorama.client.port import GetInstance
from dagorama.client.status import InstanceStatus
from dagorama.client.steps import Steps
from dagorama.instance.handle import check_is_kept, id_of
from dagorama.instance.looks import InstanceLooks
from dagorama.instance.methods import check_is_another
from dagorama.instance.node import value_of_node
from dagorama.instance.twins import asking, later
from dagorama.instance.verbs import InstanceVerbs
from dagorama.options import checked_timeout
from dagorama.states import InstanceState


class Instance(InstanceVerbs, InstanceLooks):
    """An instance, by its id: from `instances()`, or from `attach(id)`.

    `state` and the methods ask the broker each time; `status` is how it stood when it was read. Methods raise
    `UnknownId` where the broker does not know it, and `BrokerUnavailable`. Each has a twin that does not block the
    event loop: `done` has `adone`.
    """

    def __init__(self, instance_id: UUID, status: InstanceStatus | None = None) -> None:
        """Take its id, and how it stands where that is known. Ask nothing."""
        self.__dict__["_dagorama_id"] = instance_id.bytes
        self._status = status

    def __repr__(self) -> str:
        """Show its id, and its definition and state where they are known."""
        known = "" if self._status is None else f" {self._status.definition} {self._status.state}"
        return f"<Instance {self.id}{known}>"

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same instance, however it stood."""
        return isinstance(other, Instance) and id_of(self) == id_of(other)

    def __hash__(self) -> int:
        """Hash the id."""
        return hash(id_of(self))

    @property
    def id(self) -> UUID:
        """Return its id."""
        return UUID(bytes=id_of(self))

    @property
    def definition(self) -> str:
        """Return the name of its definition, as "module:Class". Asks where it has not been read."""
        return self.status.definition

    @property
    def created_at(self) -> datetime:
        """Return when it was started. Asks where it has not been read."""
        return self.status.created_at

    @property
    def key(self) -> str:
        """Return the key that it was started with, empty for none. Asks where it has not been read."""
        return self.status.key

    @property
    def tags(self) -> dict[str, str]:
        """Return its tags. Asks where it has not been read."""
        return dict(self.status.tags)

    @property
    def status(self) -> InstanceStatus:
        """Return how it stood when it was last read, by `instances()` or `refresh()`. Asks where it has not been."""
        if self._status is None:
            self.refresh()
        assert self._status is not None
        return self._status

    @property
    def state(self) -> InstanceState:
        """Return its state now: "running", "completed", "failed" or "cancelled"."""
        return self._ask_state()

    @asking
    def refresh(self) -> Steps[Instance]:
        """Ask how it stands now, for `status`, and return itself."""
        yield from _read(self)
        return self

    arefresh = later(refresh)

    @asking
    def _ask_state(self) -> Steps[InstanceState]:
        return (yield from _read(self)).state

    async def astate(self) -> InstanceState:
        """Return the same as `state`, without blocking the event loop."""
        await self.arefresh()
        return self.status.state

    def changes(self) -> Iterator[InstanceStatus]:
        """Yield how it stands now and after each change, until it has ended; that blocks meanwhile.

        Changes that come quickly are told together. Raises `BrokerUnavailable` as soon as the connection breaks. On an
        event loop, read `events(instance)`.
        """
        from dagorama.client.asking import broker

        check_is_kept(self, "to watch")
        return broker().changes(id_of(self))

    @asking
    def wait(self, timeout: float | None = None) -> Steps[None]:
        """Wait until all of its nodes have ended, `timeout` seconds at most; None: as long as it takes.

        Raises `InstanceFailed`, naming the nodes that failed, `InstanceCancelled` and `ResultTimeout`; `ValueError` in
        a node of the instance.
        """
        from dagorama.client.broker import end_of

        timeout_s = checked_timeout(timeout)
        check_is_another(self)
        check_is_kept(self, "to wait for")
        return end_of(id_of(self), timeout_s)

    wait_async = later(wait)

    @asking
    def result(self, timeout: float | None = None) -> Steps[object]:
        """Wait for the value of its entrypoint, `timeout` seconds at most; None: as long as it takes.

        That is the value of its first node. The classes in it have to be importable here; `attach` with an object of
        the definition gives it with its type. Raises `NodeFailed`, `InstanceCancelled`, `ResultTimeout`,
        `PayloadError`, and `ValueError` where it has no node.
        """
        timeout_s = checked_timeout(timeout)
        check_is_kept(self, "to wait for")
        return _result(self, timeout_s)

    aresult = later(result)


def _read(instance: Instance) -> Steps[InstanceStatus]:
    from dagorama.client.asking import broker

    check_is_kept(instance, "a look at")
    status = yield from broker().ask(GetInstance(id_of(instance)))
    instance._status = status
    return status


def _result(instance: Instance, timeout_s: float | None) -> Steps[object]:
    from dagorama.client.broker import deadline_in, first_of

    deadline = deadline_in(timeout_s)
    first = yield from first_of(id_of(instance), deadline)
    if first is None:
        raise ValueError(f"instance {instance.id} has no nodes as yet, so it has no result")
    return (yield from value_of_node(id_of(instance), first.node_id, deadline))
