"""An instance in the Trace Event Format, which Perfetto (ui.perfetto.dev), Chrome's tracing page and Speedscope open.

Each worker is a process there, with as many threads as it ran nodes at once; each attempt is a slice. The critical path
is a process of its own, above them. Arrows lead from a node to the nodes that its value went into. Times are
microseconds since the begin of the instance. The format: "Trace Event Format", Google, 2016.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dagorama.analysis.critical import critical_path
from dagorama.analysis.lanes import REPORTED_S, lanes_of
from dagorama.analysis.phases import History
from dagorama.analysis.snapshot import NodeSnapshot, method_of

Event = dict[str, object]

#: The process of the critical path; workers follow.
_PATH = 1
_PATH_NAME = "critical path"


class Run(NamedTuple):
    """One attempt at a node, as far as it has got."""

    node_id: str
    number: int  #: from 1
    worker: str
    began_at: float  #: in seconds since the epoch, as all times
    ended_at: float
    outcome: str  #: "completed", "running", or the type of the exception


def chrome_trace(history: History, runs: Sequence[Run], *, title: str = "") -> dict[str, object]:
    """Return the document, to be written as JSON. Runs of nodes that the history does not have are left out."""
    known = [run for run in runs if run.node_id in history.by_id]
    path = critical_path(history)
    critical = {span.node.node_id for span in path}
    events = list(_names(_PATH, _PATH_NAME, 1))
    for span in path:
        args: Event = {"node": span.node.node_id, "phase": span.phase.value}
        name = f"{_name(span.node)}: {span.phase.value}"
        events.append(_slice(history, name, "critical", span.began_at, span.ended_at, (_PATH, 1), args))
    events += _of_workers(history, known, critical)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"title": title, "began_at": history.began_at, "nodes": len(history.nodes)},
    }


def _of_workers(history: History, runs: Sequence[Run], critical: set[str]) -> Iterator[Event]:
    by_worker: dict[str, list[Run]] = {}
    for run in runs:
        by_worker.setdefault(run.worker, []).append(run)
    placed: dict[str, tuple[Run, tuple[int, int]]] = {}  #: by node, its last run
    for number, worker in enumerate(sorted(by_worker), start=_PATH + 1):
        lanes = 0
        for run, lane in _in_lanes(by_worker[worker]):
            lanes = max(lanes, lane)
            place = (number, lane)
            node = history.by_id[run.node_id]
            is_critical = run.node_id in critical
            args = {"node": node.node_id, "function": node.function, "attempt": run.number, "outcome": run.outcome}
            args["critical"] = is_critical
            kind = "node,critical" if is_critical else "node"
            yield _slice(history, _name(node), kind, run.began_at, run.ended_at, place, args)
            before = placed.get(run.node_id)
            if before is None or before[0].number < run.number:
                placed[run.node_id] = run, place
        yield from _names(number, f"worker {worker}" if worker else "worker unknown", lanes)
    yield from _arrows(history, placed)


def _in_lanes(runs: Iterable[Run]) -> Iterator[tuple[Run, int]]:
    """Return runs in their order, each with a lane, from 1, in which none of the others overlaps it."""
    in_order = sorted(runs, key=lambda run: (run.began_at, run.ended_at))
    lanes = lanes_of(((run.began_at, max(run.ended_at, run.began_at)) for run in in_order), overlap_s=REPORTED_S)
    return zip(in_order, (lane + 1 for lane in lanes), strict=True)


def _arrows(history: History, placed: dict[str, tuple[Run, tuple[int, int]]]) -> Iterator[Event]:
    """Yield an arrow for each value that went from a node that ran into another one that did."""
    number = 0
    for node in history.nodes:
        if node.node_id not in placed:
            continue
        run, place = placed[node.node_id]
        for dependency in history.dependencies(node):
            if dependency.node_id not in placed:
                continue
            source, source_place = placed[dependency.node_id]
            number += 1
            common = {"name": "value", "cat": "value", "id": number}
            at_us = max(_us(history, source.began_at), _us(history, source.ended_at) - 1)
            yield {**common, "ph": "s", "ts": at_us, "pid": source_place[0], "tid": source_place[1]}
            to_us = max(_us(history, run.began_at), at_us)
            yield {**common, "ph": "f", "bp": "e", "ts": to_us, "pid": place[0], "tid": place[1]}


def _slice(
    history: History, name: str, kind: str, began_at: float, ended_at: float, place: tuple[int, int], args: Event
) -> Event:
    began_us = _us(history, began_at)
    return {
        "name": name,
        "cat": kind,
        "ph": "X",
        "ts": began_us,
        "dur": max(0, _us(history, ended_at) - began_us),
        "pid": place[0],
        "tid": place[1],
        "args": args,
    }


def _names(process: int, name: str, lanes: int) -> Iterator[Event]:
    """Yield what names a process and its threads, and puts them in order."""
    yield {"name": "process_name", "ph": "M", "pid": process, "tid": 0, "args": {"name": name}}
    yield {"name": "process_sort_index", "ph": "M", "pid": process, "tid": 0, "args": {"sort_index": process}}
    for lane in range(1, lanes + 1):
        slot = name if process == _PATH else f"slot {lane}"
        yield {"name": "thread_name", "ph": "M", "pid": process, "tid": lane, "args": {"name": slot}}


def _us(history: History, at: float) -> int:
    """Return microseconds since the begin; clocks may differ, but nothing is before it."""
    return max(0, round((at - history.began_at) * 1e6))


def _name(node: NodeSnapshot) -> str:
    return node.label or method_of(node.function)
