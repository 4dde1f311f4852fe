"""Attempts counted as they end, where metrics are asked for."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable

from dagorama.metrics.counting import MOMENTS_S, SPANS_S, Histogram
from dagorama.metrics.labels import Labels
from dagorama.metrics.measures import Readings
from dagorama.worker import measures as m
from dagorama.worker.kernel.states import GIVEN
from dagorama.worker.shell.held import Held

_OUTCOMES = ("completed", "failed", "discarded", "rejected")


class _OfFunction:
    """The attempts of a function, or of all that have no series of their own."""

    __slots__ = (*_OUTCOMES, "run_time")

    def __init__(self) -> None:
        self.run_time = Histogram(SPANS_S)
        self.completed = self.failed = self.discarded = self.rejected = 0


class Tally:
    """The counters of one worker process. One thread at a time counts, another one may read."""

    def __init__(self) -> None:
        self._labels = Labels(m.FUNCTIONS_MAX)
        self._functions: dict[str, _OfFunction] = {}  #: by label
        self._value_bytes = 0
        self._lag = Histogram(MOMENTS_S)
        self.streams = 0  #: that were opened

    def ended(self, nodes: Iterable[Held]) -> None:
        """Count the attempts at nodes that have ended just now."""
        for held in nodes:
            report = held.report
            if report is None and held.rejected is None:
                continue  # its lease had ended before it was begun
            label = self._labels.of(held.function.name)
            function = self._functions.get(label)
            if function is None:
                function = self._functions[label] = _OfFunction()
            if report is None:
                function.rejected += 1
            elif held.state is not GIVEN:
                function.discarded += 1
            else:
                function.run_time.observe(report.duration_us * 1e-6)
                if report.failure is not None:
                    function.failed += 1
                else:
                    function.completed += 1
                    self._value_bytes += len(report.value or b"")

    def observe_lag(self, lag_s: float | None) -> None:
        """Count how late the event loop is; None where there is none."""
        if lag_s is not None:
            self._lag.observe(lag_s)

    def read(self) -> Readings:
        """Return what has been counted, and what the process takes, as copies."""
        functions = list(self._functions.items())  # at once, whichever thread counts
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            m.ATTEMPTS.name: {
                (label, outcome): getattr(function, outcome) for label, function in functions for outcome in _OUTCOMES
            },
            m.RUN_TIME.name: {(label,): function.run_time.copy() for label, function in functions},
            m.VALUE_BYTES.name: {(): self._value_bytes},
            m.STREAMS.name: {(): self.streams},
            m.LOOP_LAG.name: {(): self._lag.copy()},
            m.CPU.name: {(): usage.ru_utime + usage.ru_stime},
            m.MEMORY.name: {(): _resident_bytes()},
        }


def _resident_bytes() -> int:
    """Return how much memory this process has; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
