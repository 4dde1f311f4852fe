"""Instances, nodes and histories to commit, made without a scheduler."""

from collections.abc import Iterable, Sequence

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Function, Instance, Lane, Limit, Node, Timing
from dagorama_broker.core.model.states import TERMINAL, UNSUCCESSFUL, Change, InstanceState, NodeState
from dagorama_broker.core.model.values import (
    Control,
    FailedAttempt,
    Failure,
    FunctionSpec,
    HookCall,
    InstanceId,
    LimitSpec,
    NodeId,
    Note,
    QueueControl,
    Request,
    RequestId,
    RetryPolicy,
    Run,
    Start,
    Tags,
    WorkerId,
)

FUNCTIONS = [
    Function(spec, lane=Lane(spec.queue, spec.taint), timing=Timing())
    for spec in (
        FunctionSpec(name="shop:Order.entrypoint", queue="default"),
        FunctionSpec(
            name="shop:Order.charge",
            code_version="v2",
            queue="slow",
            taint="gpu",
            retry=RetryPolicy(max_attempts=5, interval_s=1.5, multiplier=2.0, interval_max_s=60.0, jitter=0.25),
            timeout_s=2.5,
            start_timeout_s=7.5,
            at_most_once=True,
            definition_arguments=b"\x00\xff",
            release="f 1\ng 2",
            parameters="a, *rest, k",
            shows_inputs=True,
            limits=(LimitSpec(max=3), LimitSpec(rate_per_s=0.5, burst=4)),
        ),
    )
]

#: States, as storage knows them, of nodes whose attempts may end.
RUNNABLE = (NodeState.WAITING, NodeState.STARTED, NodeState.BACKOFF)
#: How many kinds of event a history may have.
KINDS = 19


class Graph:
    """Makes events that are legal one after the other, and numbers instances and nodes as the core does."""

    def __init__(self, *, instance_seq: int = 0, node_seq: int = 0) -> None:
        self.instance_seq = instance_seq
        self.node_seq = node_seq
        self.clock = 1_000.0

    def now(self) -> float:
        """Give the time, a second later at each call."""
        self.clock += 1
        return self.clock

    def instance(
        self,
        *,
        deadline_at: float = 0.0,
        group: str = "",
        control: Control = Control(),  # noqa: B008 - a tuple
        start: Start | None = None,
        tags: Tags = (),
        hooks: tuple[HookCall, ...] = (),
    ) -> Instance:
        """Make an instance."""
        self.instance_seq += 1
        return Instance(
            seq=self.instance_seq,
            id=InstanceId(self.instance_seq.to_bytes(16, "big")),
            definition="shop:Order",
            created_at=self.now(),
            deadline_at=deadline_at,
            group=group,
            control=control,
            start=start,
            tags=tags,
            hooks=hooks,
        )

    def node(
        self,
        instance: Instance,
        *,
        dependencies: Iterable[Node] = (),
        arguments: bytes = b"arguments",
        function: Function = FUNCTIONS[0],
        parent: Node | None = None,
    ) -> Node:
        """Make a node; its id is not in the order of its number, as with random ids."""
        self.node_seq += 1
        return Node(
            seq=self.node_seq,
            id=NodeId((self.node_seq * 0x9E3779B97F4A7C15 % 2**128).to_bytes(16, "little")),
            instance=instance,
            function=function,
            arguments=arguments,
            dependencies=tuple(dependencies),
            parent_seq=parent.seq if parent else 0,
            created_at=self.now(),
            limits=tuple(
                Limit(f"key {number} of {self.node_seq}", spec) for number, spec in enumerate(function.spec.limits)
            ),
        )


def failed(number: int, *, worker: str = "w1", permanent: bool = False) -> FailedAttempt:
    """Make a failed attempt with every field filled."""
    failure = Failure(
        type="ValueError", message="no ≠ yes", traceback="line 1\nline 2", exception=b"\x80\x00", permanent=permanent
    )
    return FailedAttempt(number, worker, 2_000.0 + number, failure, granted_at=1_990.0 + number, duration_s=2.5)


def history(choices: Sequence[tuple[int, int]]) -> list[e.DurableEvent]:
    """Give the events that come of some choices, each a kind of event and what it is to happen to. What is not possible
    at its turn is left out. There is an instance with a few nodes to begin with.
    """
    return _History().play(choices)


class _History:
    def __init__(self) -> None:
        self.graph = Graph()
        self.events: list[e.DurableEvent] = []
        self.instances: list[Instance] = []
        self.nodes: list[Node] = []
        self.workers: set[WorkerId] = set()

    def play(self, choices: Sequence[tuple[int, int]]) -> list[e.DurableEvent]:
        moves = (
            self._start,
            self._create,
            self._complete,
            self._join,
            self._fail_attempt,
            self._fail,
            self._fail_dependency,
            self._lose,
            self._finish,
            self._worker,
            self._cancel,
            self._control,
            self._control_queue,
            self._begin,
            self._hand_back,
            self._retry,
            self._rerun,
            self._compare,
            self._note,
        )
        assert len(moves) == KINDS
        for kind, choice in ((0, 0), (1, 2), *choices):
            moves[kind % KINDS](choice)
        return self.events

    def _node(self, choice: int, *states: NodeState) -> Node | None:
        nodes = [node for node in self.nodes if node.state in states]
        return nodes[choice % len(nodes)] if nodes else None

    def _start(self, choice: int) -> None:
        control = Control(priority=choice % 3 - 1, running_max=choice % 2)
        deadline_at = choice % 3 * 1_000.5
        group = ("", "night")[choice % 2]
        self.instances.append(self.graph.instance(deadline_at=deadline_at, group=group, control=control))
        self.events.append(e.InstanceCreated(instance=self.instances[-1], control=control))

    def _create(self, choice: int) -> None:
        if not self.instances:
            return
        instance = self.instances[choice % len(self.instances)]
        if instance.state is InstanceState.CANCELLED:
            return
        if instance.state is not InstanceState.RUNNING:
            instance.state = InstanceState.RUNNING
            self.events.append(e.InstanceReopened(instance=instance))
        earlier = list(instance.nodes.values())
        new = [
            self.graph.node(
                instance,
                dependencies=reversed(earlier[: (choice + number) % 4]),
                arguments=bytes(choice % 5),
                function=FUNCTIONS[(choice + number) % 2],
                parent=earlier[-1] if earlier and choice % 2 else None,
            )
            for number in range(choice % 3 + 1)
        ]
        instance.nodes.update({node.id: node for node in new})
        self.nodes += new
        self.events.append(e.NodesCreated(nodes=new))

    def _complete(self, choice: int) -> None:
        node = self._node(choice, *RUNNABLE, NodeState.JOINING)
        if node is not None:
            joined = node.state is NodeState.JOINING
            payload = None if joined else bytes([choice % 256]) * (choice % 4)
            node.state = NodeState.COMPLETED
            run = None if joined else self._run(choice)
            self.events.append(e.NodeCompleted(node=node, payload=payload, at=self.graph.now(), run=run))

    def _join(self, choice: int) -> None:
        node = self._node(choice, *RUNNABLE)
        if node is None:
            return
        others = [other for other in node.instance.nodes.values() if other is not node]
        if others:
            node.state = NodeState.JOINING
            alias = choice % 2 == 0
            promises = node.promises = tuple(others[: 1 if alias else choice % 4 + 1])
            payload, now = None if alias else b"refers", self.graph.now()
            self.events.append(
                e.NodeJoining(node=node, payload=payload, promises=promises, at=now, run=self._run(choice))
            )

    def _run(self, choice: int) -> Run:
        """Give an attempt; of some workers there are two with one name."""
        return f"w{choice % 3}", self.graph.clock - choice, self.graph.clock - choice % 2, choice % 4 * 0.25

    def _fail_attempt(self, choice: int) -> None:
        node = self._node(choice, *RUNNABLE)
        if node is not None:
            node.state = NodeState.BACKOFF
            node.attempts += 1
            retry_at = self.graph.now()
            self.events.append(e.AttemptFailed(node=node, attempt=failed(node.attempts), retry_at=retry_at))

    def _fail(self, choice: int) -> None:
        node = self._node(choice, *RUNNABLE)
        if node is not None:
            node.state = NodeState.FAILED
            attempt = failed(node.attempts + 1, permanent=True)
            self.events.append(e.AttemptFailed(node=node, attempt=attempt, retry_at=None))
            self.events.append(e.NodeFailed(node=node, at=self.graph.now()))

    def _fail_dependency(self, choice: int) -> None:
        node = self._node(choice, NodeState.WAITING, NodeState.JOINING)
        causes = [] if node is None else [it for it in node.instance.nodes.values() if it.state in UNSUCCESSFUL]
        if node is not None and causes:
            node.state = NodeState.DEPENDENCY_FAILED
            self.events.append(e.DependencyFailed(node=node, cause=causes[0], at=self.graph.now()))

    def _lose(self, choice: int) -> None:
        node = self._node(choice, *RUNNABLE)
        if node is not None:
            node.state = NodeState.WAITING
            node.losses += 1
            attempt = failed(node.attempts + 1, worker=f"w{choice}")
            self.events.append(e.LeaseLost(node=node, attempt=attempt, losses=node.losses))

    def _begin(self, choice: int) -> None:
        node = self._node(choice, NodeState.WAITING, NodeState.BACKOFF)
        if node is not None:
            node.state = NodeState.STARTED
            self.events.append(e.NodesStarted(nodes=[node]))

    def _hand_back(self, choice: int) -> None:
        node = self._node(choice, NodeState.STARTED)
        if node is not None:
            node.state = NodeState.WAITING
            self.events.append(e.NodesHandedBack(nodes=[node], at=self.graph.now()))

    def _retry(self, choice: int) -> None:
        ended = [it for it in self.instances if it.state is InstanceState.FAILED]
        if not ended:
            return
        instance = ended[choice % len(ended)]
        instance.state = InstanceState.RUNNING
        self.events.append(e.InstanceReopened(instance=instance))
        resets = []
        for node in instance.nodes.values():
            if node.state in UNSUCCESSFUL:
                joins = node.promises != ()
                node.state = NodeState.JOINING if joins else NodeState.WAITING
                node.attempts = node.losses = 0
                resets.append(e.Reset(node, FUNCTIONS[choice % 2], joins))
        request = Request(RequestId(bytes([choice % 5]) * 16), None, ()) if choice % 2 else None
        self.events.append(e.NodesReset(instance=instance, resets=resets, at=self.graph.now(), request=request))

    def _rerun(self, choice: int) -> None:
        ended = [it for it in self.instances if it.state in {InstanceState.COMPLETED, InstanceState.FAILED}]
        if not ended:
            return
        instance = ended[choice % len(ended)]
        instance.state = InstanceState.RUNNING
        self.events.append(e.InstanceReopened(instance=instance))
        nodes = list(instance.nodes.values())
        used = {other.seq for node in nodes for other in (*node.dependencies, *node.promises)}
        removed = [node for node in nodes[1:] if node.seq not in used | {other.parent_seq for other in nodes}][
            : choice % 4
        ]
        for node in removed:
            del instance.nodes[node.id]
            self.nodes.remove(node)
        if removed:
            self.events.append(e.NodesRemoved(instance=instance, nodes=removed))
        node = nodes[0]
        node.state = NodeState.WAITING
        node.promises = ()
        node.attempts = node.losses = 0
        reset = e.Reset(node, FUNCTIONS[choice % 2], False, bytes(choice % 3))
        request = Request(RequestId(bytes([choice % 5]) * 16), node.id, (node.seq,)) if choice % 2 else None
        self.events.append(e.NodesReset(instance=instance, resets=[reset], at=self.graph.now(), request=request))

    def _compare(self, choice: int) -> None:
        node = self._node(choice, NodeState.COMPLETED)
        if node is not None and node.instance.state is InstanceState.RUNNING:
            self.events.append(e.ValueCompared(node=node, change=tuple(Change)[choice % 3]))

    def _note(self, choice: int) -> None:
        nodes = [node for node in self.nodes if node.instance.state is InstanceState.RUNNING]
        if nodes:
            label = f"label {choice}" if choice % 3 else ""
            note = Note(label, f"x={choice}" if choice % 2 or not label else "")
            self.events.append(e.NodesNoted(notes=[(node, note) for node in nodes[choice % len(nodes) :: 2]]))

    def _cancel(self, choice: int) -> None:
        running = [it for it in self.instances if it.state is InstanceState.RUNNING]
        if not running:
            return
        instance = running[choice % len(running)]
        nodes = [node for node in instance.nodes.values() if node.state not in TERMINAL]
        for node in nodes:
            node.state = NodeState.CANCELLED
        if nodes:
            runs = {node.seq: self._run(choice) for node in nodes[choice % 2 :: 2]}
            self.events.append(e.NodesCancelled(nodes=nodes, at=self.graph.now(), runs=runs))
        instance.state = InstanceState.CANCELLED
        self.events.append(e.InstanceFinished(instance=instance, state=instance.state, at=self.graph.now()))

    def _control(self, choice: int) -> None:
        running = [it for it in self.instances if it.state is InstanceState.RUNNING]
        if running:
            instance = running[choice % len(running)]
            instance.set_control(Control(priority=choice - 20, paused=choice % 2 == 1, running_max=choice % 3))
            self.events.append(e.InstanceControlled(instance=instance, control=instance.control))

    def _control_queue(self, choice: int) -> None:
        control = QueueControl(paused=choice % 2 == 1, running_max=choice % 3)
        self.events.append(e.QueueControlled(queue=f"q{choice % 4}", control=control))

    def _finish(self, choice: int) -> None:
        for instance in self.instances:
            states = {node.state for node in instance.nodes.values()}
            if states and states <= TERMINAL and instance.state is InstanceState.RUNNING:
                instance.state = InstanceState.FAILED if states & UNSUCCESSFUL else InstanceState.COMPLETED
                self.events.append(e.InstanceFinished(instance=instance, state=instance.state, at=self.graph.now()))

    def _worker(self, choice: int) -> None:
        worker_id = WorkerId(bytes([choice % 3]) * 16)
        if worker_id in self.workers:
            self.workers.remove(worker_id)
            self.events.append(e.WorkerLeft(worker_id=worker_id))
        else:
            self.workers.add(worker_id)
            self.events.append(e.WorkerJoined(worker_id=worker_id, name=f"w{choice}", at=self.graph.now()))
