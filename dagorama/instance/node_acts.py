"""The value of a node as people see it, and the verbs for one that waits: a base of `Node`."""

from __future__ import annotations

from abc import abstractmethod
from uuid import UUID

from dagorama.calls.edits import NodeArguments, arguments_told
from dagorama.calls.previews import ValuePreview
from dagorama.client.port import GetArguments, Request, RetryNode
from dagorama.client.status import NodeStatus
from dagorama.client.steps import Steps
from dagorama.instance.handle import NodeHandle
from dagorama.instance.twins import asking, later, order


class NodeActs(NodeHandle):
    """The part of `Node` that people act by."""

    __slots__ = ()

    @property
    @abstractmethod
    def status(self) -> NodeStatus:
        """Return all that is known of it."""

    @property
    @abstractmethod
    def instance_id(self) -> UUID:
        """Return the id of its instance."""

    @property
    def value_preview(self) -> ValuePreview | None:
        """Return the type and size of its value, and a text of its beginning.

        None where it has no value as yet, where it is hidden as the arguments are, and in `nodes()`; `refresh` gives it
        there.
        """
        return self.status.value_preview

    @asking
    def arguments(self) -> Steps[NodeArguments]:
        """Return its arguments, each with its name, its text, and as JSON where it can be edited; none if hidden."""
        return _arguments(self.instance_id.bytes, self.id.bytes)

    aarguments = later(arguments)

    @order
    def retry_now(self) -> Request[object]:
        """Have it tried as soon as a worker takes it, where it backs off after an attempt that failed.

        That is durable when this returns. Raises `BrokerRefused`, naming the state, where it does not back off.
        """
        return RetryNode(self.instance_id.bytes, self.id.bytes)

    aretry_now = later(retry_now)


def _arguments(instance_id: bytes, node_id: bytes) -> Steps[NodeArguments]:
    from dagorama.client.asking import broker

    return arguments_told((yield from broker().ask(GetArguments(instance_id, node_id))))
