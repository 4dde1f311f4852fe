"""The workers: connecting, keeping leases over a broken connection, and being given up."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import NamedTuple

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import UnknownWorker
from dagorama_broker.core.grants.absence import Absences
from dagorama_broker.core.grants.attempts import Attempts
from dagorama_broker.core.grants.dispatch import Dispatcher
from dagorama_broker.core.graph.graph import Graph
from dagorama_broker.core.model.entities import Node, Worker
from dagorama_broker.core.model.filters import Filter
from dagorama_broker.core.model.states import TERMINAL, NodeState
from dagorama_broker.core.model.values import InstanceId, NodeId, Note, WorkerId
from dagorama_broker.core.noting import note_action
from dagorama_broker.core.ready.queues import ReadyQueues
from dagorama_broker.core.settings import Settings

#: A tick that comes later than this part of a lease duration shows that the broker has been away. Less is jitter.
_AWAY_PART = 0.1

#: The version of nodes that any version of the code may run.
_ANY = frozenset({""})


#: So long after the end of a connection somebody may tell how its worker ended.
_EVIDENCE_AFTER_S = 30.0


class _Departure(NamedTuple):
    """A worker whose connection broke."""

    at: float
    worker: str
    held: list[tuple[InstanceId, NodeId]]


class Fleet:
    """Connects, hears, drains and evicts workers."""

    def __init__(
        self, graph: Graph, queues: ReadyQueues, dispatcher: Dispatcher, attempts: Attempts, settings: Settings
    ) -> None:
        self.workers: dict[WorkerId, Worker] = {}
        self.expiry_check_at: float | None = None  #: not later than the first worker's expiry
        #: Workers from before a restart, in their order; nothing is granted until they are back.
        self.awaited: dict[WorkerId, str] = {}
        self.awaited_until = 0.0
        self._prolonged_until = 0.0  #: to when that was put off last, for a time in which the broker was away
        self.absences = Absences(attempts, queues, dispatcher)
        #: Whose connections broke just now, with the names of the workers and what these held: somebody may tell more.
        self._departed: dict[WorkerId, _Departure] = {}
        #: Workers that people want to end and that have not said yet that they do. The word may be lost with a
        #: connection that is dead already, so they are told again when they are back.
        self._asked: set[WorkerId] = set()
        #: The name of the worker whose connection broke last, and when.
        self.last_lost: tuple[str, float] | None = None
        self._graph = graph
        self._queues = queues
        self._dispatcher = dispatcher
        self._attempts = attempts
        self._settings = settings

    def worker(self, worker_id: WorkerId) -> Worker:
        """Return a connected worker. Raises `UnknownWorker`."""
        worker = self.workers.get(worker_id)
        if worker is None:
            raise UnknownWorker(worker_id=worker_id)
        return worker

    def hear(self, worker_id: WorkerId, now: float) -> Worker:
        """Return a worker and note that it lives."""
        worker = self.worker(worker_id)
        worker.expires_at = now + worker.lease_duration_s
        return worker

    def heartbeat(self, command: c.Heartbeat, now: float) -> None:
        """Note that a worker lives."""
        self.hear(command.worker_id, now)

    def drain(self, command: c.DrainWorker, now: float) -> None:
        """Grant a worker no more."""
        worker = self.worker(command.worker_id)
        if not worker.draining:
            self._graph.events.append(e.WorkerDraining(worker=worker, at=now, is_asked=command.is_asked))
            if command.is_asked:
                note_action(self._graph.events, "drain", command.by, now, of=f"worker {worker.name}")
                self._asked.add(worker.id)
        if not command.is_asked:
            self._asked.discard(worker.id)
        worker.draining = True
        self._queues.stir(worker)

    def connect(self, command: c.ConnectWorker, now: float) -> None:
        """Take a worker in, with what it still holds."""
        settings = self._settings
        lease_duration_s = settings.lease_duration_s if command.slots else settings.pull_lease_duration_s
        # A node without a version is for any.
        versions = {name: frozenset({version, ""}) for name, version in command.versions}
        filter = Filter(command.include_queues, command.exclude_queues, command.tolerations, command.modules)
        view = self._queues.view(filter.taking(versions))
        worker = Worker(
            id=command.worker_id,
            name=command.name,
            view=view,
            slots=command.slots,
            lease_duration_s=lease_duration_s,
            expires_at=now + lease_duration_s,
            exit_when_drained=command.exit_when_drained,
            exit_when_mismatched=command.exit_when_mismatched,
            versions=versions,
            draining=command.worker_id in self._asked,
            definitions=command.definitions,
        )
        earlier = self.workers.pop(worker.id, None)
        if earlier is not None:
            # The new connection came before the end of the old one was seen. What it still holds it keeps below.
            self._let_go(earlier, None, now)
            self._dispatcher.forget(earlier, now)
            self._queues.leave(earlier)
            view = worker.view = self._queues.view(view.filter)  # the earlier one may have been the view's last
        elif worker.slots and worker.id not in self.awaited:
            self._graph.events.append(e.WorkerJoined(worker_id=worker.id, name=worker.name, at=now))
        self.workers[worker.id] = worker
        self._queues.enter(worker)
        self._dispatcher.recalls.stirred = True
        self.awaited.pop(worker.id, None)
        self.expiry_check_at = min(worker.expires_at, self.expiry_check_at or inf)
        # Before anything is granted: no other worker begins what this one goes on with.
        leases = [lease for held in command.held if (lease := self._keep(worker, held, now)) is not None]
        self.absences.end(now, worker)  # after the leases: it no longer has those nodes that it has not brought
        self._graph.events.append(e.WorkerWelcomed(worker=worker, leases=leases))
        if worker.draining:
            self._graph.events.append(e.WorkerDraining(worker=worker, at=now, is_asked=True))

    def _keep(self, worker: Worker, held: c.HeldLease, now: float) -> tuple[Node, int] | None:
        """Lease a node again to the worker that still has it.

        It is not leased again where another worker got it, where it has ended or begun anew since, or where the worker
        may not have it any more. Its attempt goes on, so its time counts from when that began.
        """
        instance = self._graph.instances.get(held.instance_id) if held.instance_id else None
        node = instance.nodes.get(held.node_id) if instance else None
        if (
            node is None
            or node.instance.halted
            or held.token <= node.void_token  # that attempt is over, or was before the node began anew
            or not worker.view.filter.admits(node.function.lane)
        ):
            return None
        if node.state is NodeState.STARTED:
            self.absences.claim(node, held.token, worker)
        if node.state not in TERMINAL:  # also where another worker runs it now
            self._attempts.acquit(node, worker.name, now)  # the connection was lost, not the worker
        if node.state is not NodeState.READY:
            return None
        # What the broker knows itself counts; after a restart it is what the worker says.
        began_at = node.leased_at if held.token == node.token else now - held.held_s
        return node, self._dispatcher.lease(node, worker, now, began_at)

    def disconnect(self, command: c.DisconnectWorker, now: float) -> None:
        """Let a worker go whose stream has ended."""
        worker = self.workers.get(command.worker_id)
        if worker is not None:
            if not command.left:
                # Its supervisor may tell how it ended after its connection broke: until then it is known what it had.
                self._departed = {id: one for id, one in self._departed.items() if now < one.at + _EVIDENCE_AFTER_S}
                held = [(node.instance.id, node.id) for node in worker.leases.values()]
                self._departed[worker.id] = _Departure(now, worker.name, held)
                self.last_lost = worker.name, now
            else:
                self._asked.discard(worker.id)
            self._let_go(worker, None if command.left else "its connection broke", now)
            self._remove(worker, now, lost=not command.left)

    def lose(self, command: c.LoseWorker, now: float) -> None:
        """Take down how a worker ended."""
        worker = self.workers.get(command.worker_id)
        if worker is not None:  # the end of its connection is still on its way
            self._graph.events.append(e.WorkerEvicted(worker=worker))
            self.disconnect(c.DisconnectWorker(worker_id=worker.id), now)
        self._asked.discard(command.worker_id)
        self.absences.testify(command.worker_id, command.how, now)
        departure = self._departed.pop(command.worker_id, None)
        for instance_id, node_id in departure.held if departure is not None else ():
            instance = self._graph.instances.get(instance_id)
            node = instance.nodes.get(node_id) if instance is not None else None
            if departure is not None and node is not None and node.state not in TERMINAL:
                self._attempts.testify(node, departure.worker, command.how, command.is_loss, now)

    def _remove(self, worker: Worker, now: float, *, lost: bool) -> None:
        """Forget a worker that has no lease any more."""
        del self.workers[worker.id]
        self._queues.leave(worker)
        self._dispatcher.forget(worker, now)
        if worker.slots:  # one that pulls was never said to have joined
            self._graph.events.append(e.WorkerLeft(worker_id=worker.id, name=worker.name, lost=lost))

    def _let_go(self, worker: Worker, reason: str | None, now: float) -> None:
        """End the leases of a worker that may come back; with a reason, it was lost with what it held."""
        for node in list(worker.leases.values()):
            if node.function.spec.at_most_once:
                self.absences.begin(node, worker, now + self._settings.reconnect_grace_s, now)
            elif reason is None:
                self._attempts.take_back(node, now)
            else:
                self._attempts.lose(node, worker, reason, now)

    def report_progress(self, command: c.ReportProgress, now: float) -> None:
        """Remember how far attempts have got. Nothing depends on it, so it is decided on without an event."""
        worker = self.hear(command.worker_id, now)
        worker.progress.update((token, progress) for token, progress in command.progress if token in worker.leases)

    def label_nodes(self, command: c.LabelNodes, now: float) -> None:
        """Label nodes that the worker has leases on. Nothing depends on it."""
        leases = self.hear(command.worker_id, now).leases
        notes = [(leases[token], Note(label=label)) for token, label in command.labels if label and token in leases]
        if notes:
            self._graph.events.append(e.NodesNoted(notes=notes))

    def announce(self, command: c.AnnounceDefinitions, now: float) -> None:
        """Remember the definitions that a worker tells of. Nothing depends on it."""
        self.hear(command.worker_id, now).definitions = command.definitions

    def hand_back(self, command: c.HandBack, now: float) -> None:
        """Take back leases that the worker gives up."""
        worker = self.hear(command.worker_id, now)
        for held in command.leases:
            self._dispatcher.stopped(worker, held.token, now)  # where the lease was revoked before
            if held.instance_id is not None:
                worker.unreported.discard((held.instance_id, held.node_id))
            node = worker.leases.get(held.token)
            if node is not None and node.id == held.node_id:
                self._attempts.take_back(node, now)

    def reject_version(self, command: c.RejectVersion, now: float) -> None:
        """Take a lease back, and grant this worker no more of that version, nor of others that it does not have."""
        worker = self.worker(command.worker_id)
        node = worker.leases.get(command.lease.token)
        if node is None or node.id != command.lease.node_id:
            return
        self._attempts.take_back(node, now)
        # A worker has one version of a function. "" stands for nodes without a version, which it takes as before.
        spec = node.function.spec
        before = worker.versions.get(spec.name, _ANY)
        taken = (before & _ANY | {command.code_version}) - {spec.code_version}
        if taken == worker.versions.get(spec.name):
            return  # as for most nodes of a batch that is given back
        worker.versions[spec.name] = taken
        self._refilter(worker)

    def reject_unable(self, command: c.RejectUnable, now: float) -> None:
        """Take a lease back, and grant this worker no more nodes that it cannot run for the same reason."""
        worker = self.worker(command.worker_id)
        node = worker.leases.get(command.lease.token)
        if node is None or node.id != command.lease.node_id:
            return
        if command.lacks:
            self._graph.need(node, command.lacks)
        self._attempts.take_back(node, now)
        name = command.lacks or node.function.spec.name
        is_new = name not in worker.lacking
        worker.lacking[name] = command.problem
        if is_new:
            self._refilter(worker)

    def _refilter(self, worker: Worker) -> None:
        """Let a worker see the lanes that it takes from now."""
        filter = worker.view.filter.taking(worker.versions)._replace(lacking=frozenset(worker.lacking))
        self._queues.leave(worker)
        worker.view = self._queues.view(filter)
        self._queues.enter(worker)
        self._dispatcher.recalls.stirred = True

    def await_workers(self, workers: Mapping[WorkerId, str], now: float) -> None:
        """Wait for the workers from before a restart, and for workers whose connections had just broken."""
        self.awaited = dict(workers)
        self.awaited_until = now + self._settings.reconnect_grace_s
        unclaimed, self._graph.unclaimed = self._graph.unclaimed, []
        self.absences.begin_again(unclaimed, self.awaited_until)

    def begin_grace(self, command: c.BeginGrace, now: float) -> None:
        """Count the time that workers have to come back from now on."""
        self.awaited_until = now + self._settings.reconnect_grace_s
        self.absences.postpone(self.awaited_until)

    def tick(self, now: float, late_s: float) -> None:
        """Give up workers that have been silent for too long, unless the broker itself was away."""
        if late_s > _AWAY_PART * self._settings.lease_duration_s:
            self._forgive_silence(now)
        if self.expiry_check_at is not None and self.expiry_check_at <= now:
            self._evict_silent(now)
        if self.awaited and self.awaited_until <= now:
            self._graph.events.extend(
                e.WorkerLeft(worker_id=worker_id, name=name, lost=True) for worker_id, name in self.awaited.items()
            )
            self.awaited = {}
        self.absences.end(now)

    def _forgive_silence(self, now: float) -> None:
        """Treat all workers as if they had been heard of now: the messages that they sent meanwhile are still unread.

        This is done once, until they are heard again: else no worker would ever be given up where ticks are late again
        and again. The same goes for workers that are away.
        """
        for worker in self.workers.values():
            if worker.expires_at != worker.forgiven_until:
                worker.expires_at = worker.forgiven_until = now + worker.lease_duration_s
        self.expiry_check_at = min((worker.expires_at for worker in self.workers.values()), default=None)
        until = now + self._settings.reconnect_grace_s
        if self.awaited_until != self._prolonged_until:
            self.awaited_until = self._prolonged_until = until
        self.absences.prolong(until)

    def _evict_silent(self, now: float) -> None:
        for worker in [worker for worker in self.workers.values() if worker.expires_at <= now]:
            self._graph.events.append(e.WorkerEvicted(worker=worker))
            for node in list(worker.leases.values()):
                if not worker.slots:  # it has no connection, so silence is all that there ever is to see of its death
                    self._attempts.lose(node, worker, f"no heartbeat for {worker.lease_duration_s:g} s", now)
                elif node.function.spec.at_most_once:
                    self.absences.begin(node, worker, now + self._settings.reconnect_grace_s, now)
                else:
                    self._attempts.give_up_silent(node, worker, now)
            self._remove(worker, now, lost=True)
        self.expiry_check_at = min((worker.expires_at for worker in self.workers.values()), default=None)
