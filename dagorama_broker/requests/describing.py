"""Describe what is in memory, and in the journal, as requests are answered with it."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import NamedTuple

from dagorama_broker.core.model.entities import Instance, Lane, Node, Worker
from dagorama_broker.core.model.filters import Obstacle
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.stored import InstanceSummary, StoredEnd, StoredNode
from dagorama_broker.core.model.values import InstanceId, Note, Pause, QueueControl, WorkerId, measure
from dagorama_broker.core.ready.queues import ReadyQueues
from dagorama_broker.requests.answers import NodeInfo, QueueInfo, WorkerInfo
from dagorama_broker.requests.checks import VALUE_BYTES_SHOWN


def describe_instance(instance: Instance) -> InstanceSummary:
    """Return how an instance in memory stands."""
    return InstanceSummary(
        seq=instance.seq,
        id=instance.id,
        definition=instance.definition,
        state=instance.state,
        created_at=instance.created_at,
        finished_at=instance.finished_at,
        deadline_at=instance.deadline_at,
        counts={state: count for state, count in instance.counts.items() if count},
        group=instance.group,
        control=instance.control,
        key=instance.start.key if instance.start is not None else "",
        tags=instance.tags,
        started_by=instance.started_by,
        pauses=instance.pauses,
        held_bytes=instance.held_bytes,
    )


def describe_node(
    stored: StoredNode,
    instance_id: InstanceId,
    others: Mapping[int, StoredEnd],
    node: Node | None,
    *,
    pauses: Sequence[Pause] = (),
    arguments_max: int = 0,
    value: bytes | None = None,
) -> NodeInfo:
    """Return how a node from the journal stands, with so much of its arguments and its value, if they are given out.

    `others` has the nodes that it refers to, by number; `node` is its form in memory, which alone knows of leases.
    """
    ids = {seq: other.id for seq, other in others.items()}
    state, worker = state_now(stored.state, node), node.worker if node is not None else None
    retry_at = stored.retry_at if state is NodeState.BACKOFF else 0.0
    ran = _ran(stored, node)
    note = stored.note or Note()
    is_shown = bool(arguments_max) and stored.function.shows_inputs
    has_run = stored.run is not None or stored.state is NodeState.COMPLETED or bool(stored.promise_seqs)
    return NodeInfo(
        id=stored.id,
        instance_id=instance_id,
        function=stored.function,
        state=state,
        dependency_ids=[ids[seq] for seq in stored.dependency_seqs],
        parent_id=ids.get(stored.parent_seq),
        attempts=node.tries + 1 if node is not None and worker is not None else stored.tries + has_run,
        failures=stored.failures,
        undone=stored.undone,
        worker=ran.worker,
        created_at=stored.created_at,
        ready_at=_ready_at(stored, others, ran, pauses),
        granted_at=ran.granted_at,
        started_at=ran.started_at,
        duration_s=ran.duration_s,
        label=note.label,
        arguments=stored.arguments[:arguments_max] if is_shown else b"",
        arguments_bytes=stored.arguments_bytes if is_shown else 0,
        parameters=stored.function.parameters if is_shown else "",
        inputs=note.inputs if arguments_max else "",
        value=value[:VALUE_BYTES_SHOWN] if value is not None and is_shown else b"",
        value_bytes=len(value) if value is not None and is_shown else 0,
        finished_at=stored.finished_at,
        retry_at=retry_at,
        cause_id=ids.get(stored.cause_seq),
        change=stored.change,
        progress=worker.progress.get(node.token) if node is not None and worker is not None else None,
    )


class _Ran(NamedTuple):
    """The worker and the times of the attempt that a node is in, or has ended in; 0 for a time that is not known."""

    worker: str = ""
    granted_at: float = 0.0
    started_at: float = 0.0
    duration_s: float = 0.0


def _ran(stored: StoredNode, node: Node | None) -> _Ran:
    """Return the attempt of a node: none while it waits for one, whatever attempts it had before."""
    if node is not None and node.worker is not None:
        return _Ran(node.worker.name, node.leased_at, node.leased_at)
    if stored.state is NodeState.FAILED and stored.failures:
        last = stored.failures[-1]
        return _Ran(last.worker, last.granted_at, last.started_at, last.duration_s)
    if stored.run is None:
        return _Ran()
    worker, granted_at, ended_at, told_s = stored.run
    return _Ran(worker, granted_at, *measure(granted_at, ended_at, told_s))


def _ready_at(stored: StoredNode, others: Mapping[int, StoredEnd], ran: _Ran, pauses: Sequence[Pause]) -> float:
    """Return when all that a node depends on was there, and it had begun anew where it has; 0 where it is not."""
    dependencies = [others[seq] for seq in stored.dependency_seqs]
    if any(dependency.state is not NodeState.COMPLETED for dependency in dependencies):
        return 0.0
    # While its instance was over it had ended: what came of it afterwards came of its having begun anew.
    until = ran.granted_at or stored.finished_at or inf
    revivals = [pause.revived_at for pause in pauses if stored.created_at < pause.revived_at <= until]
    return max([stored.created_at, *[dependency.finished_at for dependency in dependencies], *revivals])


def state_now(stored: NodeState, node: Node | None) -> NodeState:
    """Return the state of a node, given what the journal has for it, and its form in memory."""
    return node.state if node is not None and node.state in (NodeState.READY, NodeState.LEASED) else stored


def describe_worker(worker: Worker, lanes: Iterable[Lane]) -> WorkerInfo:
    """Return how a connected worker stands; `lanes` are all that there are."""
    filter = worker.view.filter
    return WorkerInfo(
        id=worker.id,
        name=worker.name,
        include_queues=sorted(filter.include_queues),
        exclude_queues=sorted(filter.exclude_queues),
        tolerations=sorted(filter.tolerations),
        slots=worker.slots,
        leases=len(worker.leases),
        draining=worker.draining,
        unfit_functions=sorted(
            {
                lane.function
                for lane in lanes
                if lane.active and filter.obstacle(lane) in (Obstacle.CODE_VERSION, Obstacle.LACKS)
            }
        ),
    )


def describe_queues(queues: ReadyQueues, *, always: str = "") -> list[QueueInfo]:
    """Return how queues stand that have something to run, by queue and taint, and those with a control.

    The queue `always` is among them.
    """
    controls = queues.controls()
    if always:
        controls[always] = queues.control(always)
    infos: dict[tuple[str, str], QueueInfo] = {}
    serving: dict[tuple[str, str], set[WorkerId]] = {}
    for lane in queues.lanes.values():
        if not lane.active and lane.queue not in controls:
            continue
        key = (lane.queue, lane.taint)
        info = infos.setdefault(key, QueueInfo(queue=lane.queue, taint=lane.taint))
        ready = lane.ready + lane.parked
        info.ready += ready
        info.held += ready if lane.paused else lane.parked
        info.active += lane.active - ready
        workers = {worker.id for view in lane.views for worker in view.workers if not worker.draining}
        serving[key] = serving.get(key, set()) | workers
        info.workers = len(serving[key])
    for queue in controls.keys() - {queue for queue, _ in infos}:
        infos[queue, ""] = _empty_queue(queue, queues)
    for (queue, _), info in infos.items():
        info.paused, info.running_max = controls.get(queue, QueueControl())
    return [infos[key] for key in sorted(infos)]


def _empty_queue(queue: str, queues: ReadyQueues) -> QueueInfo:
    """Return how a queue without nodes stands, as if it had some without a taint."""
    lane = Lane(queue, "")
    workers = sum(
        not worker.draining for view in queues.views.values() if view.filter.admits(lane) for worker in view.workers
    )
    return QueueInfo(queue=queue, taint="", workers=workers)
