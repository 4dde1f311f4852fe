"""The verbs of instances, each once: `twins` makes the form that blocks of them, and its twin for event loops.

Type checkers take `InstanceVerbs` for a base of `DAGInstance`; at run time the names of definitions go first, so
`VERBS` is bound where there are none. It is a base of `Instance` in truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from uuid import UUID

from dagorama.calls.edits import arguments_told, check_edits, show_edits
from dagorama.calls.json_form import encode_edits
from dagorama.client.port import Cancel, ControlInstance, Delete, GetArguments, Request, Rerun, Retry, WhyNot
from dagorama.client.steps import Steps
from dagorama.instance.handle import Handle, check_is_kept, id_of, node_id_in
from dagorama.instance.twins import asking, later, order, question
from dagorama.options import checked_priority, checked_running_max
from dagorama.why import Why


class InstanceVerbs(Handle):
    """The verbs of an instance. Each has a twin that does not block the event loop: `retry` has `aretry`.

    All but `why` are durable when they return. They raise `BrokerRefused`, naming the state, where the instance is in
    none that they are for, and `BrokerUnavailable`.
    """

    @order
    def cancel(self) -> Request[None]:
        """Stop the instance: nodes that have not started never do, and running ones are told to stop.

        That is durable when this returns; waiting for a value raises `InstanceCancelled`. Raises
        `BrokerRefused`, naming the state, where the instance has ended already, and `BrokerUnavailable`.
        """
        check_is_kept(self, "to cancel")
        return Cancel(id_of(self))

    acancel = later(cancel)

    # Doing one of these four again changes nothing. They are refused where the instance has ended.

    @order
    def pause(self) -> Request[object]:
        """Have workers take no further nodes of the instance; they finish the ones that they have."""
        return _control(self, paused=True)

    apause = later(pause)

    @order
    def resume(self) -> Request[object]:
        """Let the instance go on after a `pause`."""
        return _control(self, paused=False)

    aresume = later(resume)

    @order
    def set_priority(self, priority: int) -> Request[object]:
        """Have workers take nodes of instances with a higher priority first; `ValueError` outside -1000 to 1000."""
        return _control(self, priority=checked_priority(priority))

    aset_priority = later(set_priority)

    @order
    def cap(self, running_max: int | None) -> Request[object]:
        """Have at most so many of the instance's nodes run at once, from 1; None for any number."""
        return _control(self, running_max=0 if running_max is None else checked_running_max(running_max))

    acap = later(cap)

    @order
    def retry(self) -> Request[None]:
        """Let the instance, which has failed, go on from where it failed; it can be waited for again.

        The nodes that failed, and their dependents, run again, by whatever version of the code the workers have;
        completed ones do not. Attempts count from 1, and a deadline there was is lifted. That is durable when
        this returns. Raises `BrokerRefused`, naming the state, where the instance has not failed, and
        `BrokerUnavailable`.
        """
        check_is_kept(self, "to retry")
        return Retry(id_of(self))

    aretry = later(retry)

    @asking
    def rerun(self, node: object, arguments: Mapping[str, object] | None = None) -> Steps[tuple[UUID, ...]]:
        """Run a node again, and all that its value went into, in an instance that has ended; return the ids of these.

        `node` is a promise, a `Node` or its id. Given `arguments`, by the names of parameters, take the place of the
        ones that it was called with, for good, and its other arguments stay. They are made of what JSON can hold, and
        become what the type hints say, as in `dagorama.start`. An argument that is the value of another node cannot be
        replaced (`ValueError`), nor one that there is not (`TypeError`). The node's label and the keys of its limits
        stay, too.

        Workers of any version of the code may run them. The calls that these nodes made before are forgotten,
        since they call anew. That is durable when this returns; the instance can be waited for again. Raises
        `BrokerRefused`, naming the state, where the instance runs or was cancelled, and `BrokerUnavailable`.
        """
        check_is_kept(self, "to rerun a node of")
        return rerun_in(id_of(self), node_id_in(node, "rerun()"), arguments)

    arerun = later(rerun)

    @order
    def delete(self) -> Request[None]:
        """Remove the instance, which has ended, with its nodes, values and logs. A no-op where that was done before.

        Questions about it raise `InstancePruned` from then on; its id and its key cannot be started again.
        That is durable when this returns; room on the disk is given back a little later. Raises `BrokerRefused` where
        it runs, so cancel it first, `UnknownId` and `BrokerUnavailable`.
        """
        check_is_kept(self, "to delete")
        return Delete(id_of(self))

    adelete = later(delete)

    @question
    def why(self, node: object = None) -> Request[Why]:
        """Say what holds a node; without one, the instance's first node that has not ended.

        `node` is a promise, a `Node` or its id.

        Raises `BrokerRefused` for an instance without nodes, `BrokerUnavailable`.
        """
        check_is_kept(self, "to say what holds")
        return WhyNot(id_of(self), None if node is None else node_id_in(node, "why()"))

    awhy = later(why)


#: The verbs and their twins by name.
VERBS: dict[str, Callable[..., object]] = {
    name: verb for name, verb in vars(InstanceVerbs).items() if not name.startswith("_")
}


def rerun_in(
    instance_id: bytes, node_id: bytes, arguments: Mapping[str, object] | None = None
) -> Steps[tuple[UUID, ...]]:
    """Run a node again, with some other arguments; return the ids of all nodes that begin anew."""
    from dagorama.client.asking import broker

    request = Rerun(instance_id, node_id)
    if arguments:
        edits = encode_edits(arguments)
        told = yield from broker().ask(GetArguments(instance_id, node_id))
        check_edits(arguments, arguments_told(told), told.parameters.split(", ") if told.parameters else [])
        shown = show_edits(arguments, are_hidden=not told.arguments_bytes)
        request = replace(request, edits=edits, edits_shown=shown)
    return tuple(UUID(bytes=one) for one in (yield from broker().ask(request)))


def _control(
    instance: InstanceVerbs,
    *,
    priority: int | None = None,
    paused: bool | None = None,
    running_max: int | None = None,
) -> Request[object]:
    check_is_kept(instance, "to control")
    return ControlInstance(id_of(instance), priority=priority, paused=paused, running_max=running_max)
