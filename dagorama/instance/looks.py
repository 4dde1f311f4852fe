"""The looks at an instance and its nodes, each once, as `verbs` has the verbs.

Type checkers take `InstanceLooks` for a base of `DAGInstance`; there `LOOKS` of `methods` names them, and this module
is loaded when the first is used.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from dagorama.client.counts import InstanceProgress
from dagorama.client.history import HistoryEntry
from dagorama.client.port import (
    PAGE_SIZE,
    CountNodes,
    GetInstance,
    GetNode,
    GetShape,
    ListHistory,
    ListNodes,
    ListTimes,
)
from dagorama.client.shape import InstanceShape
from dagorama.client.steps import Steps
from dagorama.client.times import InstanceTimes
from dagorama.instance.handle import Handle, check_is_kept, id_of, node_id_in
from dagorama.instance.listing import Listing, checked_limit, listing
from dagorama.instance.log import Log
from dagorama.instance.node import Node
from dagorama.instance.twins import asking, later
from dagorama.options import checked_name
from dagorama.settings import should_run_inline
from dagorama.states import InstanceState, NodeState


class InstanceLooks(Handle):
    """The looks at an instance. They change nothing, and ask the broker each time.

    They raise `UnknownId` for an instance that the broker does not know, and `BrokerUnavailable`.
    """

    @asking
    def done(self) -> Steps[bool]:
        """Return whether the instance has ended, in whatever state."""
        return _is_done(self)

    adone = later(done)

    @asking
    def progress(self) -> Steps[InstanceProgress]:
        """Return how many nodes the instance has, by function and state."""
        check_is_kept(self, "to count the nodes of")
        return _progress(id_of(self))

    aprogress = later(progress)

    @asking
    def shape(self) -> Steps[InstanceShape]:
        """Return the graph of the instance, folded by function and by the function of the nodes that made them.

        It is told within a second of an instance of 100,000 nodes.
        """
        check_is_kept(self, "to tell the shape of")
        return _shape(id_of(self))

    ashape = later(shape)

    @asking
    def times(self) -> Steps[InstanceTimes]:
        """Return what happened to each node of the instance, and when, in columns.

        It takes about a second for 100,000 nodes, a fraction of the time that `nodes()` takes.
        """
        check_is_kept(self, "to list the times of")
        return _times(id_of(self))

    atimes = later(times)

    def nodes(
        self,
        *,
        state: NodeState | str | Collection[NodeState | str] | None = None,
        function: str | None = None,
        label: str | None = None,
        inputs: bool = True,
        limit: int | None = None,
    ) -> Listing[Node]:
        """Return the nodes of the instance in the order of their creation, to be read with `for` or `async for`.

        `state` is one state, or several, such as `["failed", "dependency_failed"]`. `function` is a name as
        "module:Class.method", or its end: "Class.method", "method". `label` is the whole label. Reading many is quicker
        without their `inputs`. Raises `ValueError` for a state that there is not.
        """
        check_is_kept(self, "to list the nodes of")
        return listing(
            ListNodes(
                id_of(self),
                PAGE_SIZE,
                states=checked_states(NodeState, state),
                functions=() if function is None else [checked_name("function", function)],
                with_inputs=inputs,
                label="" if label is None else checked_name("label", label),
            ),
            Node,
            checked_limit(limit),
        )

    @asking
    def node(self, node: UUID | str | object) -> Steps[Node]:
        """Return a node of the instance, by its id or its promise. Raises `UnknownId`."""
        check_is_kept(self, "to look at a node of")
        return _node(id_of(self), node_id_in(node, "node()"))

    anode = later(node)

    def history(self, *, limit: int | None = None) -> Listing[HistoryEntry]:
        """Return what was done to the instance, and by whom, from its start to its end, to be read with `for`.

        It is as durable as the instance. `async for` does not block the event loop.
        """
        check_is_kept(self, "the history of")
        asked = ListHistory(PAGE_SIZE, instance_id=id_of(self))
        return listing(asked, lambda entry: entry, checked_limit(limit))

    def logs(self, *, attempt: int | None = None, level: int | str | None = None, follow: bool = False) -> Log:
        """Return the lines that its nodes have printed and logged, to be read with `for` or `async for`.

        `attempt` is the number of the attempts that are wanted, `level` the least of what was logged, such as
        `logging.WARNING` or "warning"; printed lines have none. With `follow` reading goes on until the instance has
        ended. Raises `ValueError` for arguments that cannot be.
        """
        check_is_kept(self, "to read the logs of")
        return Log(id_of(self), None, attempt=attempt, level=level, follow=follow)


def checked_states(kind: type[NodeState] | type[InstanceState], states: object) -> tuple[str, ...]:
    """Return the states of a kind that are asked for, given one or several; none for all.

    `ValueError` for a state that there is not, `TypeError` for what is none.
    """
    if states is None:
        return ()
    several = [states] if isinstance(states, str) else states
    if not isinstance(several, Collection):
        raise TypeError(f"state must be a state, or several in a list, not {states!r}")
    known = [each.value for each in kind]
    for each in several:
        if each not in known:
            raise ValueError(f"there is no state {each!r}; the states are {', '.join(known)}")
    return tuple(map(str, several))


def _is_done(instance: InstanceLooks) -> Steps[bool]:
    from dagorama.client.asking import broker

    if "_dagorama_definition" in instance.__dict__ and should_run_inline():
        return True  # it has run when its call has returned
    check_is_kept(instance, "a look at")
    return (yield from broker().ask(GetInstance(id_of(instance)))).state is not InstanceState.RUNNING


def _progress(instance_id: bytes) -> Steps[InstanceProgress]:
    from dagorama.client.asking import broker

    return InstanceProgress((yield from broker().ask(CountNodes(instance_id))))


def _shape(instance_id: bytes) -> Steps[InstanceShape]:
    from dagorama.client.asking import broker

    return (yield from broker().ask(GetShape(instance_id)))


def _times(instance_id: bytes) -> Steps[InstanceTimes]:
    from dagorama.client.asking import broker

    pages = [(yield from broker().ask(ListTimes(instance_id)))]
    while pages[-1].next_page_token:
        pages.append((yield from broker().ask(ListTimes(instance_id, page_token=pages[-1].next_page_token))))
    return InstanceTimes(pages)


def _node(instance_id: bytes, node_id: bytes) -> Steps[Node]:
    from dagorama.client.asking import broker

    return Node((yield from broker().ask(GetNode(instance_id, node_id))))
