"""The reasons why a node is not running: the scheduler's own predicates, asked one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice

from dagorama_broker.core.errors import show_id
from dagorama_broker.core.estimating import ends_at, place_at, rate_at, slots_of, worker_at
from dagorama_broker.core.model.entities import Lane, Limit, Node, Worker
from dagorama_broker.core.model.filters import Obstacle
from dagorama_broker.core.model.states import TERMINAL, NodeState
from dagorama_broker.core.model.values import Failure, FunctionSpec, NodeId
from dagorama_broker.core.ready.limits import full_limits, limit_name
from dagorama_broker.core.ready.queues import is_suspect
from dagorama_broker.core.scheduler import Scheduler

#: So many promises or workers are named one by one; of the others only the number is told.
NAMED_MAX = 20
#: So many links of the chain of what waits for what are told one by one; then comes its end.
DEPTH_MAX = 20
#: So many of the nodes that workers are busy with are put into words.
DESCRIBED_MAX = 3
#: What a shell takes as it is.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")
#: In what times are told: the largest of which there are two.
_UNITS = ((86400, "days"), (3600, "h"), (60, "min"), (1, "s"))


class Kind(StrEnum):
    """The kind of a reason: a dependency, a worker that is missing, a limit, a pause, a wait."""

    ENDED = "ended"  #: It is terminal; nothing holds it.
    RUNNING = "running"  #: A worker has it.
    STORE = "store"  #: A worker has it, and waits for the store of values, which is full or away.
    WAITS_FOR = "waits_for"  #: Dependencies that have not completed.
    JOINS = "joins"  #: Promises that its function returned and that have not completed.
    AWAY = "away"  #: It must not run twice, and the worker that had it is not connected.
    BACKS_OFF = "backs_off"  #: An attempt failed, and the next one is not due yet.
    RESTARTED = "restarted"  #: The broker has restarted and waits for the workers that it had.
    NO_WORKER = "no_worker"  #: No worker is connected at all.
    TAINT = "taint"  #: No worker that serves its queue tolerates its taint.
    QUEUE = "queue"  #: No worker serves its queue.
    MODULE = "module"  #: No worker that could run it runs functions of its module.
    CODE_VERSION = "code_version"  #: Every worker that could run it has its function in another version.
    LACKS = "lacks"  #: A worker that could run it has said that it lacks what that takes.
    PAUSED = "paused"  #: Its instance or its queue is paused.
    LIMIT = "limit"  #: As many run as a limit lets run at once.
    RATE = "rate"  #: As many have started of late as a limit lets start.
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
    expected_at: float | None = None  #: about when it ends, judged by how long functions have been taking
    because: tuple[Reason, ...] = ()  #: for the first of `node_ids`: what holds that one


#: The wait of a node, at its worker, for the store of values: since when, in seconds since the epoch, and what the
#: store said of itself, with its place.
StoreWait = tuple[float, str]


def with_store_waits(
    reasons: Sequence[Reason], node_id: NodeId, find: Callable[[NodeId], StoreWait | None], now: float
) -> list[Reason]:
    """Return the reasons that hold a node, and with each running one the wait for the store that holds that."""
    told = []
    for reason in reasons:
        if reason.kind is Kind.RUNNING and (wait := find(node_id)) is not None:
            since, said = wait
            text = f"it has been waiting for {_span(max(0.0, now - since))} for the store of values: {said}"
            told.append(Reason(kind=Kind.STORE, text=text, workers=reason.workers))
        if reason.because:
            because = with_store_waits(reason.because, reason.node_ids[0], find, now)
            reason = replace(reason, because=tuple(because))
        told.append(reason)
    return told


def ids_in(reasons: Sequence[Reason]) -> Iterator[NodeId]:
    """Yield the ids of all nodes that reasons name."""
    for reason in reasons:
        yield from reason.node_ids
        yield from ids_in(reason.because)


def with_labels(reasons: Sequence[Reason], labels: Mapping[NodeId, str]) -> list[Reason]:
    """Return reasons whose texts have the label of each node that has one, between its function and its id."""
    told = []
    for reason in reasons:
        text = reason.text
        for node_id in reason.node_ids:
            if label := labels.get(node_id):
                shown = f" ({show_id(node_id)})"
                text = text.replace(shown, f" {label}{shown}", 1)
        told.append(replace(reason, text=text, because=tuple(with_labels(reason.because, labels))))
    return told


def explain(scheduler: Scheduler, node: Node, now: float, *, depth: int = DEPTH_MAX) -> tuple[Reason, ...]:
    """Return the reasons that hold a node, the most telling first."""
    match node.state:
        case state if state in TERMINAL:
            cause = node.cause or node
            failure = cause.failures[-1].failure if cause.failures else None
            return (ended(state, cause.id, cause.function.spec.name, cause.attempts, failure),)
        case NodeState.WAITING if _blocker(node) is None:  # of many that become ready the others come bit by bit
            return (Reason(kind=Kind.DUE, text="what it waited for is there, and it is ready next"),)
        case NodeState.JOINING if _blocker(node) is None:
            return (Reason(kind=Kind.DUE, text="what it waited for is there, and it completes next"),)
        case NodeState.WAITING:
            return (_waits(scheduler, node.dependencies, Kind.WAITS_FOR, "it waits for", now, depth),)
        case NodeState.JOINING:
            return (_waits(scheduler, node.promises, Kind.JOINS, "its function has returned promises of", now, depth),)
        case NodeState.BACKOFF if node in scheduler.graph.accused:
            left_s = max(0.0, node.retry_at - now)
            text = (
                f"{node.losses + 1} workers were lost while they held it; it is quarantined in {left_s:.1f} s unless "
                "the last of them comes back"
            )
            return (Reason(kind=Kind.BACKS_OFF, text=text, until=node.retry_at),)
        case NodeState.BACKOFF:
            text = f"attempt {node.tries} failed; the next one is due in {max(0.0, node.retry_at - now):.1f} s"
            backs_off = Reason(kind=Kind.BACKS_OFF, text=text, until=node.retry_at, expected_at=node.retry_at)
            return (*_pauses(node), backs_off)
        case NodeState.STARTED:
            until = scheduler.fleet.absences.until(node)
            left_s = max(0.0, until - now) if until is not None else 0.0
            text = (
                "the worker that had it is not connected, and as its function is at_most_once, no other gets it; it "
                f"fails in {left_s:.1f} s unless that worker comes back with it"
            )
            return (Reason(kind=Kind.AWAY, text=text, until=until),)
        case NodeState.LEASED:
            name = node.worker.name if node.worker else ""
            at = ends_at(node, now)
            text = f"worker {name} has it{_about('it ends', at, now)}"
            return (Reason(kind=Kind.RUNNING, text=text, workers=(name,), expected_at=at),)
    return tuple(_explain_ready(scheduler, node, now))


def explain_stopping(scheduler: Scheduler, node_id: NodeId) -> Iterator[Reason]:
    """Yield a reason for each worker that was told to stop a node which has ended, and has not said that it has."""
    for worker in scheduler.workers.values():
        if any(node.id == node_id for node in worker.stopping.values()):
            text = f"worker {worker.name} runs it still: it was told to stop, and has not said that it has"
            yield Reason(kind=Kind.RUNNING, text=text, workers=(worker.name,))


def ended(state: NodeState, cause_id: NodeId, function: str, attempts: int, failure: Failure | None) -> Reason:
    """Return the reason of a node in this terminal state. All but the state are its root cause's."""
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
    at = _completes_at(scheduler, open_nodes, now)
    return Reason(
        kind=kind,
        text=text + _about("that is over", at, now),
        node_ids=tuple(other.id for other in named),
        expected_at=at,
        because=_because(scheduler, named[0], now, depth - 1),
    )


def _because(scheduler: Scheduler, node: Node, now: float, depth: int) -> tuple[Reason, ...]:
    """Return the reasons of a node that another waits for. Iterative: a chain may have 100,000 links."""
    if depth > 0:
        return explain(scheduler, node, now, depth=depth)
    last, links = node, 0
    while (blocker := _blocker(last)) is not None:
        last = blocker
        links += 1
    if not links:
        return explain(scheduler, last, now)
    text = f"it waits, over {links} more links of this chain, for {_describe(last)}"
    return (Reason(kind=Kind.WAITS_FOR, text=text, node_ids=(last.id,), because=explain(scheduler, last, now)),)


def _completes_at(scheduler: Scheduler, others: list[Node], now: float) -> float | None:
    """Return about when all of some nodes have completed: when the last made has, as first in is first out."""
    node = max(others, key=lambda other: other.seq)
    after_s = 0.0
    for _ in range(DEPTH_MAX):
        if node.state is NodeState.LEASED:
            at = ends_at(node, now)
            return None if at is None else at + after_s
        if node.state is not NodeState.JOINING:  # its function has still to run
            if node.function.timing.duration_s is None:
                return None
            after_s += node.function.timing.duration_s
        waits_for = _waits_for(node)
        if not waits_for:
            reasons = explain(scheduler, node, now)
            begins = [now if reason.kind is Kind.DUE else reason.expected_at for reason in reasons]
            known = [at for at in begins if at is not None]
            return max(known) + after_s if len(known) == len(begins) else None
        node = max(waits_for, key=lambda other: other.seq)
    return None


def _blocker(node: Node) -> Node | None:
    """Return the first of `_waits_for`, in a fraction of the time."""
    state = node.state
    others = node.dependencies if state is NodeState.WAITING else node.promises if state is NodeState.JOINING else ()
    for other in others:
        if other.state is not NodeState.COMPLETED:
            return other
    return None


def _waits_for(node: Node) -> list[Node]:
    """Return the nodes that have still to complete before this one can go on."""
    if node.state is NodeState.JOINING:
        return _open(node.promises)
    return _open(node.dependencies) if node.state is NodeState.WAITING else []


def _open(others: tuple[Node, ...]) -> list[Node]:
    return [other for other in others if other.state is not NodeState.COMPLETED]


def _describe(node: Node) -> str:
    return f"{node.function.spec.name} ({show_id(node.id)})"


def _explain_ready(scheduler: Scheduler, node: Node, now: float) -> Iterator[Reason]:
    """Yield the reasons that keep a ready node from being granted.

    First come decisions that people have taken, then things that people have to do besides; workers that are only busy
    are named where there is nothing else.
    """
    held = [*_pauses(node), *_limits(scheduler, node, now)]
    yield from held
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
    free = [worker for worker in taking if len(worker.leases) + len(worker.stopping) < slots_of(worker)]
    if not taking:
        yield from _nobody_takes(list(scheduler.workers.values()), lane, _last_lost(scheduler, now))
    elif held:
        return
    elif is_suspect(node) and all(worker.suspect for worker in free or taking):
        names = _names(free or taking)
        yield Reason(
            kind=Kind.SUSPECT,
            text=f"a worker was lost with it, and {_are(names)} running another node with which one was lost",
            workers=names,
            node_ids=tuple(worker.suspect.id for worker in free or taking if worker.suspect),
        )
    elif not free:
        yield _busy(taking, node, now)
    else:
        yield Reason(kind=Kind.DUE, text="it is granted next", workers=_names(free))


def _pauses(node: Node) -> Iterator[Reason]:
    """Yield the pauses that hold a node."""
    if node.instance.control.paused:
        way_out = f"`dagorama resume {show_id(node.instance.id)}` lets it go on"
        yield Reason(kind=Kind.PAUSED, text=f"its instance is paused: {way_out}")
    if node.function.lane.paused:
        queue = node.function.spec.queue
        way_out = f"`dagorama resume --queue {queue!r}` lets it go on"
        yield Reason(kind=Kind.PAUSED, text=f"its queue, {queue}, is paused: {way_out}")


def _limits(scheduler: Scheduler, node: Node, now: float) -> Iterator[Reason]:
    """Yield the limits that have no room for a node."""
    for limit in full_limits(node, now):
        name = limit_name(node, limit)
        spec = limit.spec
        if spec.max and len(limit.holders) >= spec.max:
            yield _full(scheduler, node, limit, name, now)
        if limit.opens_at > now:
            at = rate_at(limit, node)
            text = (
                f"{name} lets {spec.rate_per_s:g} start in a second, and the next one in {limit.opens_at - now:.1f} s"
                f"{_about('its turn is', at, now)}"
            )
            yield Reason(kind=Kind.RATE, text=text, until=limit.opens_at, expected_at=at)


def _full(scheduler: Scheduler, node: Node, limit: Limit, name: str, now: float) -> Reason:
    """Return the reason of a limit whose places are all taken."""
    holders = [(other, _holding(scheduler, token, other)) for token, other in limit.holders.items()]
    told = ", ".join(
        f"{_describe(other)} of instance {show_id(other.instance.id)}{f' on worker {worker.name}' if worker else ''}"
        for other, worker in holders[:DESCRIBED_MAX]
    )
    more = f" and {len(holders) - DESCRIBED_MAX} more" if len(holders) > DESCRIBED_MAX else ""
    at = place_at(limit, node, now)
    return Reason(
        kind=Kind.LIMIT,
        text=f"{name} lets {limit.spec.max} run at once, and {len(holders)} run: {told}{more}"
        f"{_about('its turn is', at, now)}",
        node_ids=tuple(other.id for other, _ in holders[:NAMED_MAX]),
        workers=tuple({worker.name: None for _, worker in holders[:NAMED_MAX] if worker}),
        expected_at=at,
    )


def _holding(scheduler: Scheduler, token: int, node: Node) -> Worker | None:
    """Return the worker that has a node under this token: still, or until it has heard that the lease is revoked."""
    if node.worker is not None and node.token == token:
        return node.worker
    return next((worker for worker in scheduler.workers.values() if token in worker.stopping), None)


def _busy(workers: list[Worker], node: Node, now: float) -> Reason:
    names = _names(workers)
    held = [
        held
        for worker in workers
        for held in (*worker.stopping.values(), *islice(worker.leases.values(), slots_of(worker)))
    ]
    told = ", ".join(f"{_describe(other)} of instance {show_id(other.instance.id)}" for other in held[:DESCRIBED_MAX])
    more = f" and {len(held) - DESCRIBED_MAX} more" if len(held) > DESCRIBED_MAX else ""
    ready = node.function.lane.ready
    at = worker_at(workers, node, now)
    return Reason(
        kind=Kind.BUSY,
        text=f"{_are(names)} busy with {told}{more}; ready nodes of {node.function.spec.name}: {ready}"
        f"{_about('its turn is', at, now)}",
        workers=names,
        node_ids=tuple(other.id for other in held[:NAMED_MAX]),
        expected_at=at,
    )


def _about(what: str, at: float | None, now: float) -> str:
    """Return the words for when something is likely to be, where that is known."""
    if at is None:
        return ""
    rest_s = max(0.0, at - now)
    if rest_s < 1:
        return f"; {what} within about a second"
    return f"; {what} about {_span(rest_s)} from now"


def _span(seconds: float) -> str:
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= 2 * size or size == 1)
    return f"{seconds / size:.0f} {unit}"


def _last_lost(scheduler: Scheduler, now: float) -> str:
    """Return words about the worker that was lost last: maybe another one is about to take its place."""
    if scheduler.fleet.last_lost is None:
        return ""
    name, at = scheduler.fleet.last_lost
    return f"; the connection of worker {name} broke {'less than a second' if now < at + 1 else _span(now - at)} ago"


def explain_function(scheduler: Scheduler, spec: FunctionSpec) -> tuple[Reason, ...]:
    """Return the reasons that keep a node of this function from every worker; nothing where a worker takes it."""
    workers = list(scheduler.workers.values())
    lane = Lane(spec.queue, spec.taint, spec.name, spec.code_version)
    if any(worker.view.filter.admits(lane) and not worker.draining for worker in workers):
        return ()
    return tuple(_nobody_takes(workers, lane))


def unsure_workers(scheduler: Scheduler, spec: FunctionSpec) -> tuple[str, ...]:
    """Return the workers that take nodes of this function, where none has told its version; nothing where one has."""
    lane = Lane(spec.queue, spec.taint, spec.name, spec.code_version)
    able = [one for one in scheduler.workers.values() if one.view.filter.admits(lane) and not one.draining]
    if any(worker.view.filter.modules or spec.name in worker.versions for worker in able):
        return ()
    return _names(able)


def _nobody_takes(workers: list[Worker], lane: Lane, lost: str = "") -> Iterator[Reason]:
    """Yield why none of the workers takes nodes of a lane; `lost` is said where there are none at all."""
    able = _names([worker for worker in workers if worker.view.filter.admits(lane)])
    if not workers:
        yield Reason(kind=Kind.NO_WORKER, text=f"no worker is connected{lost}")
    elif able:
        yield Reason(kind=Kind.DRAINING, text=f"{_are(able)} draining", workers=able)
    else:
        yield from _obstacles(workers, lane)


def _obstacles(workers: list[Worker], lane: Lane) -> Iterator[Reason]:
    """Yield what keeps nodes of a lane from every worker, the workers that are nearest to being able first."""
    by_obstacle: dict[Obstacle, list[Worker]] = {}
    for worker in workers:
        obstacle = worker.view.filter.obstacle(lane)
        if obstacle is not None:
            by_obstacle.setdefault(obstacle, []).append(worker)
    # Whoever starts a worker for what is said here is not to find that it lacks a toleration.
    tolerating = f" --toleration {quote(lane.taint)}" if lane.taint else ""
    for obstacle in (Obstacle.CODE_VERSION, Obstacle.LACKS, Obstacle.MODULE, Obstacle.TAINT, Obstacle.QUEUE):
        unable = by_obstacle.get(obstacle, [])
        if not unable:
            continue
        names = _names(unable)
        match obstacle:
            case Obstacle.LACKS:
                yield from _lacks(unable, lane)
                continue
            case Obstacle.CODE_VERSION:
                others = {version for worker in unable for version in worker.versions[lane.function] if version}
                have = ", ".join(sorted(others)) or "another"
                also = f" and{tolerating}" if tolerating else ""
                way_out = (
                    f"start or restart one with that code{also}, or with --code-mismatch warn{also} to run it anyway, "
                    "or cancel the instance"
                )
                needed = f"it needs version {lane.code_version} of {lane.function}"
                text = f"{needed}, and {_are(names)} at {have}: {way_out}"
            case Obstacle.MODULE:
                module = lane.function.partition(":")[0]
                text = f"it is of module {module}, which {_do(names)} not have: {_module_way_out(lane, tolerating)}"
            case Obstacle.TAINT:
                text = f"it has taint {lane.taint}, which {_do(names)} not tolerate: start one with{tolerating}"
            case Obstacle.QUEUE:
                way_out = f"start one with --include-queue {quote(lane.queue)}{tolerating}"
                text = f"it is in queue {lane.queue}, which {_do(names)} not serve: {way_out}"
        yield Reason(kind=Kind(obstacle.value), text=text, workers=names)


def _lacks(workers: list[Worker], lane: Lane) -> Iterator[Reason]:
    """Yield in the workers' own words what they have said that they lack."""
    by_problem: dict[str, list[Worker]] = {}
    for worker in workers:
        name = next(name for name in (lane.function, *sorted(lane.needs)) if name in worker.lacking)
        by_problem.setdefault(worker.lacking[name], []).append(worker)
    for problem, unable in by_problem.items():
        names = _names(unable)
        who = f"worker {names[0]}" if len(names) == 1 else f"{len(names)} workers"
        yield Reason(kind=Kind.LACKS, text=f"{who} cannot run it: {problem}", workers=names)


def _module_way_out(lane: Lane, tolerating: str) -> str:
    """Say which worker would run a function of a module that the connected workers do not have."""
    module = lane.function.partition(":")[0]
    if "<locals>" in lane.function:
        return "a class inside a function exists only in the process that made it; move it to its module's top level"
    if module == "__main__":  # each process has another module of that name
        return (
            "have launch_workers() or `dagorama run` start workers from that script, or move it into a module that "
            "workers can import"
        )
    without = f"with{tolerating} and without" if tolerating else "without"
    return f"start one with --import {quote(module)}{tolerating}, or {without} --import"


def quote(word: str) -> str:
    """Write a word as a shell reads it. The standard library's `shlex` does the same, and opens files besides."""
    if word and all(char in _PLAIN for char in word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


def _names(workers: list[Worker]) -> tuple[str, ...]:
    return tuple(worker.name for worker in workers)


def _are(names: tuple[str, ...]) -> str:
    return f"worker {names[0]} is" if len(names) == 1 else f"all {len(names)} workers that could run it are"


def _do(names: tuple[str, ...]) -> str:
    return f"worker {names[0]} does" if len(names) == 1 else f"{len(names)} workers do"
