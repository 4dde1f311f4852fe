"""Metrics, and readings of them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from dagorama.metrics.counting import Histogram


class Kind(StrEnum):
    """How a metric behaves, in Prometheus's words."""

    GAUGE = "gauge"  #: It goes up and down.
    COUNTER = "counter"  #: It only grows, from 0 at the start of the process.
    HISTOGRAM = "histogram"  #: It counts values by their size.


class Metric(NamedTuple):
    """A metric as people know it."""

    name: str  #: by the conventions of Prometheus: base units, and `_total` for what is counted
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


#: By the values of its labels.
Values = dict[tuple[str, ...], "float | Histogram"]
#: By the names of metrics.
Readings = dict[str, Values]


def add_up(readings: Iterable[Readings]) -> Readings:
    """Return the sums of readings of several processes; they are left as they are."""
    sums: Readings = {}
    for reading in readings:
        for name, values in reading.items():
            into = sums.setdefault(name, {})
            for labels, value in values.items():
                into[labels] = _sum(into.get(labels), value)
    return sums


def only(kind: Kind, catalog: Iterable[Metric], readings: Readings) -> Readings:
    """Return the readings of the metrics of a kind."""
    return {metric.name: readings[metric.name] for metric in catalog if metric.kind is kind and metric.name in readings}


def _sum(one: float | Histogram | None, other: float | Histogram) -> float | Histogram:
    if isinstance(other, Histogram):
        total = other.copy()
        if isinstance(one, Histogram):
            total.add(one)
        return total
    return other + one if isinstance(one, (int, float)) else other
