"""Why a node is not running: the scheduler's own predicates, asked one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from dagorama_broker.core.errors import show_id
from dagorama_broker.core.model import Failure, FunctionSpec, Node, NodeId, Worker
from dagorama_broker.core.ready import Lane, Obstacle, is_suspect
from dagorama_broker.core.scheduler import Scheduler
from dagorama_broker.core.states import TERMINAL, NodeState

#: So many promises or workers are named one by one; of the others only the number is told.
NAMED_MAX = 20
#: So many links of the chain of what waits for what are told one by one; then comes its end.
DEPTH_MAX = 20
#: So many of the nodes that workers are busy with are put into words.
DESCRIBED_MAX = 3


class Kind(StrEnum):
    """What holds a node."""

    ENDED = "ended"  #: It is terminal; nothing holds it.
    RUNNING = "running"  #: A worker has it.
    WAITS_FOR = "waits_for"  #: Dependencies that have not completed.
    JOINS = "joins"  #: Promises that its function returned and that have not completed.
    BACKS_OFF = "backs_off"  #: An attempt failed, and the next one is not due yet.
    RESTARTED = "restarted"  #: The broker has restarted and waits for the workers that it had.
    NO_WORKER = "no_worker"  #: No worker is connected at all.
    TAINT = "taint"  #: No worker that serves its queue tolerates its taint.
    QUEUE = "queue"  #: No worker serves its queue.
    MODULE = "module"  #: No worker that could run it runs functions of its module.
    CODE_VERSION = "code_version"  #: Every worker that could run it has its function in another version.
    DRAINING = "draining"  #: Every worker that could run it takes no more nodes.
    SUSPECT = "suspect"  #: A worker was lost with it, and every worker that could run it has another such node.
    BUSY = "busy"  #: Every worker that could run it has its slots full.
    DUE = "due"  #: Nothing holds it: it is granted with the next batch.


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that holds a node, with its evidence."""

    kind: Kind
    text: str
    node_ids: tuple[NodeId, ...] = ()  #: what it waits for, who has what it needs (maybe of other instances), its cause
    workers: tuple[str, ...] = ()  #: names of those concerned
    until: float | None = None  #: when it ends by itself, in seconds since the epoch
    because: tuple[Reason, ...] = ()  #: for the first of `node_ids`: what holds that one


def explain(scheduler: Scheduler, node: Node, now: float, *, depth: int = DEPTH_MAX) -> tuple[Reason, ...]:
    """Give what holds a node, the most telling first."""
    match node.state:
        case state if state in TERMINAL:
            cause = node.cause or node
            failure = cause.failures[-1].failure if cause.failures else None
            return (ended(state, cause.id, cause.function.spec.name, cause.attempts, failure),)
        case NodeState.WAITING:
            return (_waits(scheduler, node.dependencies, Kind.WAITS_FOR, "it waits for", now, depth),)
        case NodeState.JOINING:
            return (_waits(scheduler, node.promises, Kind.JOINS, "its function has returned promises of", now, depth),)
        case NodeState.BACKOFF:
            text = f"attempt {node.attempts} failed; the next one is due in {max(0.0, node.retry_at - now):.1f} s"
            return (Reason(kind=Kind.BACKS_OFF, text=text, until=node.retry_at),)
        case NodeState.LEASED:
            name = node.worker.name if node.worker else ""
            return (Reason(kind=Kind.RUNNING, text=f"worker {name} has it", workers=(name,)),)
    return tuple(_explain_ready(scheduler, node))


def ended(state: NodeState, cause_id: NodeId, function: str, attempts: int, failure: Failure | None) -> Reason:
    """Give the reason of a node in this terminal state; all but the state are those of its root cause."""
    if state is NodeState.COMPLETED:
        return Reason(kind=Kind.ENDED, text="it has completed")
    if state is NodeState.CANCELLED:
        return Reason(kind=Kind.ENDED, text="it was cancelled")
    what = f": {failure.type}: {failure.message}" if failure else ""
    times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    if state is NodeState.FAILED:
        return Reason(kind=Kind.ENDED, text=f"it failed after {times}{what}", node_ids=(cause_id,))
    because = f"it depends on {function} ({show_id(cause_id)}), which failed after {times}{what}"
    return Reason(kind=Kind.ENDED, text=because, node_ids=(cause_id,))


def _waits(scheduler: Scheduler, others: tuple[Node, ...], kind: Kind, words: str, now: float, depth: int) -> Reason:
    open_nodes = _open(others)
    named = open_nodes[:NAMED_MAX]
    text = f"{words} {', '.join(map(_describe, named))}"
    if len(open_nodes) > len(named):
        text += f" and {len(open_nodes) - len(named)} more"
    return Reason(
        kind=kind,
        text=text,
        node_ids=tuple(other.id for other in named),
        because=_because(scheduler, named[0], now, depth - 1),
    )


def _because(scheduler: Scheduler, node: Node, now: float, depth: int) -> tuple[Reason, ...]:
    """Give what holds a node that another waits for. Iterative where the chain is long: it may have 100,000 links."""
    if depth > 0:
        return explain(scheduler, node, now, depth=depth)
    last, links = node, 0
    while waits_for := last.dependencies if last.state is NodeState.WAITING else _joined(last):
        last = _open(waits_for)[0]
        links += 1
    if not links:
        return explain(scheduler, last, now)
    text = f"it waits, over {links} more links of this chain, for {_describe(last)}"
    return (Reason(kind=Kind.WAITS_FOR, text=text, node_ids=(last.id,), because=explain(scheduler, last, now)),)


def _joined(node: Node) -> tuple[Node, ...]:
    return node.promises if node.state is NodeState.JOINING else ()


def _open(others: tuple[Node, ...]) -> list[Node]:
    return [other for other in others if other.state is not NodeState.COMPLETED]


def _describe(node: Node) -> str:
    return f"{node.function.spec.name} ({show_id(node.id)})"


def _explain_ready(scheduler: Scheduler, node: Node) -> Iterator[Reason]:
    """Give what keeps a ready node from being granted."""
    if scheduler.is_recovering:
        yield Reason(
            kind=Kind.RESTARTED,
            text=f"the broker has restarted and waits for {len(scheduler.fleet.awaited)} workers that may have it",
            until=scheduler.fleet.awaited_until,
        )
        return
    lane = node.function.lane
    taking = [
        worker for worker in scheduler.workers.values() if worker.view.filter.admits(lane) and not worker.draining
    ]
    free = [worker for worker in taking if len(worker.leases) < _slots(worker)]
    if not taking:
        yield from _nobody_takes(list(scheduler.workers.values()), lane)
    elif is_suspect(node) and all(worker.suspect for worker in free or taking):
        names = _names(free or taking)
        yield Reason(
            kind=Kind.SUSPECT,
            text=f"a worker was lost with it, and {_are(names)} running another node with which one was lost",
            workers=names,
            node_ids=tuple(worker.suspect.id for worker in free or taking if worker.suspect),
        )
    elif not free:
        yield _busy(taking, node)
    else:
        yield Reason(kind=Kind.DUE, text="it is granted next", workers=_names(free))


def _busy(workers: list[Worker], node: Node) -> Reason:
    names = _names(workers)
    held = [held for worker in workers for held in islice(worker.leases.values(), _slots(worker))]
    told = ", ".join(f"{_describe(other)} of instance {show_id(other.instance.id)}" for other in held[:DESCRIBED_MAX])
    more = f" and {len(held) - DESCRIBED_MAX} more" if len(held) > DESCRIBED_MAX else ""
    ready = node.function.lane.ready
    return Reason(
        kind=Kind.BUSY,
        text=f"{_are(names)} busy with {told}{more}; ready nodes of {node.function.spec.name}: {ready}",
        workers=names,
        node_ids=tuple(other.id for other in held[:NAMED_MAX]),
    )


def _slots(worker: Worker) -> int:
    """Give how many nodes a worker runs at once; one that pulls asks for the next when it is through with one."""
    return worker.slots or 1


def explain_function(scheduler: Scheduler, spec: FunctionSpec) -> tuple[Reason, ...]:
    """Give what would keep a node of this function from every worker; nothing where some worker takes such nodes."""
    workers = list(scheduler.workers.values())
    lane = Lane(spec.queue, spec.taint, spec.name, spec.code_version)
    if any(worker.view.filter.admits(lane) and not worker.draining for worker in workers):
        return ()
    return tuple(_nobody_takes(workers, lane))


def _nobody_takes(workers: list[Worker], lane: Lane) -> Iterator[Reason]:
    """Give why none of the workers takes nodes of a lane."""
    able = _names([worker for worker in workers if worker.view.filter.admits(lane)])
    if not workers:
        yield Reason(kind=Kind.NO_WORKER, text="no worker is connected")
    elif able:
        yield Reason(kind=Kind.DRAINING, text=f"{_are(able)} draining", workers=able)
    else:
        yield from _obstacles(workers, lane)


def _obstacles(workers: list[Worker], lane: Lane) -> Iterator[Reason]:
    """Give what keeps nodes of a lane from every worker, those that are nearest to being able first."""
    by_obstacle: dict[Obstacle, list[Worker]] = {}
    for worker in workers:
        obstacle = worker.view.filter.obstacle(lane)
        if obstacle is not None:
            by_obstacle.setdefault(obstacle, []).append(worker)
    for obstacle in (Obstacle.CODE_VERSION, Obstacle.MODULE, Obstacle.TAINT, Obstacle.QUEUE):
        unable = by_obstacle.get(obstacle, [])
        if not unable:
            continue
        names = _names(unable)
        match obstacle:
            case Obstacle.CODE_VERSION:
                others = {version for worker in unable for version in worker.versions[lane.function] if version}
                have = ", ".join(sorted(others)) or "another"
                text = f"it needs version {lane.code_version} of {lane.function}, and {_are(names)} at {have}"
            case Obstacle.MODULE:
                module = lane.function.partition(":")[0]
                way_out = f"start one with --import {module}, or without --import"
                text = f"it is of module {module}, which {_do(names)} not have: {way_out}"
            case Obstacle.TAINT:
                way_out = f"start one with --toleration {lane.taint}"
                text = f"it has taint {lane.taint}, which {_do(names)} not tolerate: {way_out}"
            case Obstacle.QUEUE:
                text = f"it is in queue {lane.queue}, which {_do(names)} not serve"
        yield Reason(kind=Kind(obstacle.value), text=text, workers=names)


def _names(workers: list[Worker]) -> tuple[str, ...]:
    return tuple(worker.name for worker in workers)


def _are(names: tuple[str, ...]) -> str:
    return f"worker {names[0]} is" if len(names) == 1 else f"all {len(names)} workers that could run it are"


def _do(names: tuple[str, ...]) -> str:
    return f"worker {names[0]} does" if len(names) == 1 else f"{len(names)} workers do"
