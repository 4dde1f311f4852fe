"""The broker's core for the in-process broker, with what a host keeps around it, and a clock that is moved by hand.

It keeps the state for the broker's own requests. Nothing here runs, waits or locks.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import TypeVar, cast

from dagorama.calls.ids import new_id
from dagorama.calls.large import MemoryValues
from dagorama.client.port import ReadLogs
from dagorama.options import checked_names
from dagorama.testing.translating import to_rejection, to_result
from dagorama.worker.shell.held import Function, Held, Rejected, ValueTable
from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.graph.payloads import collect_values
from dagorama_broker.core.invariants import check_invariants
from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.keeping import told_by
from dagorama_broker.core.model.stored import EndedInstance
from dagorama_broker.core.model.values import AnnouncedDefinition, InstanceId, NodeId, WorkerId
from dagorama_broker.core.scheduler import Scheduler
from dagorama_broker.core.settings import Settings
from dagorama_broker.core.why import StoreWait
from dagorama_broker.logs.blocks import Arrival, Chunk
from dagorama_broker.logs.store import LogStore
from dagorama_broker.requests.answers import SettingInfo
from dagorama_broker.requests.keeper import runs_in
from dagorama_broker.requests.references import FindSizes
from dagorama_broker.storage.memory import MemoryJournal

T = TypeVar("T")


class Core:
    """A scheduler with one worker, which asks for each node when it has done with the last. Not for several threads.

    It is the `Keeper` of requests.
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
        """Call `changed` after each step, and `revoked` with the tokens of leases that it has ended."""
        # The worker is here for as long as this is: there is no silence to wait for.
        self.scheduler = Scheduler(rng=random.Random(seed), settings=Settings(pull_lease_duration_s=inf))
        self.scheduler.queues.at_once = sys.maxsize  # here nobody waits who would want to come between
        self.began_at = self._now = time.time()
        #: Knows the instances that have left the scheduler's memory, for those that get further nodes.
        self._journal = MemoryJournal()
        #: What nodes print: `append_logs` keeps it.
        self.logs = LogStore(None)
        #: What payloads refer to.
        self.values = MemoryValues()
        self._worker_id = worker.worker_id
        self._check = check
        self._onlookers: list[Callable[[Sequence[e.Event], float], bool]] = []
        self._revoked = revoked
        self._changed = changed
        self._handle(worker)

    # -- requests ------------------------------------------------------------------------------------------------------

    def ask(self, request: Coroutine[object, None, T]) -> T:
        """Return the answer to a request. Nothing in here makes it wait."""
        try:
            request.send(None)
        except StopIteration as answered:
            return cast(T, answered.value)
        raise RuntimeError("a request waits for something, and nothing else runs here")

    def now(self) -> float:
        """Return the time, which stands still until `advance`."""
        return self._now

    @property
    def told_settings(self) -> Sequence[SettingInfo]:
        """Return no settings: it has none that anybody could change."""
        return ()

    @property
    def find_values(self) -> FindSizes:
        """Return a function that finds the sizes of large values."""
        return self.values.find_sizes

    @property
    def store_wait(self) -> Callable[[NodeId], StoreWait | None]:
        """Return a function that finds no node which waits for large values: they are in memory."""
        return lambda node_id: None

    @property
    def journal(self) -> MemoryJournal:
        """Return the journal, which knows the instances that have left the scheduler's memory."""
        return self._journal

    def onlook(self, onlooker: Callable[[Sequence[e.Event], float], bool]) -> None:
        """Have `onlooker` told of events, with the time, until it returns False."""
        self._onlookers.append(onlooker)

    async def commit(self, command: c.Command) -> None:
        """Decide on a command."""
        self._handle(command)

    async def submit(self, command: c.SubmitNodes | c.RetryInstance | c.RerunNode) -> Sequence[e.Event]:
        """Decide on a command to an instance, which is taken back into memory if it has left it."""
        if command.instance_id not in self.scheduler.instances:
            stored = self._journal.find_instance(command.instance_id)
            tombstone = self._journal.find_tombstone(command.instance_id)
            if tombstone is not None:
                raise told_by(tombstone)
            if stored is not None:
                self.scheduler.restore_instance(stored, self._now)
        return self._handle(command)

    async def prune(
        self, instance_ids: Sequence[InstanceId], command: c.PruneInstances, *, waits: bool = False
    ) -> list[EndedInstance]:
        """Remove those of some instances that may go, with all that belongs to them; return them."""
        instances = self._journal.find_ended(instance_ids)
        events = self._handle(replace(command, instances=instances))
        pruned = [ended for event in events if isinstance(event, e.InstancesPruned) for ended in event.instances]
        self._journal.sweep([ended.seq for ended in pruned], rows_max=sys.maxsize)
        for ended in pruned:
            self.logs.remove(ended.id, self._now)
        return pruned

    async def flush(self) -> None:
        """Do nothing: each decision is in the journal."""

    async def read(self, function: Callable[..., T], *args: object) -> T:
        """Call a function of the journal."""
        return function(*args)

    # -- the worker's side ---------------------------------------------------------------------------------------------

    def grant(self) -> Held | None:
        """Lease the first node that may run now."""
        for event in self._handle(c.PullNode(worker_id=self._worker_id)):
            if isinstance(event, e.WorkGranted):
                ((node, token),) = event.leases
                return _held(node, token)
        return None

    def report(self, held: Held) -> None:
        """Take the report of an attempt."""
        self._label(held)
        self._handle(c.CompleteNodes(worker_id=self._worker_id, results=[to_result(held)]))

    def hand_back(self, held: Held) -> None:
        """Take back a lease whose node does not run any more."""
        self._label(held)
        lease = c.HeldLease(node_id=NodeId(held.node_id), token=held.token, instance_id=InstanceId(held.instance_id))
        self._handle(c.HandBack(worker_id=self._worker_id, leases=[lease]))

    def _label(self, held: Held) -> None:
        """Take the label that an attempt has given its node."""
        if held.label:
            self._handle(c.LabelNodes(worker_id=self._worker_id, labels=[(held.token, held.label)]))

    def reject(self, held: Held, rejected: Rejected) -> None:
        """Take back a lease whose node the worker cannot run."""
        self._handle(to_rejection(self._worker_id, held, rejected))

    def announce(self, definitions: Sequence[AnnouncedDefinition]) -> None:
        """Take the definitions that the worker tells of."""
        self._handle(c.AnnounceDefinitions(worker_id=self._worker_id, definitions=tuple(definitions)))

    def append_logs(self, arrivals: Sequence[Arrival]) -> None:
        """Keep blocks of lines that nodes have printed."""
        self.logs.append(arrivals, partial(runs_in, self), self._now)

    def read_logs(self, request: ReadLogs) -> Chunk:
        """Return the next part of what nodes have printed."""
        node_id = NodeId(request.node_id) if request.node_id else None
        instance_id = InstanceId(request.instance_id)
        return self.logs.read(instance_id, node_id, attempt=request.attempt, after=request.after, now=self._now)

    # -- time ----------------------------------------------------------------------------------------------------------

    def due_at(self) -> float:
        """Return when something is due by itself; infinity for never."""
        due = self.scheduler.next_wakeup()
        return inf if due is None else due

    def advance(self, now: float) -> None:
        """Let it be that time, unless it is later already, and do what is due then."""
        self._now = max(self._now, now)
        self._handle(c.Tick())

    # -- inside --------------------------------------------------------------------------------------------------------

    def _handle(self, command: c.Command) -> list[e.Event]:
        events = self.scheduler.handle(command, self._now)
        while self.scheduler.has_more:
            events += self.scheduler.handle(c.GrantWork(), self._now)
        self._journal.commit([event for event in events if not isinstance(event, e.VolatileEvent)])
        self._onlookers = [onlooker for onlooker in self._onlookers if onlooker(events, self._now)]
        for event in events:
            if isinstance(event, e.LeasesRevoked):
                self._revoked({token for _, token in event.leases})
        if self._check:
            check_invariants(self.scheduler)
        self._changed()
        return events


def worker_with(
    *, tolerations: Iterable[str], include_queues: Iterable[str], exclude_queues: Iterable[str]
) -> c.ConnectWorker:
    """Make the worker of a `Core`."""
    return c.ConnectWorker(
        worker_id=WorkerId(new_id()),
        name="in-process",
        include_queues=frozenset(checked_names("include_queues", include_queues)),
        exclude_queues=frozenset(checked_names("exclude_queues", exclude_queues)),
        tolerations=frozenset(checked_names("tolerations", tolerations)),
        slots=0,  # it takes node by node, so that each is the first in the queue at that time
    )


class _Values:
    """Payloads by the nodes whose values they are, in the order in which they are to be decoded."""

    def __init__(self, values: Sequence[tuple[NodeId, bytes]]) -> None:
        self.node_ids = [node_id for node_id, _ in values]
        self.payloads = [payload for _, payload in values]


def _held(node: Node, token: int) -> Held:
    spec = node.function.spec
    function = Function(spec.name, spec.definition_arguments, spec.timeout_s, spec.code_version, spec.release)
    attempt = node.tries + 1
    return Held(
        node.id,
        token,
        node.instance.id,
        function,
        node.arguments,
        attempt,
        ValueTable(_Values(collect_values(node.dependencies))),
    )
