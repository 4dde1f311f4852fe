"""The host: one scheduler, one journal, and the order between deciding, committing and answering.

A command is decided on the moment it arrives. Its events are put in the open batch: the durable ones for the journal,
and all for the listeners, who hear of them once these are durable. While one batch is on its way to disk the next one
fills; that is the whole group commit (DeWitt et al., "Implementation Techniques for Main Memory Database Systems",
SIGMOD 1984), and there is no timer in it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Protocol, TypeVar, cast, get_args
from weakref import WeakValueDictionary

from dagorama_broker.core import events as e
from dagorama_broker.core.commands import (
    BeginGrace,
    Command,
    CompleteNodes,
    GrantWork,
    NodeResult,
    PruneInstances,
    RerunNode,
    RetryInstance,
    SubmitNodes,
    Tick,
)
from dagorama_broker.core.errors import Refused
from dagorama_broker.core.model.references import refers
from dagorama_broker.core.model.stored import EndedInstance
from dagorama_broker.core.model.values import InstanceId, NodeId, Rng
from dagorama_broker.core.scheduler import Scheduler
from dagorama_broker.core.settings import Settings
from dagorama_broker.core.why import StoreWait
from dagorama_broker.host.clock import Clock, SystemClock
from dagorama_broker.host.listeners import Listeners
from dagorama_broker.host.newest import NewestIds
from dagorama_broker.host.outdated import Outdated
from dagorama_broker.host.pace import Pace, is_small
from dagorama_broker.host.pruning import prune
from dagorama_broker.host.returning import bring_back, bring_back_all, bring_back_referred
from dagorama_broker.storage.journal import Journal

T = TypeVar("T")
log = logging.getLogger("dagorama.broker")

_GRANT_WORK = GrantWork()
_VOLATILE: frozenset[type] = frozenset(get_args(e.VolatileEvent))

#: A timer waits no longer than this before it looks at the clock: the event loop does not count time of suspension.
_TIMER_MAX_S = 60.0

#: A timer that is off by less is left as it is.
_TIMER_PRECISION_S = 0.0005

#: Where nothing was read for longer than this, reports may lie there that were in time. Less is what a busy core takes.
_UNREAD_AFTER_S = 0.1
#: So long they may take to be read, before it is looked whose time is over.
_READ_S = 0.1


class Observer(Protocol):
    """Counts all that happens. It must not take long: everything waits for it."""

    def told(self, events: Sequence[e.Event]) -> None:
        """Take a batch of events that are durable, in order."""
        ...

    def committed(self, events: int, took_s: float, sync_s: float) -> None:
        """Take note of a batch of so many durable events, of how long it took, and of the sync in that time."""
        ...


class HostStopped(Exception):
    """The host takes no more commands, because it was asked to stop or because a commit failed."""


@dataclass(slots=True)
class _Batch:
    """The decisions since the last commit began."""

    decided: bool = False  #: on some command; even one without events may have made nodes ready, to be granted
    durable: list[e.DurableEvent] = field(default_factory=list)
    events: list[e.Event] = field(default_factory=list)  #: all of them, in order, for the listeners
    then: list[Callable[[], None]] = field(default_factory=list)  #: called after the listeners
    stopped: list[asyncio.Future[None]] = field(default_factory=list)  #: failed when the batch will never be durable

    def __bool__(self) -> bool:
        return self.decided or bool(self.then)


def _find_no_wait(node_id: NodeId) -> StoreWait | None:
    return None


async def _find_no_values(digests: Iterable[bytes]) -> dict[bytes, int]:
    """Find nothing, where there is no store of values."""
    return {}


def _large_completions(command: CompleteNodes) -> list[NodeResult]:
    """Return those of a worker's completions that refer to large values."""
    return [
        NodeResult(node_id=node_id, token=token, payload=payload)
        for node_id, token, payload, *_ in command.completions
        if refers(payload)
    ]


class Host:
    """Owns the scheduler and the journal. Used from one event loop; not thread-safe.

    Call `start`, then `run` in a task; `run` ends after `stop`, or raises what made a commit fail.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        settings: Settings,
        rng: Rng,
        pace: Pace | None = None,
        clock: Clock | None = None,
        executor: Executor | None = None,
    ) -> None:
        """Have `pace` decide which commits of a journal that may block are made on the event loop.

        `clock` agrees with the loop's own time about how long things take; the default is the machine's. `executor`
        runs the rest of what may block, one thing after another; the default is a thread. It is shut down by `close`.
        """
        self.listeners = Listeners()
        self._outdated = Outdated()
        self._journal = journal
        self._settings = settings
        self._rng = rng
        self._scheduler: Scheduler | None = None
        # One thread, because a journal is used by one at a time; it also keeps reads behind earlier commits.
        self._thread: Executor | None = None
        if journal.blocking:
            self._thread = executor or ThreadPoolExecutor(1, thread_name_prefix="journal")
        #: What that thread was given and has neither done nor dropped because it was called off. All of it counts: that
        #: the last was called off tells nothing of those before.
        self._given: set[Future[Any]] = set()
        self._pace = pace or Pace()
        self._unheard_s = 0.0  #: for how long the event loop has read nothing, since the last tick
        self._reads_until = 0.0  #: no tick before that, by the loop's time
        self._batch = _Batch()
        self._wake = asyncio.Event()
        self._stopping = False
        self._failure: Exception | None = None  #: what went wrong in the core; memory is not to be trusted after it
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due: float | None = None  #: what the timer is for, by the host's clock
        self._newest = NewestIds(())
        self._restoring: WeakValueDictionary[InstanceId, asyncio.Lock] = WeakValueDictionary()
        self._clock = clock or SystemClock()
        #: The settings that people are told of, each a name, a value and its source.
        self.told_settings: Sequence[Any] = ()
        #: Gives the sizes of those, of some values, that are in the store; without one there are none.
        self.find_values: Callable[[Mapping[bytes, int]], Awaitable[dict[bytes, int]]] = _find_no_values
        #: The same of those that are reported, where that is another: it gives none that the store cannot tell of now.
        self.find_reported: Callable[[Mapping[bytes, int]], Awaitable[dict[bytes, int]]] | None = None
        #: Tells whether a node waits for that store at its worker.
        self.store_wait: Callable[[NodeId], StoreWait | None] = _find_no_wait
        #: Set when pruned instances have left something to be removed, or one is due before `next_round_s`.
        self.leftovers = asyncio.Event()
        #: The lived time at which it is looked next for instances that are due.
        self.next_round_s = inf
        #: Told of everything, where metrics are asked for.
        self.observer: Observer | None = None

    @property
    def is_started(self) -> bool:
        """Return whether all that is stored has been taken over."""
        return self._scheduler is not None

    @property
    def is_stopping(self) -> bool:
        """Return whether no more commands are taken: `stop` was called, or a commit or the core failed."""
        return self._stopping

    @property
    def scheduler(self) -> Scheduler:
        """Return the core, to look at. It may be ahead of the storage: see `flush`."""
        if self._scheduler is None:
            raise HostStopped("the host has not been started")
        return self._scheduler

    def now(self) -> float:
        """Give the time in seconds since the epoch; it never goes back."""
        return self._clock.now()

    def counter(self) -> float:
        """Give seconds by a clock that goes evenly, to tell how long something takes."""
        return self._clock.counter()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the journal and take over what is in it. Raises `StorageError`."""
        snapshot = await self.read(self._journal.open)
        self._scheduler = Scheduler(rng=self._rng, settings=self._settings, epoch=snapshot.epoch)
        self._scheduler.restore(snapshot, self.now())
        self._newest = NewestIds(snapshot.instance_ids_last)
        self.begin_grace()

    def begin_grace(self) -> None:
        """Give the workers from before a restart their time to come back from now on; call it when they can connect."""
        self.apply(BeginGrace())
        self._set_timer()

    async def run(self) -> None:
        """Commit batch after batch until `stop`. Raises what made a commit fail; then the process must end."""
        try:
            while self._batch or not self._stopping:
                await self._wake.wait()
                self._wake.clear()
                while self._batch or self._failure:
                    await self._commit_batch()
                    if self.scheduler.has_more:
                        self._batch.decided = True  # the next batch goes on with it; others come between
                        await asyncio.sleep(0)
        finally:
            self._stopping = True
            self._give_up(self._batch)
            self._batch = _Batch()  # else a call that comes now would wait in it
            if self._timer is not None:
                self._timer.cancel()

    def stop(self) -> None:
        """Take no more commands; `run` ends when what was taken is durable."""
        self._stopping = True
        self._wake.set()

    async def close(self) -> None:
        """Let the journal go, after `run` has ended."""
        await self.read(self._journal.close)
        if self._thread is not None:
            self._thread.shutdown()

    # -- commands -----------------------------------------------------------------------------------------------------

    def apply(self, command: Command, then: Callable[[], None] | None = None) -> Sequence[e.Event]:
        """Decide on a command; call `then` when that is durable. Raises `Refused`, or `HostStopped`.

        Gives what was decided, of which nothing may leave the process before `then`, or before a `flush` has returned.

        Any other error means that memory can no longer be trusted: it stops the host.
        """
        if self._stopping:
            raise HostStopped("the broker is stopping")
        try:
            events = self._handle(command)
        except Refused:
            raise
        except Exception as error:
            log.critical("deciding on %s went wrong", type(command).__name__, exc_info=True)
            self._failure = error
            self.stop()
            raise
        if type(command) is SubmitNodes:
            self._newest.add(command.instance_id)
        batch = self._batch
        batch.decided = True
        self._add(batch, events)
        if then is not None:
            batch.then.append(then)
        self._wake.set()
        return events

    def _handle(self, command: Command) -> Sequence[e.Event]:
        scheduler = self.scheduler
        events = scheduler.handle(command, self._clock.now())
        for instance_id in scheduler.hook_instances:
            self._newest.add(instance_id)
        return events

    async def commit(self, command: Command) -> None:
        """Decide on a command and return when that is durable. Raises `Refused`, or `HostStopped`."""
        self.apply(command)
        await self.flush()

    async def submit(self, command: SubmitNodes | RetryInstance | RerunNode) -> Sequence[e.Event]:
        """Like `commit`; fetches the instance from the journal first if it has left memory. Gives what was decided."""
        instance = self.scheduler.instances.get(command.instance_id)
        if self._newest.is_new(command.instance_id) if instance is None else instance.whole:
            events = self.apply(command)
        else:
            # One lock for each instance: those that start instances do not wait for each other.
            async with self._restoring.setdefault(command.instance_id, asyncio.Lock()):
                rest: SubmitNodes | RetryInstance | RerunNode | None = command
                if isinstance(command, SubmitNodes):
                    rest = await bring_back(self, command)
                else:
                    await bring_back_all(self, command)
                events = self.apply(rest) if rest is not None else ()
        await self.flush()
        return events

    async def report(self, command: CompleteNodes, then: Callable[[], None]) -> None:
        """Take the results of a worker like `apply`; fetches what they refer to first, if it is not in memory."""
        if self.scheduler.graph.partial:
            command = replace(command, completions=list(command.completions))  # they may be there for one look alone
            worker = self.scheduler.workers.get(command.worker_id)
            for result in (*command.results, *_large_completions(command)):
                node = worker.leases.get(result.token) if worker else None
                if node is not None and not node.instance.whole:
                    await bring_back_referred(self, node.instance, result)
        self.apply(command, then)

    async def prune(
        self, instance_ids: Sequence[InstanceId], command: PruneInstances, *, waits: bool = False
    ) -> list[EndedInstance]:
        """Remove those of some instances that may go, and return them when that is durable. Raises `HostStopped`.

        The command says why; how the instances stand is read for it. Where one is being brought back this `waits`, or
        leaves it out.
        """
        pruned = await prune(self, self._restoring, instance_ids, command, waits=waits)
        if pruned:
            self.leftovers.set()
        return pruned

    async def flush(self) -> None:
        """Return when everything decided so far is durable and released. Raises `HostStopped` if it never will be."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._stopping and not self._batch:
            raise HostStopped("the broker is stopping")
        self._batch.then.append(lambda: None if done.done() else done.set_result(None))
        self._batch.stopped.append(done)
        self._wake.set()
        await done

    def onlook(self, onlooker: Callable[[Sequence[e.Event], float], bool]) -> None:
        """Have `onlooker` told of events once they are durable, with the time, until it returns False."""
        self.listeners.onlookers.append(onlooker)

    async def read(self, function: Callable[..., T], *args: object) -> T:
        """Call a function of the journal where it may block."""
        if self._thread is None:
            return function(*args)
        given = self._thread.submit(function, *args)
        self._given.add(given)
        given.add_done_callback(self._given.discard)  # in that thread, or here; either is one step
        return await asyncio.wrap_future(given)

    @property
    def journal(self) -> Journal:
        """For `read`."""
        return self._journal

    # -- committing ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _add(batch: _Batch, events: Sequence[e.Event]) -> None:
        batch.events += events
        batch.durable += cast(list[e.DurableEvent], [event for event in events if type(event) not in _VOLATILE])

    async def _commit_batch(self) -> None:
        batch = self._batch
        try:
            if self._failure is not None:
                raise self._failure
            if not batch.decided:  # only some who wait; what is left over from earlier batches may go on
                batch.decided = self.scheduler.has_more
            if batch.decided:
                # Granting here, once for all that has come, lets grants go out with the commit that makes them
                # possible.
                self._add(batch, self._handle(_GRANT_WORK))
            self._batch = _Batch()
            if batch.decided:
                self._set_timer()  # before the commit: under load another batch follows each at once
            if batch.durable:
                await self._store(batch.durable)
            if self.observer is not None:
                self.observer.told(batch.events)
            if self.scheduler.retention.take_next_due_s() < self.next_round_s:
                self.leftovers.set()
            self.listeners.tell(batch.events, self.now)
            self._outdated.look(self.scheduler, batch.events)
            for function in batch.then:
                function()
        except BaseException:
            self._give_up(batch)
            raise

    async def _store(self, events: Sequence[e.DurableEvent]) -> None:
        """Make events durable, and have the observer note how long that took."""
        if self.observer is None:
            await self._commit(events)
            return
        began_at = self._clock.counter()
        await self._commit(events)
        self.observer.committed(len(events), self._clock.counter() - began_at, self._journal.sync_s)

    async def _commit(self, events: Sequence[e.DurableEvent]) -> None:
        """Make events durable: here and now where nothing else is on its way to the disk and it is quick."""
        if self._thread is None:
            self._journal.commit(events)
            return
        if not is_small(events):
            await self.read(self._journal.commit, events)
            return
        counter = self._clock.counter
        if not self._given and self._pace.is_quick(counter()):
            took_s = self._time_commit(events)
            self._note_unheard(took_s)
        else:
            took_s = await self.read(self._time_commit, events)
        self._pace.note(took_s, counter())

    def _time_commit(self, events: Sequence[e.DurableEvent]) -> float:
        began_at = self._clock.counter()
        self._journal.commit(events)
        return self._clock.counter() - began_at

    @staticmethod
    def _give_up(batch: _Batch) -> None:
        for waiting in batch.stopped:
            if not waiting.done():
                waiting.set_exception(HostStopped("the broker is stopping"))

    def _set_timer(self) -> None:
        """Have a tick at the time that the core asks for. There is no other timer, so an idle host does nothing."""
        due = self.scheduler.next_wakeup()
        timer = self._timer
        if due is None or self._stopping:
            if timer is not None:
                timer.cancel()
                self._timer = None
            return
        if timer is not None and due == self._timer_due:  # as after most batches
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        at = max(now + min(max(0.0, due - self.now()), _TIMER_MAX_S), self._reads_until)
        if timer is not None:
            if timer.when() <= now or abs(timer.when() - at) < _TIMER_PRECISION_S:
                return
            timer.cancel()
        self._timer, self._timer_due = loop.call_at(at, self._tick, at), due

    def _tick(self, planned_at: float) -> None:
        """Let the core do what is due. It is told how long this process could do nothing: stopped, or suspended."""
        self._timer = None
        if self._stopping:
            return
        now = asyncio.get_running_loop().time()
        late_s = max(0.0, now - planned_at) + self._clock.slept_s()
        if planned_at > self._reads_until:  # once, or nothing would ever fall due where the loop is late every time
            self._note_unheard(late_s)
        if now >= self._reads_until:
            late_s, self._unheard_s = max(late_s, self._unheard_s), 0.0
            self.apply(Tick(late_s=late_s))
        self._set_timer()  # a commit may be on its way, and take long

    def _note_unheard(self, for_s: float) -> None:
        """Note that nothing was read for so long. If that is long, what came meanwhile is read before the next tick."""
        self._unheard_s = max(self._unheard_s, for_s)
        if for_s > _UNREAD_AFTER_S:
            self._reads_until = asyncio.get_running_loop().time() + _READ_S
