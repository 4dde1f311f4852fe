"""Writes the reference page of metrics from the code: `python -m tests.docs.metrics_page`."""

from __future__ import annotations

from collections.abc import Iterable

from dagorama.metrics.measures import Metric
from dagorama.worker import measures as worker
from dagorama_broker.metrics import catalog as broker
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "reference" / "metrics.md"

WORKER = """Sums over all worker processes of one `worker` command, which answers for them. A process that does not
answer within two seconds, as a function of a node holds the interpreter, counts as it was last heard of; the counters
of one that was killed are those of the last scrape. `process_...` are of the supervisor.
"""

INTRODUCTION = f"""# Metrics

All that brokers and workers tell at `/metrics`. [How they are asked](../how-to/prometheus-and-grafana.md) has a page of
its own. This page is made from the code, by `python -m tests.docs.metrics_page`.

Names follow Prometheus's conventions: seconds and bytes, `_total` for what only grows. Counters begin at 0 when the
process starts. A histogram `x_seconds` is scraped as `x_seconds_bucket`, `x_seconds_count` and `x_seconds_sum`. What
carries the name of a function or a queue is bounded: the first {broker.FUNCTIONS_MAX} functions and the first
{broker.QUEUES_MAX} queues have their own labels, all others together the label `other`. So thousands of names are no
thousands of time series, and sums are right. On Linux the metrics of the process itself stand beside these:
`process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds`, `process_start_time_seconds` and
others.
"""


def page() -> str:
    """Returns the page."""
    return "\n".join(
        [INTRODUCTION, "## Broker\n", *table(broker.CATALOG), "", "## Worker\n", WORKER, *table(worker.CATALOG), ""]
    )


def table(catalog: Iterable[Metric]) -> list[str]:
    """Returns the rows of a table of metrics."""
    rows = ["| Metric | Kind | Labels | What it is |", "| --- | --- | --- | --- |"]
    for metric in catalog:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    return rows


if __name__ == "__main__":
    PAGE.write_text(page())
