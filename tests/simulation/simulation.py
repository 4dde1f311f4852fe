"""One simulation: a broker, workers and a client on one machine, what goes wrong between them, and what must hold.

Everything is drawn from the seed: how long all takes, who goes on first, when what fails. So a seed is a history, and
two runs of it have the same events.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from random import Random
from typing import Any

from dagorama.calls import ids
from dagorama.calls.payload import encode
from dagorama.running import base_context
from dagorama.v1 import dag_pb2
from dagorama.worker.shell.held import Held
from dagorama_broker.core import events as e
from dagorama_broker.core.model.values import NodeId
from dagorama_broker.storage.journal import StorageError
from tests.simulation.broker import KEPT_S, Broker
from tests.simulation.client import Client, request_of
from tests.simulation.definitions import VALUE, Tour
from tests.simulation.disk import Disk
from tests.simulation.machine import Machine, NothingLeft, Process
from tests.simulation.network import Network
from tests.simulation.trace import Trace
from tests.simulation.worker import Worker

#: What the clocks show in the beginning: seconds of the machine, and those from the epoch to then.
_BEGAN_AT, _EPOCH_AT = 1000.0, 1_700_000_000.0
#: What is pruned in the end: the tour, and the instance that calls its hook.
_INSTANCES = 2
#: A simulation that has not come to its end after so many seconds never will.
_ENDS_S = 300.0
#: So long it takes until somebody starts a process again.
_RESTARTS_S = (0.1, 2.0)
#: Faults come so soon after each other.
_FAULTS_S = (0.02, 0.4)
#: A process that stands still does so for so long.
_STANDS_STILL_S = (0.1, 20.0)


class Fault(StrEnum):
    """What goes wrong."""

    BROKER = "the broker is killed"
    WORKER = "a worker is killed"
    CONNECTION = "a connection breaks"
    STORAGE = "a commit fails"
    PAUSE = "a process stands still"
    MACHINE = "a worker's machine is gone"


@dataclass(slots=True)
class Result:
    """What came of a simulation."""

    digest: str  #: over all events in their order
    events: int
    faults: Counter[Fault]
    runs: Counter[bytes]  #: how often each node was begun
    failures: Counter[bytes]  #: attempts that failed
    elapsed_s: float
    value: object = None


class Wrong(AssertionError):
    """Something that must hold does not."""


@dataclass(slots=True)
class Ledger:
    """What is known outside of all processes, and what follows from it for them."""

    stored: set[bytes] = field(default_factory=set)  #: nodes that are durable
    kept: set[bytes] = field(default_factory=set)  #: nodes whose value is
    told: set[bytes] = field(default_factory=set)  #: nodes of which some report is, or was refused
    runs: Counter[bytes] = field(default_factory=Counter)
    failures: Counter[bytes] = field(default_factory=Counter)
    begun: list[Held] = field(default_factory=list)
    ended: int = 0  #: instances with hooks
    hooked: int = 0  #: instances that call hooks
    called: int = 0  #: the same, that have completed
    pruned: set[bytes] = field(default_factory=set)  #: instances that are no more

    def store(self, events: Sequence[e.DurableEvent]) -> None:
        """Take down what is durable."""
        for event in events:
            match event:
                case e.NodesCreated():
                    for node in event.nodes:
                        _require(node.id not in self.stored, "a node is made once", node.id)
                        self.stored.add(node.id)
                case e.NodeCompleted():
                    _require(event.node.id not in self.kept, "one value is kept", event.node.id)
                    self.kept.add(event.node.id)
                    self.told.add(event.node.id)
                case e.AttemptFailed():
                    self.failures[event.node.id] += 1
                    self.told.add(event.node.id)
                case e.NodeJoining():
                    self.told.add(event.node.id)
                case e.InstanceCreated():
                    self.hooked += event.instance.definition.startswith("hooks of ")
                case e.InstanceFinished():
                    self.ended += bool(event.instance.hooks)
                    self.called += event.instance.definition.startswith("hooks of ")
                case e.InstancesPruned():
                    self.prune(event)
                case _:
                    pass
        _require(self.ended == self.hooked, "hooks are called once for each end, from the same commit on", b"")

    def prune(self, event: e.InstancesPruned) -> None:
        """Look at instances that are removed because of their age, which nobody asks about."""
        for ended in event.instances:
            _require(ended.id not in self.pruned, "an instance is pruned once", ended.id)
            _require(event.lived_s >= ended.ended_on + KEPT_S, "it is kept for as long as is wanted", ended.id)
            _require(self.called == self.hooked, "it is kept until its hooks have run", ended.id)
            self.pruned.add(ended.id)

    def decide(self, events: Sequence[e.Event]) -> None:
        """Look at what a broker decides."""
        for event in events:
            if isinstance(event, e.WorkGranted):
                for node, _ in event.leases:
                    _require(node.id not in self.kept, "what is kept is not run again", node.id)
            elif isinstance(event, e.ResultRefused):
                self.told.add(event.node_id)

    def begin(self, worker: str, held: Held) -> None:
        """Look at a node that begins."""
        if not any(held is other for other in self.begun):  # an asynchronous one does so twice
            _require(held.node_id in self.stored, "what runs is durable", held.node_id)
            self.begun.append(held)
            self.runs[held.node_id] += 1

    def acknowledge(self, held: Held) -> None:
        """Look at a report that a worker forgets."""
        _require(held.node_id in self.told, "what is acknowledged is durable", held.node_id)

    def submit(self, node_id: bytes) -> None:
        """Look at a node of which a client knows that the broker has it."""
        _require(node_id in self.stored, "what is acknowledged is durable", node_id)

    def resolve(self, node_id: bytes) -> None:
        """Look at a value that a client has got."""
        _require(node_id in self.kept, "what is told is durable", node_id)


def _require(holds: bool, rule: str, node_id: bytes) -> None:
    if not holds:
        raise Wrong(f"{rule}: not so with node {NodeId(node_id).hex()}")


class Simulation:
    """One broker after the other, workers and a client. Use `simulate`."""

    def __init__(self, seed: int, faults: Sequence[Fault], write: Callable[[str], object] | None) -> None:
        self._rng = rng = Random(seed)
        self._machine = machine = Machine(self._fork(), began_at=_BEGAN_AT)
        self._trace = trace = Trace(machine.time, write)
        self._ledger = ledger = Ledger()
        self._disk = Disk(self._fork(), trace, ledger.store)
        self._network = Network(machine, self._fork(), trace)
        self._numbers = count(1)
        self._faults = faults
        self._happened: Counter[Fault] = Counter()
        self._workers: list[Worker] = []
        self._spares_pruning = True
        self._broker = self._start_broker()
        for _ in range(rng.randint(2, 3)):
            self._start_worker()
        self._client = Client(
            _with_hook(request_of(Tour()())),
            network=self._network,
            rng=self._fork(),
            submitted=ledger.submit,
            resolved=ledger.resolve,
        )
        self._begin(self._client, self._client.main())
        self._begin(Process("faults"), self._break_things())

    def _fork(self) -> Random:
        """Return a stream of random numbers of its own, so that one part's draws are not moved by another's."""
        return Random(self._rng.getrandbits(64))

    def run(self) -> Result:
        """Run until the client has its value. Raises what went wrong, with the last events."""
        machine = self._machine
        try:
            machine.run_steps(self._step)
            _require(self._client.value == VALUE, f"the value is {VALUE}, not {self._client.value}", b"")
        except BaseException as error:
            error.add_note(self._trace.end())
            raise
        finally:
            result = Result(
                digest=self._trace.digest,
                events=self._trace.count,
                faults=self._happened,
                runs=self._ledger.runs,
                failures=self._ledger.failures,
                elapsed_s=machine.time() - _BEGAN_AT,
                value=self._client.value,
            )
            machine.end()
        return result

    def _step(self) -> bool:
        if self._client.value is not None and self._ledger.called and len(self._ledger.pruned) == _INSTANCES:
            return False
        if self._machine.time() > _BEGAN_AT + _ENDS_S:
            raise NothingLeft(f"there is no value after {_ENDS_S} s")
        self._machine.step()
        return True

    # -- processes -----------------------------------------------------------------------------------------------------

    def _begin(self, process: Process, main: Any) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._machine.errors.append(error)

        self._trace.note(process.name, "begins")
        self._machine.begin(process, main).add_done_callback(ended)

    def _start_broker(self) -> Broker:
        self._broker = broker = Broker(
            next(self._numbers),
            machine=self._machine,
            network=self._network,
            disk=self._disk,
            rng=self._fork(),
            trace=self._trace,
            epoch_at=_EPOCH_AT,
            decided=self._decided,
        )
        self._begin(broker, self._serve(broker))
        return broker

    def _decided(self, events: Sequence[e.Event]) -> None:
        """Look at what a broker decides. Where storage fails at all, it may do so with the commit that prunes, too."""
        self._ledger.decide(events)
        if self._spares_pruning and any(isinstance(event, e.InstancesPruned) for event in events):
            self._spares_pruning = False
            self._disk.fails_next = Fault.STORAGE in self._faults and self._rng.random() < 0.5

    async def _serve(self, broker: Broker) -> None:
        """Let a broker serve; it ends with its storage, and is started again."""
        try:
            await broker.main()
        except StorageError:
            self._happened[Fault.STORAGE] += 1
            self._kill(broker)
            self._later(self._rng.uniform(*_RESTARTS_S), self._start_broker)

    def _start_worker(self) -> None:
        worker = Worker(
            next(self._numbers),
            machine=self._machine,
            network=self._network,
            rng=self._fork(),
            trace=self._trace,
            concurrency=self._rng.randint(1, 3),
            began=self._ledger.begin,
            acknowledged=self._ledger.acknowledge,
        )
        self._workers.append(worker)
        self._begin(worker, worker.main())

    def _kill(self, process: Process, *, silently: bool = False) -> None:
        self._trace.note(process.name, "is gone")
        self._machine.kill(process)
        self._network.lose(process, silently=silently)

    def _later(self, after_s: float, function: Callable[[], object]) -> None:
        self._machine.call_later(after_s, function, context=self._machine.world.context())

    # -- faults --------------------------------------------------------------------------------------------------------

    async def _break_things(self) -> None:
        """Have everything happen that is to, in an order of its own, each as soon as it can."""
        faults = list(self._faults)
        self._rng.shuffle(faults)
        while faults:
            await asyncio.sleep(self._rng.uniform(*_FAULTS_S))
            if self._happens(faults[-1]):
                faults.pop()

    def _happens(self, fault: Fault) -> bool:
        """Have something go wrong; tell whether it could."""
        rng = self._rng
        match fault:
            case Fault.STORAGE:
                if self._disk.fails_next:
                    return False
                self._disk.fails_next = True  # it is counted when that has come
                return True
            case Fault.CONNECTION:
                method = rng.choice(["Work", "Work", "Work", "Watch", "Submit"])
                if not self._network.break_one(method, silently=rng.random() < 0.3):
                    return False
            case Fault.BROKER:
                if self._broker.is_dead:
                    return False
                self._kill(self._broker)
                self._later(rng.uniform(*_RESTARTS_S), self._start_broker)
            case Fault.WORKER | Fault.MACHINE:
                living = [worker for worker in self._workers if not worker.is_dead]
                if not living:
                    return False
                self._kill(rng.choice(living), silently=fault is Fault.MACHINE)
                self._later(rng.uniform(*_RESTARTS_S), self._start_worker)
            case Fault.PAUSE:
                process: Process = rng.choice([self._broker, *self._workers])
                if process.stands_still:
                    return False
                self._trace.note(process.name, "stands still")
                process.stands_still = True
                self._later(rng.uniform(*_STANDS_STILL_S), lambda: self._go_on(process))
        self._happened[fault] += 1
        return True

    def _go_on(self, process: Process) -> None:
        if not process.is_dead:
            self._trace.note(process.name, "goes on")
            process.stands_still = False


def _with_hook(request: dag_pb2.SubmitRequest) -> dag_pb2.SubmitRequest:
    """Have a function of the tour called when it has ended; it is that of the entrypoint but for its name."""
    function = request.functions.add()
    function.CopyFrom(request.functions[0])
    function.name = f"{function.name.rpartition('.')[0]}.count_down"
    function.code_version = ""
    arguments = encode(((0, 0), {}), what="the arguments of a hook").data
    request.hooks.add(function=len(request.functions) - 1, arguments=arguments)
    return request


@contextmanager
def _ids_of(seed: int) -> Iterator[None]:
    """Have the ids that are made in the block follow from a seed."""
    before = ids._offset_ns, ids._next, ids._clock_ns
    numbers = count(1)
    ids._offset_ns, ids._next = 0, count(ids.VARIANT | Random(seed).getrandbits(60)).__next__
    ids._clock_ns = lambda: int(_EPOCH_AT * 1e9) + next(numbers)
    try:
        yield
    finally:
        ids._offset_ns, ids._next, ids._clock_ns = before


def simulate(seed: int, faults: Sequence[Fault] = tuple(Fault), write: Callable[[str], object] | None = None) -> Result:
    """Run the history of a seed with these faults in it, and check all that must hold after every step.

    `write` gets each event.
    """
    base_context.adopt()
    with _ids_of(seed):
        return Simulation(seed, faults, write).run()
