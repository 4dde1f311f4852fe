"""The broker's core for the in-process broker, with what a host keeps around it, and a clock that is moved by hand.

Requests come as messages and are translated by the service's own converters. Nothing here runs, waits or locks.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from math import inf

from dagorama.capture import CapturedCall
from dagorama.client.convert import submit_request
from dagorama.ids import new_id
from dagorama.options import InstanceOptions, checked_names
from dagorama.v1.dag_pb2 import ControlInstanceRequest, InstanceInfo, NodeInfo, WatchResponse, WhyResponse
from dagorama.v1.graph_pb2 import Values
from dagorama.v1.work_pb2 import Lease, Rejection, WorkRequest
from dagorama.worker.held import Function, Held, Rejected, ValueTable
from dagorama.worker.stream import write_results
from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import EmptyInstance, InstanceEnded, UnknownInstance, UnknownNode
from dagorama_broker.core.invariants import check_invariants
from dagorama_broker.core.model import InstanceId, Node, NodeId, WorkerId
from dagorama_broker.core.scheduler import Scheduler
from dagorama_broker.core.settings import Settings
from dagorama_broker.core.states import TERMINAL, InstanceState, NodeState
from dagorama_broker.core.values import collect_values
from dagorama_broker.core.why import explain
from dagorama_broker.service import convert
from dagorama_broker.service.errors import STATUS
from dagorama_broker.storage.memory import MemoryJournal

#: What a request may raise, and the name of its code.
CODES: dict[type[Exception], str] = {kind: status.name for kind, status in STATUS.items()}


class Core:
    """A scheduler with one worker, which asks for each node when it has done with the last. Not for several threads.

    Requests raise what `CODES` names.
    """

    def __init__(
        self,
        *,
        worker: c.ConnectWorker,
        seed: int,
        check: bool,
        revoked: Callable[[set[int]], None],
        changed: Callable[[], None],
    ) -> None:
        """Calls `changed` after each step, and `revoked` with the tokens of leases that have been ended by one."""
        # The worker is here for as long as this is: there is no silence to wait for.
        self.scheduler = Scheduler(rng=random.Random(seed), settings=Settings(pull_lease_duration_s=inf))
        self.scheduler.queues.at_once = sys.maxsize  # here nobody waits who would want to come between
        self.began_at = self.now = time.time()
        #: Knows the instances that have left the scheduler's memory, for those that get further nodes.
        self._journal = MemoryJournal()
        self._nodes: dict[tuple[bytes, bytes], Node] = {}
        self._worker_id = worker.worker_id
        self._check = check
        self._revoked = revoked
        self._changed = changed
        self._handle(worker)

    # -- requests ------------------------------------------------------------------------------------------------------

    def submit(
        self, instance_id: bytes, definition: str, calls: Sequence[CapturedCall], options: InstanceOptions
    ) -> None:
        """Makes an instance, if it is new, with these options, and nodes in it."""
        request = submit_request(instance_id, definition, calls, options)
        functions = [convert.to_function(function) for function in request.functions]
        command = c.SubmitNodes(
            instance_id=convert.to_instance_id(instance_id),
            definition=definition,
            calls=convert.to_calls(request.calls, functions),
            options=convert.to_instance_options(request.options),
        )
        self._restore(command.instance_id)
        self._handle(command)

    def retry(self, instance_id: bytes) -> None:
        """Lets a failed instance go on."""
        self._restore(InstanceId(instance_id))
        self._handle(c.RetryInstance(instance_id=InstanceId(instance_id)))

    def rerun(self, instance_id: bytes, node_id: bytes) -> list[bytes]:
        """Lets a node begin anew, and what its value went into; returns all of them."""
        self._restore(InstanceId(instance_id))
        events = self._handle(c.RerunNode(instance_id=InstanceId(instance_id), node_id=NodeId(node_id)))
        return [reset.node.id for event in events if isinstance(event, e.NodesReset) for reset in event.resets]

    def _restore(self, instance_id: InstanceId) -> None:
        """Takes an instance that has ended back into memory, and its nodes in the place of those that had ended."""
        stored = self._journal.find_instance(instance_id)
        if stored is not None and instance_id not in self.scheduler.instances:
            self.scheduler.restore_instance(stored, self.now)
            nodes = self.scheduler.instances[instance_id].nodes
            self._nodes.update({(instance_id, node_id): node for node_id, node in nodes.items()})

    def cancel(self, instance_id: bytes) -> None:
        """Stops an instance."""
        self._change(c.CancelInstance(instance_id=InstanceId(instance_id)), "cancelled")

    def control(self, request: ControlInstanceRequest) -> InstanceInfo:
        """Changes how an instance is run; returns how it stands then."""
        command = convert.to_control_instance(request)
        self._change(command, command.wanted)
        return convert.from_instance(self.scheduler.instances[command.instance_id])

    def _change(self, command: c.CancelInstance | c.ControlInstance, wanted: str) -> None:
        try:
            self._handle(command)
        except UnknownInstance:
            summary = self._journal.summarize_instance(command.instance_id)
            if summary is None:
                raise
            raise InstanceEnded(instance_id=command.instance_id, state=summary.state, wanted=wanted) from None

    def has_ended(self, instance_id: bytes, node_id: bytes) -> bool:
        """Tells whether a node has ended."""
        return self._node(instance_id, node_id).state in TERMINAL

    def is_over(self, instance_id: bytes) -> bool:
        """Tells whether an instance runs no longer."""
        instance = self.scheduler.instances.get(InstanceId(instance_id))
        if instance is None:
            self._check_known(instance_id)
        return instance is None or instance.state is not InstanceState.RUNNING

    def instance(self, instance_id: bytes) -> InstanceInfo:
        """Tells how an instance stands."""
        instance = self.scheduler.instances.get(InstanceId(instance_id))
        if instance is not None:
            return convert.from_instance(instance)
        summary = self._journal.summarize_instance(InstanceId(instance_id))
        if summary is None:
            raise UnknownInstance(instance_id=instance_id)
        return convert.from_summary(summary)

    def failed_nodes(self, instance_id: bytes, most: int) -> list[NodeInfo]:
        """Tells of the first nodes that failed themselves."""
        whose = [node for (owner, _), node in self._nodes.items() if owner == instance_id]
        return [_info(node) for node in whose if node.state is NodeState.FAILED][:most]

    def first_node(self, instance_id: bytes) -> NodeInfo | None:
        """Tells which node of an instance was made first."""
        node = next((node for (whose, _), node in self._nodes.items() if whose == instance_id), None)
        if node is None:
            self._check_known(instance_id)
            return None
        return NodeInfo(node_id=node.id, instance_id=instance_id, function=node.function.spec.name)

    def outcome(self, instance_id: bytes, node_id: bytes) -> WatchResponse:
        """Tells how a node has ended."""
        return convert.outcome_of(self._node(instance_id, node_id))

    def why(self, instance_id: bytes, node_id: bytes) -> WhyResponse:
        """Tells what holds a node; with no id, the instance's first that has not ended."""
        node = self._node(instance_id, node_id) if node_id else self._first_live(instance_id)
        info = NodeInfo(
            node_id=node.id,
            instance_id=instance_id,
            function=node.function.spec.name,
            state=convert.NODE_STATES[node.state],
        )
        return WhyResponse(node=info, reasons=map(convert.from_reason, explain(self.scheduler, node, self.now)))

    # -- the worker's side ---------------------------------------------------------------------------------------------

    def grant(self) -> Held | None:
        """Leases the first node that may run now."""
        for event in self._handle(c.PullNode(worker_id=self._worker_id)):
            if isinstance(event, e.WorkGranted):
                ((node, token),) = event.leases
                return _held(node, token)
        return None

    def report(self, held: Held) -> None:
        """Takes the report of an attempt."""
        request = WorkRequest()
        write_results(request, [held])
        results = convert.to_results(request)
        completions = convert.to_completions(request.completions)
        self._handle(c.CompleteNodes(worker_id=self._worker_id, results=results, completions=completions))

    def hand_back(self, held: Held) -> None:
        """Takes back a lease whose node does not run any more."""
        lease = c.HeldLease(node_id=NodeId(held.node_id), token=held.token, instance_id=InstanceId(held.instance_id))
        self._handle(c.HandBack(worker_id=self._worker_id, leases=[lease]))

    def reject(self, held: Held, rejected: Rejected) -> None:
        """Takes back a lease whose node the worker cannot run."""
        lease = Lease(node_id=held.node_id, token=held.token)
        self._handle(convert.to_rejection(self._worker_id, Rejection(lease=lease, **rejected._asdict())))

    # -- time ----------------------------------------------------------------------------------------------------------

    def due_at(self) -> float:
        """Returns when something is due by itself; infinity for never."""
        due = self.scheduler.next_wakeup()
        return inf if due is None else due

    def advance(self, now: float) -> None:
        """Lets it be that time, unless it is later already, and does what is due then."""
        self.now = max(self.now, now)
        self._handle(c.Tick())

    # -- inside --------------------------------------------------------------------------------------------------------

    def _handle(self, command: c.Command) -> list[e.Event]:
        events = self.scheduler.handle(command, self.now)
        while self.scheduler.has_more:
            events += self.scheduler.handle(c.GrantWork(), self.now)
        self._journal.commit([event for event in events if not isinstance(event, e.VolatileEvent)])
        for event in events:
            if isinstance(event, e.NodesCreated):
                self._nodes.update({(node.instance.id, node.id): node for node in event.nodes})
            elif isinstance(event, e.NodesRemoved):
                for node in event.nodes:
                    del self._nodes[node.instance.id, node.id]
            elif isinstance(event, e.LeasesRevoked):
                self._revoked({token for _, token in event.leases})
        if self._check:
            check_invariants(self.scheduler)
        self._changed()
        return events

    def _node(self, instance_id: bytes, node_id: bytes) -> Node:
        node = self._nodes.get((instance_id, node_id))
        if node is None:
            self._check_known(instance_id)
            raise UnknownNode(instance_id=instance_id, node_id=node_id)
        return node

    def _first_live(self, instance_id: bytes) -> Node:
        nodes = [node for (whose, _), node in self._nodes.items() if whose == instance_id]
        if not nodes:
            self._check_known(instance_id)
            raise EmptyInstance(instance_id=instance_id)
        return next((node for node in nodes if node.state not in TERMINAL), nodes[0])

    def _check_known(self, instance_id: bytes) -> None:
        if self._journal.summarize_instance(InstanceId(instance_id)) is None:
            raise UnknownInstance(instance_id=instance_id)


def worker_with(
    *, tolerations: Iterable[str], include_queues: Iterable[str], exclude_queues: Iterable[str]
) -> c.ConnectWorker:
    """Makes the worker of a `Core`."""
    return c.ConnectWorker(
        worker_id=WorkerId(new_id()),
        name="in-process",
        include_queues=frozenset(checked_names("include_queues", include_queues)),
        exclude_queues=frozenset(checked_names("exclude_queues", exclude_queues)),
        tolerations=frozenset(checked_names("tolerations", tolerations)),
        slots=0,  # it takes node by node, so that each is the first in the queue at that time
    )


def _info(node: Node) -> NodeInfo:
    """Makes the message of a node that has ended, as far as it is asked for here."""
    return NodeInfo(
        node_id=node.id,
        instance_id=node.instance.id,
        function=node.function.spec.name,
        state=convert.NODE_STATES[node.state],
        attempts=node.attempts,
        failures=convert.from_attempts(node.failures or ()),
    )


def _held(node: Node, token: int) -> Held:
    spec = node.function.spec
    values = Values()
    convert.write_values(values, collect_values(node.dependencies))
    function = Function(spec.name, spec.definition_arguments, spec.timeout_s, spec.code_version, spec.release)
    attempt = node.attempts + 1
    return Held(node.id, token, node.instance.id, function, node.arguments, attempt, ValueTable(values))
