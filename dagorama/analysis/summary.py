"""Sums over an instance: where its time went, phase by phase and function by function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dagorama.analysis.critical import critical_path
from dagorama.analysis.phases import LOST, History, Phase, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionTimes:
    """The time of all nodes of one function."""

    function: str
    nodes: int
    #: How many of them are in a state.
    counts: dict[str, int]
    #: Seconds in each phase, of all its nodes together.
    phases_s: dict[str, float]
    #: Seconds of the critical path, in any phase.
    critical_s: float
    #: The longest run of its function.
    longest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """An instance, taken apart."""

    makespan_s: float
    has_ended: bool
    #: The critical path, in order.
    path: Sequence[Span]
    #: Seconds of the critical path in each phase; together the makespan.
    critical_s: dict[str, float]
    #: Seconds in each phase, of all nodes together.
    phases_s: dict[str, float]
    #: Those that took most of the critical path first.
    functions: Sequence[FunctionTimes]

    @property
    def lost_s(self) -> float:
        """Return how much of the makespan went into neither running nor joining."""
        return sum(self.critical_s.get(phase, 0.0) for phase in LOST)


def analyze(history: History) -> Analysis:
    """Take an instance apart."""
    path = critical_path(history)
    on_path: dict[str, float] = {}
    for span in path:
        on_path[span.node.function] = on_path.get(span.node.function, 0.0) + span.duration_s
    return Analysis(
        makespan_s=history.makespan_s,
        has_ended=history.has_ended,
        path=path,
        critical_s=sums(path),
        phases_s=sums(span for node in history.nodes for span in history.spans(node)),
        functions=_by_function(history, on_path),
    )


def sums(spans: Iterable[Span]) -> dict[str, float]:
    """Return the seconds in each phase that took any, in the order of the phases."""
    found: dict[str, float] = {}
    for span in spans:
        found[span.phase] = found.get(span.phase, 0.0) + span.duration_s
    return {str(phase): found[phase] for phase in Phase if phase in found}


def counts_of(history: History) -> dict[str, dict[str, int]]:
    """Return for each function how many of its nodes are in a state, in the order of their first nodes."""
    found: dict[str, Counter[str]] = {}
    for node in history.nodes:
        found.setdefault(node.function, Counter())[node.state] += 1
    return {function: dict(counts) for function, counts in found.items()}


def _by_function(history: History, on_path: dict[str, float]) -> list[FunctionTimes]:
    spans: dict[str, list[Span]] = {}
    for node in history.nodes:
        spans.setdefault(node.function, []).extend(history.spans(node))
    times = [
        FunctionTimes(
            function=function,
            nodes=sum(counts.values()),
            counts=counts,
            phases_s=sums(spans[function]),
            critical_s=on_path.get(function, 0.0),
            longest_s=max((span.duration_s for span in spans[function] if span.phase is Phase.RUNNING), default=0.0),
        )
        for function, counts in counts_of(history).items()
    ]
    return sorted(times, key=lambda one: (-one.critical_s, -sum(one.phases_s.values())))
