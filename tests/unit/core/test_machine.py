"""Random commands against a simple model: who holds what, and what every node must come to.

DAGORAMA_LONG_TESTS=1 runs many more of them, other ones each time, and makes what fails as small as it can.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from math import inf
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import InstanceEnded, NodeInUse, Refused, UnfitInstance
from dagorama_broker.core.invariants import check_invariants
from dagorama_broker.core.model.entities import Node, Worker
from dagorama_broker.core.model.keeping import kept_s
from dagorama_broker.core.model.states import ACTIVE, LIVE, TERMINAL, UNSUCCESSFUL, InstanceState, NodeState
from dagorama_broker.core.model.stored import StoredNode
from dagorama_broker.core.model.values import (
    Failure,
    FunctionSpec,
    InstanceId,
    Keep,
    LimitSpec,
    NewCall,
    NodeId,
    PruneReason,
    RetryPolicy,
    WorkerId,
)
from dagorama_broker.core.ready.limits import limits_of
from dagorama_broker.core.ready.queues import is_suspect
from dagorama_broker.core.scheduler import Scheduler
from tests.unit.core.transcript import SETTINGS, Bench

LONG = bool(os.environ.get("DAGORAMA_LONG_TESTS"))
PROFILE = settings(
    max_examples=2000 if LONG else 120,
    stateful_step_count=80 if LONG else 40,
    derandomize=not LONG,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink] if LONG else [Phase.generate],  # shrinking takes minutes
    suppress_health_check=list(HealthCheck),
)

#: What follows when nodes have ended; of very many a part comes with the next command, whichever that is.
FOLLOWING = (e.DependencyFailed, e.NodeCompleted, e.InstanceFinished, e.ValueCompared)

FUNCTIONS = [
    FunctionSpec(name="plain", queue="q"),
    FunctionSpec(name="flaky", queue="q", retry=RetryPolicy(max_attempts=3, interval_s=1.0, jitter=0.5)),
    FunctionSpec(name="train", queue="q", taint="gpu"),
    FunctionSpec(name="other", queue="r", retry=RetryPolicy(max_attempts=2)),
    FunctionSpec(name="other", queue="r", code_version="2"),
    FunctionSpec(name="slow", queue="q", retry=RetryPolicy(max_attempts=2), timeout_s=2.0),
    FunctionSpec(name="narrow", queue="q", limits=(LimitSpec(max=1),), timeout_s=3.0),
    FunctionSpec(name="rare", queue="r", limits=(LimitSpec(max=2), LimitSpec(rate_per_s=2.0, burst=2))),
    FunctionSpec(name="once", queue="q", at_most_once=True),
    FunctionSpec(name="urgent", queue="r", retry=RetryPolicy(max_attempts=2), start_timeout_s=3.0),
]
#: So long that some have ended for that long, and others have not.
KEEP = Keep(completed_s=0.2, failed_s=2.0, cancelled_s=0.1)
RERUNNABLE = {InstanceState.COMPLETED, InstanceState.FAILED}
KEYS = ["a", "b"]
QUEUE_NAMES = ["q", "r"]
WORKERS = [WorkerId(b"w1"), WorkerId(b"w2"), WorkerId(b"w3")]
#: Has no stream, so it asks for each node; the others are sent what they may run.
PULLER = WorkerId(b"puller")
FINISHER = WorkerId(b"finisher")
QUEUES = st.sampled_from([frozenset[str](), frozenset({"q"}), frozenset({"r"})])
#: Of function "other", the version that a worker announces; empty: none.
VERSIONS = st.sampled_from(["", "1", "2"])
TAINTS = st.sampled_from([frozenset[str](), frozenset({"gpu"})])


class Lease(NamedTuple):
    """What a worker was given once."""

    node_id: NodeId
    token: int
    instance_id: InstanceId


@dataclass
class Outcome:
    """What the accepted report of a node said."""

    failed: bool = False
    value: bytes = b""
    is_alias: bool = False
    promises: tuple[NodeId, ...] = ()


@dataclass
class Person:
    """A worker as the model sees it."""

    heard_at: float
    connected: bool = True
    left: bool = False
    live: dict[NodeId, int] = field(default_factory=dict)  #: the leases that are good, by its own account
    given: list[Lease] = field(default_factory=list)


class Model:
    """What the tests expect, kept by rules much simpler than the core's."""

    def __init__(self) -> None:
        self.calls: dict[InstanceId, list[NewCall]] = {}
        self.instance_of: dict[NodeId, InstanceId] = {}
        self.specs: dict[NodeId, NewCall] = {}
        self.outcomes: dict[NodeId, Outcome] = {}
        self.attempts: dict[NodeId, int] = {}
        self.cancelled: dict[InstanceId, set[NodeId]] = {}  #: of stopped instances the nodes that had not ended
        self.workers: dict[WorkerId, Person] = {}
        self.begun: dict[NodeId, WorkerId] = {}  #: of nodes that must not run twice, who may have begun to run them
        self.pruned: Counter[bytes] = Counter()  #: how many instances of each place are no more
        self.token_last = 0
        self.tokens_new: set[int] = set()

    def add(self, instance_id: InstanceId, calls: list[NewCall]) -> None:
        """Note calls that were accepted."""
        self.calls.setdefault(instance_id, []).extend(calls)
        for call in calls:
            self.instance_of[call.node_id] = instance_id
            self.specs[call.node_id] = call

    def settle(self, node_id: NodeId, outcome: Outcome) -> None:
        """Note the one report that ends a node's running."""
        assert node_id not in self.outcomes, "a node ends once"
        self.outcomes[node_id] = outcome

    def prune(self, instance_id: InstanceId) -> None:
        """Note that an instance is no more; another one has its place, under an id of its own."""
        for call in self.calls.pop(instance_id):
            self.forget(call.node_id)
            del self.specs[call.node_id]
        self.cancelled.pop(instance_id, None)
        self.pruned[instance_id[:2]] += 1

    def forget(self, node_id: NodeId) -> None:
        """Note that a node has not run."""
        self.outcomes.pop(node_id, None)
        self.attempts.pop(node_id, None)
        self.begun.pop(node_id, None)

    def blame(self) -> dict[NodeId, set[NodeId]]:
        """Give for every node the failures that may be named as the cause of its own; none for one that completed.

        A node may return the promise of one that waited for it in vain and failed of something else, so this goes
        round until nothing changes.
        """
        causes = {node_id: set[NodeId]() for node_id in self.specs}
        before = -1
        while before != (before := sum(map(len, causes.values()))):
            for node_id, call in self.specs.items():
                outcome = self.outcomes.get(node_id, Outcome())
                for other in (*call.dependency_ids, *outcome.promises):
                    causes[node_id] |= causes[other]
                if outcome.failed:
                    causes[node_id].add(node_id)
        return causes

    @cache  # noqa: B019 -- the model lives as long as its machine
    def value(self, node_id: NodeId) -> str:
        """Give the value of a node that completed, in words."""
        outcome = self.outcomes[node_id]
        parts = [self.value(other) for other in outcome.promises]
        return parts[0] if outcome.is_alias else f"{outcome.value.decode()}({','.join(parts)})"


class CoreMachine(RuleBasedStateMachine):
    """Clients, workers that break in every way, and a broker that is restarted."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(settings=replace(SETTINGS, keep=KEEP))
        self.model = Model()
        self.number = count(1)
        self.is_eager = True
        self.grace_until = 0.0  # nothing is granted before, unless all workers of before are back
        self.in_doubt: set[WorkerId] = set()
        self.at_once = 1  #: so many nodes go from state to state, or leave queues, at a time
        self.may_be_held = False  #: whether some node was ready at the restart, so that those in doubt may have it

    @property
    def scheduler(self) -> Scheduler:
        """The broker of the moment."""
        return self.bench.scheduler

    # -- what is seen -------------------------------------------------------------------------------------------------

    def tell_alone(self, command: c.Command) -> list[e.Event]:
        """Tell the core a command, and give what it decided, without what earlier commands had left over."""
        is_behind = bool(self.scheduler.graph.ended)
        return [event for event in self.tell(command) if not (is_behind and isinstance(event, FOLLOWING))]

    def tell(self, command: c.Command) -> list[e.Event]:
        """Have a command decided and committed, and let the model see what came of it."""
        events = self.bench.handle(command)
        for event in events:
            self.see(event)
        self.model.token_last = max([self.model.token_last, *self.model.tokens_new])
        self.model.tokens_new.clear()
        return events

    def see(self, event: e.Event) -> None:
        """Follow the leases; check what can be checked of a single event."""
        match event:
            case e.WorkGranted(worker=worker, leases=leases):
                for node, token in leases:
                    self.see_lease(worker.id, node, token)
                    full = [limit for limit in limits_of(node) if len(limit.holders) > (limit.spec.max or inf)]
                    assert not full, "no more run at once than a limit lets"
                    assert not node.instance.control.paused, "a pause holds"
                    assert not node.function.lane.paused, "a pause holds"
            case e.WorkerWelcomed(worker=worker, leases=leases):
                for node, token in leases:
                    self.see_lease(worker.id, node, token)
            case e.WorkerEvicted(worker=worker):
                person = self.model.workers[worker.id]
                assert person.heard_at + worker.lease_duration_s <= self.bench.now, "only the silent are evicted"
                person.connected = False
                person.live.clear()
            case e.LeasesRevoked(worker=worker, leases=leases):
                for node, token in leases:
                    assert self.model.workers[worker.id].live.pop(node.id) == token
            case e.AttemptFailed(node=node, attempt=attempt) if attempt.failure.type == "TimeoutError":
                assert node.function.spec.timeout_s, "only what has a timeout can take too long"
                self.note(c.NodeResult(node_id=node.id, token=node.token, failure=attempt.failure))
            case e.NodesRemoved(nodes=nodes):
                for node in nodes:
                    self.model.forget(node.id)
                    call = self.model.specs.pop(node.id)
                    self.model.calls[node.instance.id].remove(call)
            case e.NodesReset(resets=resets):
                for reset in resets:
                    if not reset.joins:
                        self.model.forget(reset.node.id)
            case e.AttemptFailed(node=node, attempt=attempt) if attempt.failure.type == "AttemptLost":
                assert node.id in self.model.begun, "only what may have run can be lost"
                self.model.settle(node.id, Outcome(failed=True))
            case e.AttemptFailed(node=node, attempt=attempt) if attempt.failure.type == "DeadlineExceeded":
                assert 0 < node.instance.deadline_at <= self.bench.now, "only what has a deadline can miss it"
                self.model.settle(node.id, Outcome(failed=True))
            case e.AttemptFailed(node=node, attempt=attempt) if attempt.failure.type == "QueueTimeout":
                assert node.function.spec.start_timeout_s, "only what has a start_timeout can wait for too long"
                assert not any(node.id in person.live for person in self.model.workers.values()), "it was not taken"
                self.model.settle(node.id, Outcome(failed=True))
            case e.AttemptFailed(node=node, attempt=attempt) if attempt.failure.type == "Quarantined":
                assert node.losses == SETTINGS.deliveries_max
                self.model.settle(node.id, Outcome(failed=True))

    def see_lease(self, worker_id: WorkerId, node: Node, token: int) -> None:
        """Check that nobody else runs the node, that it can run, and that its token is the largest ever."""
        holders = [person for person in self.model.workers.values() if node.id in person.live]
        assert not holders, "a node has one live lease"
        assert token > self.model.token_last, "fencing tokens grow from command to command"
        assert token not in self.model.tokens_new, "fencing tokens differ"
        self.model.tokens_new.add(token)
        assert all(dependency.state is NodeState.COMPLETED for dependency in node.dependencies)
        assert self.scheduler.workers[worker_id].view.filter.admits(node.function.lane)
        if node.function.spec.at_most_once:
            assert self.model.begun.setdefault(node.id, worker_id) == worker_id, "nobody else may run it"
        person = self.model.workers[worker_id]
        person.live[node.id] = token
        person.given.append(Lease(node.id, token, node.instance.id))

    @invariant()
    def holds(self) -> None:
        """Check what must hold after every command, and that the model's leases are the core's."""
        check_invariants(self.scheduler)
        for worker_id, person in self.model.workers.items():
            worker = self.scheduler.workers.get(worker_id)
            assert person.connected == (worker is not None)
            leases = {node.id: token for token, node in worker.leases.items()} if worker else {}
            assert leases == person.live

    # -- clients ------------------------------------------------------------------------------------------------------

    def draw_calls(self, data: st.DataObject, known: list[NodeId], most: int) -> list[NewCall]:
        """Draw new calls that depend on known nodes and on each other."""
        calls: list[NewCall] = []
        for _ in range(data.draw(st.integers(0, most))):
            pool = known + [call.node_id for call in calls]
            dependencies = data.draw(st.lists(st.sampled_from(pool), max_size=3)) if pool else []
            node_id = NodeId(b"n%d" % next(self.number))
            spec = data.draw(st.sampled_from(FUNCTIONS))
            key = data.draw(st.sampled_from(KEYS)) if spec.limits else ""
            keys = tuple(f"{spec.name} {key} {place}" for place in range(len(spec.limits)))
            calls.append(NewCall(node_id, spec, b"", tuple(dependencies), keys))
        return calls

    def submit(self, instance_id: InstanceId, calls: list[NewCall], deadline_s: float = 0.0) -> list[e.Event]:
        """Submit as the host does, which fetches a finished instance first; give what was decided on that alone."""
        if instance_id not in self.scheduler.instances and instance_id in self.bench.ledger.instances:
            self.scheduler.restore_instance(self.bench.ledger.stored(instance_id), self.bench.now)
        options = c.InstanceOptions(group="g" if instance_id[:2] in {b"i1", b"i3"} else "", deadline_s=deadline_s)
        return self.tell_alone(c.SubmitNodes(instance_id=instance_id, definition="D", calls=calls, options=options))

    @initialize(data=st.data(), at_once=st.sampled_from([1, 2, 1000]))
    def begin(self, data: st.DataObject, at_once: int) -> None:
        """Begin with some work and a worker."""
        self.scheduler.queues.at_once = self.at_once = at_once
        self.submit_nodes(data, instance=0, deadline_s=0.0)
        self.connect_worker(WORKERS[0], frozenset(), frozenset({"gpu"}), version="", slots=2, held=data)

    @rule(data=st.data(), instance=st.integers(0, 3), deadline_s=st.sampled_from([0.0, 0.0, 5.0, 60.0]))
    def submit_nodes(self, data: st.DataObject, instance: int, deadline_s: float) -> None:
        """Add nodes to an instance: new, running or finished."""
        place = b"i%d" % instance
        instance_id = InstanceId(place + b"'" * self.model.pruned[place])
        calls = self.draw_calls(data, [call.node_id for call in self.model.calls.get(instance_id, [])], 4)
        if calls and instance_id in self.model.cancelled:
            with pytest.raises(InstanceEnded):
                self.submit(instance_id, calls)
            return
        self.model.add(instance_id, calls)  # before: those that come after the deadline fail at once
        self.submit(instance_id, calls, deadline_s)
        self.maybe_grant()

    @rule(data=st.data())
    def submit_in_vain(self, data: st.DataObject) -> None:
        """Repeat what was submitted or called before: nothing happens. Submit nonsense: it is refused whole."""
        instance_id = data.draw(st.sampled_from(sorted(self.model.calls)))
        known = self.model.calls[instance_id]
        calls = data.draw(st.lists(st.sampled_from(known), unique_by=lambda call: call.node_id)) if known else []
        assert self.submit(instance_id, calls) == []
        good = self.draw_calls(data, [call.node_id for call in self.model.calls[instance_id]], 2)
        nonsense = NewCall(NodeId(b"nonsense"), FUNCTIONS[0], b"", (NodeId(b"nonsense"),))
        with pytest.raises(Refused):
            self.submit(instance_id, [*good, nonsense])

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        """Let a failed instance go on; one that has not failed is left alone."""
        instance_id = data.draw(st.sampled_from(sorted(self.model.calls)))
        if instance_id not in self.scheduler.instances:
            self.scheduler.restore_instance(self.bench.ledger.stored(instance_id), self.bench.now)
        instance = self.scheduler.instances[instance_id]
        command = c.RetryInstance(instance_id=instance_id)
        if instance.state is not InstanceState.FAILED:
            with pytest.raises(UnfitInstance):
                self.tell(command)
            self.tell(c.Heartbeat(worker_id=self.connected()[0]) if self.connected() else c.Tick())
            return
        self.tell(command)
        assert not any(node.state in UNSUCCESSFUL for node in instance.nodes.values())
        self.maybe_grant()

    @rule(data=st.data())
    def rerun(self, data: st.DataObject) -> None:
        """Run a node of a finished instance again, unless that would remove what somebody else needs."""
        ended = [it for it in self.bench.ledger.instances.values() if it.state in RERUNNABLE and it.nodes]
        if not ended:
            return
        stored = data.draw(st.sampled_from(sorted(ended, key=lambda it: it.seq)))
        node_id = data.draw(st.sampled_from([row.id for row in stored.nodes]))
        self.scheduler.restore_instance(self.bench.ledger.stored(stored.id), self.bench.now)
        try:
            self.tell(c.RerunNode(instance_id=stored.id, node_id=node_id))
        except NodeInUse:
            self.tell(c.Tick())  # it leaves memory with the next command, whatever that is
        self.maybe_grant()

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Stop an instance, now and then: whatever has not ended never gives anything."""
        if data.draw(st.integers(0, 4)):
            return
        instance_id = data.draw(st.sampled_from(sorted(self.model.calls)))
        instance = self.scheduler.instances.get(instance_id)
        command = c.CancelInstance(instance_id=instance_id)
        if instance is None or instance.state is not InstanceState.RUNNING:
            with pytest.raises(Refused):
                self.tell(command)
            return
        self.model.cancelled[instance_id] = {node.id for node in instance.nodes.values() if node.state in LIVE}
        self.tell(command)
        assert instance_id not in self.scheduler.instances
        self.maybe_grant()

    @rule(data=st.data(), reason=st.sampled_from([PruneReason.AGE, PruneReason.AGE, *PruneReason]))
    def prune(self, data: st.DataObject, reason: PruneReason) -> None:
        """Remove instances as the host does, which reads those that have ended: any that may go, and no others."""
        ended = self.bench.ledger.ended
        asked = data.draw(st.lists(st.sampled_from(sorted(ended)), min_size=1, unique=True)) if ended else []
        lived_s = self.scheduler.retention.lived_s(self.bench.now)
        expected = {
            instance_id
            for instance_id in asked
            if instance_id not in self.scheduler.instances
            and (
                reason is not PruneReason.AGE
                or lived_s >= ended[instance_id].ended_on + kept_s(KEEP, ended[instance_id].state)
            )
        }
        command = c.PruneInstances(instances=[ended[instance_id] for instance_id in asked], reason=reason)
        pruned = [event for event in self.tell(command) if isinstance(event, e.InstancesPruned)]
        assert {one.id for event in pruned for one in event.instances} == expected
        for instance_id in expected:
            self.model.prune(instance_id)
        if not self.model.calls:
            self.submit_nodes(data, instance=0, deadline_s=0.0)  # the other rules want one to be there

    @rule(
        data=st.data(),
        priority=st.sampled_from([None, None, -1, 0, 5]),
        paused=st.sampled_from([None, False, True]),
        running_max=st.sampled_from([None, 0, 1, 2]),
    )
    def control(self, data: st.DataObject, priority: int | None, paused: bool | None, running_max: int | None) -> None:
        """Change how an instance is run."""
        instance_id = data.draw(st.sampled_from(sorted(self.model.calls)))
        command = c.ControlInstance(instance_id=instance_id, priority=priority, paused=paused, running_max=running_max)
        instance = self.scheduler.instances.get(instance_id)
        if instance is None or instance.state is not InstanceState.RUNNING:
            with pytest.raises(Refused):
                self.tell(command)
            return
        self.tell(command)
        assert self.tell_alone(command) == [], "saying it again changes nothing"
        self.maybe_grant()

    @rule(
        queue=st.sampled_from(QUEUE_NAMES),
        paused=st.sampled_from([None, False, True]),
        running_max=st.sampled_from([None, 0, 1, 2]),
    )
    def control_queue(self, queue: str, paused: bool | None, running_max: int | None) -> None:
        """Change how a queue is run."""
        command = c.ControlQueue(queue=queue, paused=paused, running_max=running_max)
        self.tell(command)
        assert self.tell_alone(command) == [], "saying it again changes nothing"
        self.maybe_grant()

    # -- workers ------------------------------------------------------------------------------------------------------

    @rule(
        worker_id=st.sampled_from([*WORKERS, PULLER]),
        exclude=QUEUES,
        tolerations=TAINTS,
        version=VERSIONS,
        slots=st.integers(1, 3),
        held=st.data(),
    )
    def connect_worker(
        self,
        worker_id: WorkerId,
        exclude: frozenset[str],
        tolerations: frozenset[str],
        version: str,
        slots: int,
        held: st.DataObject,
    ) -> None:
        """Connect, maybe again, maybe with leases of before, which need not be good any more."""
        if worker_id == PULLER:
            slots = 0
        earlier = self.model.workers.get(worker_id)
        if earlier and earlier.connected and held.draw(st.integers(0, 3)):
            return
        given = earlier.given if earlier else []
        fitting = [
            lease
            for lease in given
            if lease.node_id in self.model.specs
            and self.model.specs[lease.node_id].function.queue not in exclude
            and self.model.specs[lease.node_id].function.taint in {"", *tolerations}
            and (not version or self.model.specs[lease.node_id].function.code_version in {"", version})
            and self.model.begun.get(lease.node_id, worker_id) == worker_id  # nobody names what he has handed back
        ]
        leases = held.draw(st.lists(st.sampled_from(fitting[-5:]), unique=True)) if fitting else []
        self.model.workers[worker_id] = Person(heard_at=self.bench.now, given=given)
        self.tell(
            c.ConnectWorker(
                worker_id=worker_id,
                name=worker_id.decode(),
                exclude_queues=exclude,
                tolerations=tolerations,
                versions=[("other", version)] if version else [],
                slots=slots,
                held=[c.HeldLease(node_id=node_id, token=token, instance_id=of) for node_id, token, of in leases],
            )
        )
        self.in_doubt.discard(worker_id)
        self.maybe_grant()

    def connected(self) -> list[WorkerId]:
        """Give the workers that are connected."""
        return sorted(worker_id for worker_id, person in self.model.workers.items() if person.connected)

    def has_workers(self) -> bool:
        """Tell whether a worker is connected."""
        return bool(self.connected())

    @precondition(has_workers)
    @rule(data=st.data(), left=st.booleans())
    def disconnect_worker(self, data: st.DataObject, left: bool) -> None:
        """Leave in order, or break."""
        worker_id = data.draw(st.sampled_from(self.connected()))
        self.model.workers[worker_id].connected = False
        self.model.workers[worker_id].live.clear()
        self.tell(c.DisconnectWorker(worker_id=worker_id, left=left))

    @precondition(has_workers)
    @rule(data=st.data(), drains=st.sampled_from([False, False, False, True]))
    def heartbeat(self, data: st.DataObject, drains: bool) -> None:
        """Say that a worker lives, or wants nothing further."""
        worker_id = data.draw(st.sampled_from(self.connected()))
        self.model.workers[worker_id].heard_at = self.bench.now
        self.tell(c.Heartbeat(worker_id=worker_id))
        if drains:
            self.tell(c.DrainWorker(worker_id=worker_id))

    @precondition(has_workers)
    @rule(data=st.data())
    def hand_back(self, data: st.DataObject) -> None:
        """Give leases back, good ones and others."""
        worker_id = data.draw(st.sampled_from(self.connected()))
        person = self.model.workers[worker_id]
        leases = data.draw(st.lists(st.sampled_from(person.given), max_size=3)) if person.given else []
        person.heard_at = self.bench.now
        for lease in leases:
            if self.is_live(worker_id, lease):
                del person.live[lease.node_id]
                self.model.begun.pop(lease.node_id, None)
        self.tell(
            c.HandBack(
                worker_id=worker_id, leases=[c.HeldLease(node_id=lease.node_id, token=lease.token) for lease in leases]
            )
        )

    @precondition(has_workers)
    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        """Give a node back, because of other code or of what is lacking: it and its like go to others from then on."""
        worker_id = data.draw(st.sampled_from(self.connected()))
        person = self.model.workers[worker_id]
        if not person.given or data.draw(st.integers(0, 2)):
            return
        lease = data.draw(st.sampled_from(person.given[-5:]))
        held = c.HeldLease(node_id=lease.node_id, token=lease.token)
        is_good = self.is_live(worker_id, lease)
        if is_good:
            del person.live[lease.node_id]
            self.model.begun.pop(lease.node_id, None)
        lacks = data.draw(st.sampled_from([None, "", "m:X", "m:Y"]))
        if lacks is None:
            events = self.tell_alone(c.RejectVersion(worker_id=worker_id, lease=held, code_version="9"))
        else:
            events = self.tell_alone(
                c.RejectUnable(worker_id=worker_id, lease=held, problem="it has none", lacks=lacks)
            )
        assert all(isinstance(event, e.NodesHandedBack) for event in events)
        if is_good:
            lane = self.scheduler.instances[lease.instance_id].nodes[lease.node_id].function.lane
            assert not self.scheduler.workers[worker_id].view.filter.admits(lane)
        self.maybe_grant()

    @precondition(has_workers)
    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        """Report on a few leases; each report is accepted exactly while the lease is live."""
        for _ in range(data.draw(st.integers(1, 5))):
            self.report_one(data)

    def report_one(self, data: st.DataObject) -> None:
        """Report on a lease, mostly a good one."""
        given = [(worker_id, lease) for worker_id in self.connected() for lease in self.model.workers[worker_id].given]
        live = [(worker_id, lease) for worker_id, lease in given if self.is_live(worker_id, lease)]
        is_stale = data.draw(st.integers(0, 7)) == 7
        choice = given[-5:] if is_stale else live
        if choice:
            worker_id, lease = data.draw(st.sampled_from(choice))
            kinds = [self.value, self.expansion, self.expansion, self.expansion, self.failure, self.nonsense]
            result = data.draw(st.sampled_from(kinds))(lease, data)
            self.deliver(worker_id, result)
            if not data.draw(st.integers(0, 9)):
                self.deliver(worker_id, result)
            self.maybe_grant()

    def is_live(self, worker_id: WorkerId, lease: Lease) -> bool:
        """Tell whether a lease is good."""
        return self.model.workers[worker_id].live.get(lease.node_id) == lease.token

    def deliver(self, worker_id: WorkerId, result: c.NodeResult) -> None:
        """Deliver a result, and note what it must lead to."""
        person = self.model.workers[worker_id]
        person.heard_at = self.bench.now
        is_good = self.is_live(worker_id, Lease(result.node_id, result.token, self.model.instance_of[result.node_id]))
        if is_good:
            del person.live[result.node_id]
        events = self.tell_alone(report(worker_id, result))
        assert any(isinstance(event, e.ResultRefused) for event in events) == (not is_good)
        if is_good:
            self.note(result)
        else:
            assert len(events) == 1, "a refused result changes nothing"

    def note(self, result: c.NodeResult) -> None:
        """Note an accepted result."""
        node_id = result.node_id
        if result.failure is not None:
            self.model.attempts[node_id] = self.model.attempts.get(node_id, 0) + 1
            policy = self.model.specs[node_id].function.retry
            if result.failure.permanent or self.model.attempts[node_id] >= policy.max_attempts:
                self.model.settle(node_id, Outcome(failed=True))
            return
        if any(node_id in call.dependency_ids for call in result.children):
            self.model.settle(node_id, Outcome(failed=True))  # see `nonsense`
            return
        self.model.add(self.model.instance_of[node_id], list(result.children))
        if result.alias_id is not None:
            self.model.settle(node_id, Outcome(is_alias=True, promises=(result.alias_id,)))
        else:
            self.model.settle(node_id, Outcome(value=result.payload or b"", promises=tuple(result.promise_ids)))

    def value(self, lease: Lease, data: st.DataObject) -> c.NodeResult:
        """Complete with a value."""
        duration_s = data.draw(st.sampled_from([0.0, 0.00005, 0.003, 1.0]))
        return c.NodeResult(node_id=lease.node_id, token=lease.token, payload=lease.node_id, duration_s=duration_s)

    def expansion(self, lease: Lease, data: st.DataObject) -> c.NodeResult:
        """Complete with children, and with promises for them or for what has ended before."""
        stored = self.bench.ledger.instances.get(lease.instance_id)
        rows = stored.nodes if stored is not None else []  # of one that was pruned nothing is known
        ended = [row.id for row in rows if row.state in TERMINAL]
        result = self.value(lease, data)
        result.children = self.draw_calls(data, ended, 3)
        promisable = ended + [call.node_id for call in result.children]
        if promisable:
            promises = data.draw(st.lists(st.sampled_from(promisable), max_size=3))
            if len(promises) == 1:
                result.payload, result.alias_id = None, promises[0]
            else:
                result.promise_ids = promises
        return result

    def failure(self, lease: Lease, data: st.DataObject) -> c.NodeResult:
        """Fail, with children that nobody must see."""
        failure = Failure(type="ValueError", message="no", permanent=data.draw(st.sampled_from([False, False, True])))
        children = self.draw_calls(data, [], 2)
        return c.NodeResult(node_id=lease.node_id, token=lease.token, failure=failure, children=children)

    def nonsense(self, lease: Lease, data: st.DataObject) -> c.NodeResult:
        """Complete with a child that waits for its own maker."""
        result = self.value(lease, data)
        waiting = NewCall(NodeId(b"n%d" % next(self.number)), FUNCTIONS[0], b"", (lease.node_id,))
        result.children = [*self.draw_calls(data, [], 2), waiting]
        return result

    @precondition(lambda self: PULLER in self.connected())
    @rule()
    def pull(self) -> None:
        """Ask for a node: it is the oldest that the worker may run, and there is none only where there is none."""
        person = self.model.workers[PULLER]
        person.heard_at = self.bench.now
        worker = self.scheduler.workers[PULLER]
        ready = [
            node
            for node in self.ready_for(worker)
            if not (worker.suspect and is_suspect(node)) and (node.instance.id, node.id) not in worker.unreported
        ]
        first = [] if self.in_doubt and self.may_be_held else sorted(ready, key=key_of)[:1]
        events = self.tell(c.PullNode(worker_id=PULLER))
        granted = [node for event in events if isinstance(event, e.WorkGranted) for node, _ in event.leases]
        assert granted == first
        self.maybe_grant()

    def ready_for(self, worker: Worker) -> list[Node]:
        """Give the ready nodes whose queue and taint are the worker's, and which nothing else holds."""
        return [
            node
            for instance in self.scheduler.instances.values()
            for node in instance.nodes.values()
            if node.state is NodeState.READY
            and worker.view.filter.admits(node.function.lane)
            and not node.instance.control.paused
            and not node.function.lane.paused
            and all(limit.room(self.bench.now) for limit in limits_of(node))
        ]

    # -- the broker ---------------------------------------------------------------------------------------------------

    def maybe_grant(self) -> None:
        """Grant, as the host does after each batch, unless the batch has further commands."""
        if self.is_eager:
            self.grant()

    @rule(is_eager=st.sampled_from([True, True, False]))
    def batch(self, is_eager: bool) -> None:
        """Have each command be a batch of its own, or only those before a grant."""
        self.is_eager = is_eager

    @rule()
    def grant(self) -> None:
        """Grant: nobody who could run something stays idle, and nobody is passed by a younger node."""
        while self.scheduler.has_more:
            self.grant_some()
        events = self.tell(c.GrantWork())
        while self.scheduler.has_more:  # what limits hold is parked bit by bit
            events += self.tell(c.GrantWork())
        granted: dict[WorkerId, list[tuple[Node, int]]] = {}
        for event in events:
            if isinstance(event, e.WorkGranted):
                granted.setdefault(event.worker.id, []).extend(event.leases)
        if self.in_doubt and self.may_be_held:
            assert not granted, "nothing is granted before the workers of before are back"
            return
        for worker in self.scheduler.workers.values():
            left = self.ready_for(worker)
            assert worker.slots or worker.id not in granted, "who pulls is sent nothing"
            trusted = [node for node in left if not is_suspect(node)]
            for node, _ in granted.get(worker.id, ()):
                lane = node.function.lane
                assert all(node.order < other.order for other in trusted if other.function.lane.group is lane.group)
            if not worker.draining and worker.has_free_slot:
                assert not trusted
                assert not left or worker.suspect

    @rule()
    def grant_some(self) -> None:
        """Grant once. Of what takes long a part may be left over."""
        self.tell(c.GrantWork())

    @rule(seconds=st.sampled_from([0.001, 0.03, 1.5, 4.0, 8.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass, in the steps in which the broker wants to be woken."""
        until = self.bench.now + seconds
        for _ in range(1000):
            due = self.scheduler.next_wakeup()
            self.bench.now = until if due is None else max(self.bench.now, min(due, until))
            self.tell(c.Tick())
            if self.bench.now >= self.grace_until:
                self.in_doubt.clear()
            if due is None or due > until:
                self.maybe_grant()
                return
        pytest.fail("the broker asks to be woken again and again and does nothing")

    @rule(really=st.integers(0, 2))
    def restart(self, really: int) -> None:
        """Start a new broker from what was committed: the graph is the same, and nobody holds a lease."""
        if really:
            return
        running = [i for i in self.scheduler.instances.values() if i.state is InstanceState.RUNNING]
        before = {instance.id: instance for instance in running}
        queues = (self.scheduler.queues.paused, capped(self.scheduler))
        self.bench.replay("restart")
        self.scheduler.queues.at_once = self.at_once
        after = self.scheduler.instances
        assert (self.scheduler.queues.paused, capped(self.scheduler)) == queues, "queues are as they were"
        assert sorted(after) == sorted(before), "what runs is restored"
        assert [instance.seq for instance in after.values()] == sorted(instance.seq for instance in after.values())
        for instance_id, instance in before.items():
            assert list(after[instance_id].nodes) == list(instance.nodes)
            for node_id, node in instance.nodes.items():
                assert facts(after[instance_id].nodes[node_id], self.bench.now) == facts(node, self.bench.now)
        self.in_doubt = set(self.bench.ledger.workers)
        nodes = [node for instance in after.values() for node in instance.nodes.values()]
        self.may_be_held = any(node.state in {NodeState.READY, NodeState.STARTED} for node in nodes)
        self.grace_until = self.bench.now + SETTINGS.reconnect_grace_s
        for person in self.model.workers.values():
            person.connected = False
            person.live.clear()

    # -- the end ------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Bring everything to its end, then compare with what the model expects of every node."""
        self.finish()
        rows = {row.id: row for row in self.bench.ledger.nodes.values()}
        assert rows.keys() == self.model.specs.keys(), "what was accepted exists, and nothing else"
        for node_id, causes in self.model.blame().items():
            self.check_end(rows[node_id], causes)
        for instance in self.bench.ledger.instances.values():
            states = {row.state for row in instance.nodes}
            if instance.id in self.model.cancelled:
                assert instance.state is InstanceState.CANCELLED
                assert instance.id not in self.scheduler.instances
                continue
            if not states:
                is_over = 0 < instance.deadline_at <= self.bench.now
                assert instance.state is (InstanceState.FAILED if is_over else InstanceState.RUNNING)
            else:
                assert instance.state is (InstanceState.FAILED if states & UNSUCCESSFUL else InstanceState.COMPLETED)
            assert (instance.id in self.scheduler.instances) == (instance.state is InstanceState.RUNNING)
        self.prune_all()

    def prune_all(self) -> None:
        """Let all that has ended be old: it goes, and what runs is all that is left."""
        self.bench.now += max(KEEP)
        ended = list(self.bench.ledger.ended.values())
        self.tell(c.PruneInstances(instances=ended, reason=PruneReason.AGE))
        assert {*self.bench.ledger.instances} == {*self.scheduler.instances}
        self.holds()

    def finish(self) -> None:
        """Let one worker that can do everything complete whatever is left."""
        for worker_id in self.connected():
            self.model.workers[worker_id].connected = False
            self.model.workers[worker_id].live.clear()
            self.tell(c.DisconnectWorker(worker_id=worker_id, left=True))
        for queue in QUEUE_NAMES:
            self.tell(c.ControlQueue(queue=queue, paused=False))
        for instance_id in list(self.scheduler.instances):
            self.tell(c.ControlInstance(instance_id=instance_id, paused=False))
        person = self.model.workers[FINISHER] = Person(heard_at=self.bench.now)
        self.tell(c.ConnectWorker(worker_id=FINISHER, name="finisher", slots=3, tolerations=frozenset({"gpu"})))
        for _ in range(1000):
            if not any(instance.live for instance in self.scheduler.instances.values()):
                return
            self.grant()
            for node_id, token in list(person.live.items()):
                self.deliver(FINISHER, c.NodeResult(node_id=node_id, token=token, payload=node_id))
            if not person.live:
                self.heartbeat_finisher(person)
                self.wait(1.5)
            self.holds()
        pytest.fail("something is stuck")

    def heartbeat_finisher(self, person: Person) -> None:
        """Keep the last worker."""
        person.heard_at = self.bench.now
        self.tell(c.Heartbeat(worker_id=FINISHER))

    def check_end(self, row: StoredNode, causes: set[NodeId]) -> None:
        """Check a node's last state, its value or its root cause."""
        if row.id in self.model.cancelled.get(self.model.instance_of[row.id], ()):
            assert (row.state, row.cause_seq) == (NodeState.CANCELLED, row.seq)
            return
        if not causes:
            assert row.state is NodeState.COMPLETED
            assert show_stored(row, self.bench.ledger.nodes) == self.model.value(row.id)
            return
        assert self.bench.ledger.nodes[row.cause_seq].id in causes
        has_run = row.id in self.model.outcomes
        has_failed = has_run and self.model.outcomes[row.id].failed
        assert row.state is (NodeState.FAILED if has_failed else NodeState.DEPENDENCY_FAILED)
        dependencies = self.model.specs[row.id].dependency_ids
        assert not has_run or all(dependency in self.model.outcomes for dependency in dependencies)


def capped(scheduler: Scheduler) -> dict[str, int]:
    """Give the caps of queues."""
    return {queue: limit.spec.max for queue, limit in scheduler.queues.limits.items()}


def key_of(node: Node) -> int:
    """Give the place of a ready node among those of all groups."""
    return node.order + node.function.lane.group.rank


def report(worker_id: WorkerId, result: c.NodeResult) -> c.CompleteNodes:
    """Report a result as a worker does: a plain value as a completion."""
    if result.payload is None or result.promise_ids or result.children:
        return c.CompleteNodes(worker_id=worker_id, results=[result])
    completion = (result.node_id, result.token, result.payload, result.duration_s, result.waited_s)
    return c.CompleteNodes(worker_id=worker_id, completions=[completion])


def facts(node: Node, now: float) -> dict[str, object]:
    """Give what a restart must not change about a node. Ready, after its backoff too, and leased are memory only."""
    backs_off = node.state is NodeState.BACKOFF and node.retry_at > now
    is_due = node.state is NodeState.WAITING and not node.missing
    is_runnable = is_due or (node.state in ACTIVE and not backs_off)
    return {
        "seq": node.seq,
        "state": "runnable" if is_runnable else node.state,
        "dependencies": [other.id for other in node.dependencies],
        "missing": node.missing if node.state in LIVE else 0,
        "attempts": node.attempts,
        "failures": node.failures,
        "payload": node.payload,
        "promises": [other.id for other in node.promises],
        "source": node.source and node.source.id,
        "cause": node.cause and node.cause.id,
        "retry_at": node.retry_at if backs_off else 0,
        "finished_at": node.finished_at,
        "parent": node.parent_seq,
        "function": node.function.spec,
        "limits": [limit.key for limit in node.limits],
        "instance": (node.instance.group, node.instance.control),
    }


def show_stored(row: StoredNode, rows: dict[int, StoredNode]) -> str:
    """Put a stored value in the words of `Model.value`."""
    while row.payload is None:
        (seq,) = row.promise_seqs
        row = rows[seq]
    return f"{row.payload.decode()}({','.join(show_stored(rows[seq], rows) for seq in row.promise_seqs)})"


TestCoreMachine = CoreMachine.TestCase
TestCoreMachine.settings = PROFILE
