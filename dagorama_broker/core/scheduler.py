"""The scheduler: commands in, events out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.control import Controller
from dagorama_broker.core.deadlines import expire_instance, fail_expired, fail_overdue, fail_unstarted
from dagorama_broker.core.grants.attempts import Attempts
from dagorama_broker.core.grants.dispatch import Dispatcher
from dagorama_broker.core.grants.fleet import Fleet
from dagorama_broker.core.graph.bounds import Bounds
from dagorama_broker.core.graph.graph import Graph
from dagorama_broker.core.graph.hooking import call_hooks
from dagorama_broker.core.graph.resetting import Resets
from dagorama_broker.core.graph.restoring import restore_instance
from dagorama_broker.core.graph.submitting import submit_nodes
from dagorama_broker.core.model.entities import Instance, Node, Worker
from dagorama_broker.core.model.stored import Snapshot, StoredInstance
from dagorama_broker.core.model.values import InstanceId, NodeId, Rng, WorkerId
from dagorama_broker.core.ready.limits import Limits
from dagorama_broker.core.ready.queues import ReadyQueues
from dagorama_broker.core.retention import Retention
from dagorama_broker.core.settings import Settings

#: Fencing tokens are `epoch << 40 | counter`: a broker would have to grant a trillion leases between two restarts to
#: meet the tokens of its successor.
_EPOCH_SHIFT = 40


class Scheduler:
    """Decides everything about instances, nodes and leases.

    One object, used by one thread: no I/O, no locks, no clock. `now` is in seconds since the epoch and must not go
    back. After a call of `handle`, make its durable events durable before anything that follows from them leaves the
    process.
    """

    def __init__(self, *, rng: Rng, settings: Settings | None = None, epoch: int = 1) -> None:
        self.settings = settings or Settings()
        self.queues = ReadyQueues()
        self.limits = Limits()
        #: What the current command has decided so far: the parts add to it, and only `handle` takes from it.
        self._events: list[e.Event] = []
        self.graph = Graph(self.queues, self.limits, Bounds(self.settings), self._events)
        self.dispatcher = Dispatcher(self.queues, self.limits, self._events, token=epoch << _EPOCH_SHIFT)
        self.attempts = Attempts(
            self.graph,
            self.dispatcher,
            rng=rng,
            deliveries_max=self.settings.deliveries_max,
            verdict_after_s=self.settings.reconnect_grace_s,
        )
        self.fleet = Fleet(self.graph, self.queues, self.dispatcher, self.attempts, self.settings)
        self.resets = Resets(self.graph)
        #: Instances that nobody has submitted, and that the last command has made.
        self.hook_instances: Sequence[InstanceId] = ()
        self.controller = Controller(self.graph, self.queues, self.dispatcher, self.fleet)
        self.retention = Retention(self.graph, self.settings)
        self._may_be_held = False  #: whether there is anything that the workers who are awaited could have
        fleet = self.fleet
        # What one part decides alone goes straight to it; the scheduler's own methods bring several together.
        self._handlers: dict[type[c.Command], Callable[[Any, float], None]] = {
            c.SubmitNodes: self._submit_nodes,
            c.ConnectWorker: fleet.connect,
            c.DisconnectWorker: fleet.disconnect,
            c.Heartbeat: fleet.heartbeat,
            c.LoseWorker: fleet.lose,
            c.ReportProgress: fleet.report_progress,
            c.LabelNodes: fleet.label_nodes,
            c.AnnounceDefinitions: fleet.announce,
            c.DrainWorker: fleet.drain,
            c.CompleteNodes: self._complete_nodes,
            c.HandBack: fleet.hand_back,
            c.PullNode: self._pull_node,
            c.RejectVersion: fleet.reject_version,
            c.RejectUnable: fleet.reject_unable,
            c.CancelInstance: self.controller.cancel_instance,
            c.RetryNode: self.controller.retry_node,
            c.RetryInstance: self._begin_anew,
            c.RerunNode: self._begin_anew,
            c.PruneInstances: self.retention.prune,
            c.ControlInstance: self.controller.control_instance,
            c.ControlQueue: self.controller.control_queue,
            c.GrantWork: self._grant_work,
            c.BeginGrace: fleet.begin_grace,
            c.Tick: self._tick,
        }

    # -- the way in ---------------------------------------------------------------------------------------------------

    def handle(self, command: c.Command, now: float) -> list[e.Event]:
        """Decide on one command. Raises a `Refused`, and has changed nothing, where the command is at fault."""
        self._events.clear()
        self.graph.begin()
        self._handlers[type(command)](command, now)
        if self.graph.ended:
            self.graph.tell_dependents(now)
        self.dispatcher.record_starts()
        if self.graph.touched:
            self.graph.finish_instances(now)
        elif self.graph.leaving:
            self.graph.sweep()
        self.hook_instances = call_hooks(self.graph, now) if self.graph.hooked else ()
        return self._events.copy()

    @property
    def has_more(self) -> bool:
        """Return whether work is left over that would have taken too long at once; each `GrantWork` does some of it."""
        graph = self.graph
        # An instance that was brought back for a command that was refused is touched, and still to leave memory.
        left = graph.leaving or graph.touched or graph.is_behind or self.queues.moving or self.queues.half_woken
        return bool(left) or self.dispatcher.has_more

    def next_wakeup(self) -> float | None:
        """Return the time at which a `Tick` is due, or None. Ask again after each batch of commands."""
        fleet, graph = self.fleet, self.graph
        due = [
            at
            for at in (
                fleet.expiry_check_at,
                self.dispatcher.recalls.due_at,
                self.dispatcher.overrun_at,
                self.limits.due_at,
                self.queues.start_timers.next_at,
                graph.deadline_timers.next_at,
                graph.backoffs.next_at,
                fleet.absences.next_at,
                fleet.awaited_until if fleet.awaited else None,
            )
            if at is not None
        ]
        return min(due) if due else None

    # -- looking ------------------------------------------------------------------------------------------------------

    @property
    def instances(self) -> dict[InstanceId, Instance]:
        """Return the instances in memory; the journal may know more."""
        return self.graph.instances

    @property
    def workers(self) -> dict[WorkerId, Worker]:
        """Return the connected workers."""
        return self.fleet.workers

    @property
    def is_recovering(self) -> bool:
        """Return whether nothing is granted yet, because workers from before a restart may still have ready nodes."""
        return bool(self.fleet.awaited) and self._may_be_held

    def instance(self, instance_id: InstanceId) -> Instance:
        """Return an instance that is in memory. Raises `UnknownInstance`; the journal may still know it."""
        return self.graph.instance(instance_id)

    def node(self, instance_id: InstanceId, node_id: NodeId) -> Node:
        """Return a node that is in memory. Raises `UnknownInstance` or `UnknownNode`."""
        return self.graph.node(instance_id, node_id)

    # -- what the journal knows ---------------------------------------------------------------------------------------

    def restore(self, snapshot: Snapshot, now: float) -> None:
        """Take over a journal's snapshot, once, before the first command.

        Where nodes are ready, nothing is granted until the workers that were connected are back, or the grace time has
        passed: the nodes that they still run must not be run a second time.
        """
        self.graph.instance_seq = snapshot.instance_seq_last
        self.graph.node_seq = snapshot.node_seq_last
        self.retention.restore(snapshot.lived, now)
        if snapshot.epoch > 1:
            self.limits.restored_at = now
        for queue, control in snapshot.queues.items():
            self.controller.restore_queue(queue, control, now)
        for stored in snapshot.instances:
            self.restore_instance(stored, now)
        self.limits.restore(snapshot.limits, now)
        self.attempts.end_backoffs(now)  # a worker may have such a node already, and must be able to keep it
        self.fleet.await_workers(snapshot.workers, now)
        self._may_be_held = any(lane.ready or lane.parked for lane in self.queues.lanes.values())
        self._may_be_held |= any(self.fleet.absences)

    def restore_instance(self, stored: StoredInstance, now: float) -> None:
        """Take an instance back into memory, so that nodes can be added to it. A no-op when it is there."""
        restore_instance(self.graph, stored, now)

    # -- commands -----------------------------------------------------------------------------------------------------

    def _submit_nodes(self, command: c.SubmitNodes, now: float) -> None:
        instance = submit_nodes(self.graph, command, now)
        if instance is not None and instance.deadline_at and instance.deadline_at <= now:
            expire_instance(self.graph, self.dispatcher, instance, now)
            fail_expired(self.graph, now)

    def _begin_anew(self, command: c.RetryInstance | c.RerunNode, now: float) -> None:
        self.resets.begin_anew(command, self.dispatcher.token_last, now)

    def _complete_nodes(self, command: c.CompleteNodes, now: float) -> None:
        self.attempts.report(self.fleet.hear(command.worker_id, now), command, now)

    def _pull_node(self, command: c.PullNode, now: float) -> None:
        worker = self.fleet.hear(command.worker_id, now)
        if not self.is_recovering:
            self.dispatcher.open_rates(now)  # as in _grant_work
            self.dispatcher.pull(worker, now)

    def _grant_work(self, command: c.GrantWork, now: float) -> None:
        graph = self.graph
        if graph.is_behind:  # first, or the last of it would not be granted before another command comes
            graph.clear_stopped(now)
            fail_expired(graph, now)
            graph.fail_doomed(now)
            graph.tell_dependents(now)
            graph.work_off(now)
        if self.queues.moving:
            self.queues.move_on(now)
        if not self.is_recovering:
            self.dispatcher.open_rates(now)  # who has waited longest comes before those that have just been submitted
            self.dispatcher.grant(now)
            if not graph.is_behind:
                self.dispatcher.tell_drained()

    def _tick(self, command: c.Tick, now: float) -> None:
        self.attempts.end_backoffs(now, self.queues.at_once)
        self.dispatcher.open_rates(now)
        for node in self.dispatcher.overrun(now):
            self.attempts.time_out(node, now)
        fail_unstarted(self.graph, now, is_recovering=self.is_recovering)
        fail_overdue(self.graph, self.dispatcher, now)
        self.fleet.tick(now, command.late_s)
        self.dispatcher.recalls.ask_due(now)
