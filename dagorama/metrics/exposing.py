"""Readings in the format that Prometheus scrapes.

prometheus-client, the extra `metrics`, is imported where metrics are asked for. It writes the format and adds the
metrics of the process itself. Its own counters are not used: each takes a lock, where a number is enough, and those of
several processes add up only over files (decision 0027).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dagorama.metrics.counting import Histogram
from dagorama.metrics.faults import NoPrometheus
from dagorama.metrics.measures import Kind, Metric, Readings

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family


def check_is_installed() -> None:
    """Raise `NoPrometheus` where metrics cannot be exposed."""
    if find_spec("prometheus_client") is None:
        raise NoPrometheus


def expose(catalog: Sequence[Metric], read: Callable[[], Readings], accept: str) -> tuple[bytes, str]:
    """Return what is measured now in the format that `accept` asks for, and its content type.

    Metrics of which there is no reading are named all the same. With the process's own, where the system tells them.
    """
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(catalog, read()))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collector:
    """The readings of one scrape."""

    def __init__(self, catalog: Sequence[Metric], readings: Readings) -> None:
        self._catalog = catalog
        self._readings = readings

    def describe(self) -> list[Family]:
        """Return nothing: it would be looked for names that are taken, and there are none."""
        return []

    def collect(self) -> Iterator[Family]:
        """Yield each metric with its readings."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        families = {
            Kind.GAUGE: GaugeMetricFamily,
            Kind.COUNTER: CounterMetricFamily,
            Kind.HISTOGRAM: HistogramMetricFamily,
        }
        for metric in self._catalog:
            family = families[metric.kind](metric.name, metric.help, labels=metric.labels)
            for labels, value in sorted(self._readings.get(metric.name, {}).items()):
                if isinstance(family, HistogramMetricFamily):
                    assert isinstance(value, Histogram)
                    family.add_metric(labels, buckets=list(value.buckets()), sum_value=value.sum)
                else:
                    assert not isinstance(value, Histogram)
                    family.add_metric(labels, value)
            yield family
