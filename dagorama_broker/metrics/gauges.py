"""The core, the streams and the stores as they are when somebody asks.

The core is looked at on the event loop, bit by bit: very many instances or ready nodes must not hold up what runs.
"""

import asyncio
import os
import platform
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from importlib.metadata import version
from itertools import islice
from typing import TypeVar

from dagorama.metrics.labels import Labels
from dagorama.metrics.measures import Metric, Readings
from dagorama_broker.core.model.entities import Lane, Node, View
from dagorama_broker.core.model.states import LIVE, NodeState
from dagorama_broker.host.host import Host
from dagorama_broker.logs.logs import Logs
from dagorama_broker.metrics import catalog as m
from dagorama_broker.values.values import Values

T = TypeVar("T")

#: So many instances or nodes are looked at before others go on: that takes about a millisecond.
AT_ONCE = 2_000


async def read_gauges(host: Host, logs: Logs, values: Values, queues: Labels) -> Readings:
    """Return how the broker stands; call it once the host has started."""
    readings = _of_workers(host)
    readings |= await _of_nodes(host)
    readings |= await _of_queues(host, queues)
    readings |= _of_logs(logs)
    readings |= _of_values(values)
    readings[m.WAITS.name] = {(): host.listeners.waiting}
    readings[m.STREAMS.name] = {
        ("work",): len(host.listeners.channels),
        ("logs",): logs.streams,
        ("puts",): values.uploads,
        ("gets",): values.downloads,
    }
    stored = _size(host.journal.location)
    if stored:
        readings[m.STORAGE_BYTES.name] = {(): stored}
    return readings


def read_build() -> Readings:
    """Return the versions that run."""
    return {m.BUILD_INFO.name: {(version("dagorama"), platform.python_version()): 1}}


def _of_workers(host: Host) -> Readings:
    workers = host.scheduler.workers.values()
    return {
        m.WORKERS.name: {(): len(workers)},
        m.SLOTS.name: {(): sum(worker.slots for worker in workers)},
        m.LEASES.name: {(): sum(len(worker.leases) for worker in workers)},
    }


async def _of_nodes(host: Host) -> Readings:
    instances = host.scheduler.instances
    counts: defaultdict[NodeState, int] = defaultdict(int)
    async for instance in _bit_by_bit(list(instances.values())):
        for state, count in instance.counts.items():
            counts[state] += count
    live = sorted(LIVE)
    return {
        m.INSTANCES.name: {(): len(instances)},
        m.NODES.name: {(state.value,): counts[state] for state in live},
    }


async def _of_queues(host: Host, labels: Labels) -> Readings:
    """Return how queues stand that have something to run, or had since the start and have series of their own."""
    lanes = [lane for lane in host.scheduler.queues.lanes.values() if lane.active]
    counts: dict[Metric, defaultdict[str, float]] = {
        metric: defaultdict(float) for metric in (m.QUEUE_READY, m.QUEUE_HELD, m.QUEUE_ACTIVE, m.QUEUE_AGE)
    }
    views: defaultdict[str, set[View]] = defaultdict(set)  #: few, and each worker has one
    for lane in lanes:
        label = labels.of(lane.queue)
        held = lane.ready + lane.parked if lane.paused else lane.parked
        counts[m.QUEUE_READY][label] += lane.ready + lane.parked - held
        counts[m.QUEUE_HELD][label] += held
        counts[m.QUEUE_ACTIVE][label] += lane.active - lane.ready - lane.parked
        counts[m.QUEUE_AGE][label] += 0.0
        views[label].update(lane.views)
    now = host.now()
    for lane in lanes:
        label = labels.of(lane.queue)
        oldest_at = now if lane.paused else await _oldest_at(lane, now)
        counts[m.QUEUE_AGE][label] = max(counts[m.QUEUE_AGE][label], now - oldest_at)
    return {
        **{metric.name: {(label,): count for label, count in of.items()} for metric, of in counts.items()},
        m.QUEUE_WORKERS.name: {(label,): _takers(of) for label, of in views.items()},
    }


def _takers(views: Iterable[View]) -> int:
    return sum(not worker.draining for view in views for worker in view.workers)


async def _oldest_at(lane: Lane, now: float) -> float:
    """Return since when some node of a lane has been ready: not always the first, as priorities differ."""
    oldest_at = now
    for line in lane.lines:
        node: Node
        async for node in _bit_by_bit(list(line.things.values())):
            if node.state is NodeState.READY and node.ready_at < oldest_at:
                oldest_at = node.ready_at
    return oldest_at


def _of_logs(logs: Logs) -> Readings:
    return {
        m.LOG_BYTES.name: {(): logs.taken_bytes},
        m.LOG_DROPPED.name: {(): logs.dropped_bytes},
        m.LOG_STORE_BYTES.name: {(): logs.used_bytes},
        m.LOG_STORE_MAX.name: {(): logs.bytes_max},
    }


def _of_values(values: Values) -> Readings:
    return {
        m.VALUES_PUT.name: {(): values.put_bytes},
        m.VALUES_GOT.name: {(): values.got_bytes},
        m.VALUE_STORE_BYTES.name: {(): values.stored_bytes},
        m.VALUE_STORE_VALUES.name: {(): values.stored_count},
    }


def _size(location: str) -> int:
    """Return the size of a database with its write-ahead log; 0 for one that is no file."""
    size = 0
    for path in (location, f"{location}-wal"):
        with suppress(OSError):
            size += os.stat(path).st_size
    return size


async def _bit_by_bit(things: Iterable[T]) -> AsyncIterator[T]:
    """Yield things, and let others go on from time to time."""
    rest = iter(things)
    while some := list(islice(rest, AT_ONCE)):
        for thing in some:
            yield thing
        if len(some) == AT_ONCE:
            await asyncio.sleep(0)
