"""The dashboard, the alerts and the runbook speak of what there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from tests.docs.pages import ROOT
from tests.scenarios.metrics.conftest import Scraped, StartBroker, StartWorker

DASHBOARD = ROOT / "broker" / "grafana-dashboard.json"
RULES = ROOT / "broker" / "prometheus-rules.yaml"
RUNBOOK = ROOT / "broker" / "RUNBOOK.md"

#: Added by Prometheus to every scrape.
OF_PROMETHEUS = {"up"}
LABELS_OF_PROMETHEUS = {"job", "instance"}


@pytest.fixture
def there_is(start_broker: StartBroker, start_worker: StartWorker) -> dict[str, set[str]]:
    """Return the labels of each sample that a real broker and a real worker tell, by name."""
    broker = start_broker("--storage", "memory:")
    worker = start_worker(broker, "--processes", "1")
    found: dict[str, set[str]] = {name: set() for name in OF_PROMETHEUS}
    for scraped in (broker.scrape(), worker.scrape()):
        found |= dict(names_in(scraped))
    return found


def names_in(scraped: Scraped) -> Iterator[tuple[str, set[str]]]:
    """Yield the names of samples, also where there is none as yet, with their labels as the catalog has them."""
    from dagorama.worker.measures import CATALOG as OF_WORKER
    from dagorama_broker.metrics.catalog import CATALOG as OF_BROKER

    labels = {metric.name: set(metric.labels) for metric in (*OF_BROKER, *OF_WORKER)}
    for name, family in scraped.families.items():
        if family.type == "histogram":
            yield f"{name}_bucket", {*labels[name], "le"}
            yield from ((f"{name}_{end}", labels[name]) for end in ("count", "sum"))
        else:
            full = f"{name}_total" if family.type == "counter" else name
            yield full, labels.get(full, set())


def expressions() -> dict[str, str]:
    """Return all expressions of the dashboard and the rules, by what they are for."""
    found: dict[str, str] = {}
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        found |= {rule["alert"]: rule["expr"] for rule in group["rules"]}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            # Grafana fills these in.
            found[f"{panel['title']} {target['refId']}"] = re.sub(r"\$__rate_interval", "5m", target["expr"])
    return found


def selectors(expression: Any) -> Iterator[Any]:
    """Yield the vector selectors of an expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for name in ("vs", "vector_selector", "expr", "lhs", "rhs", "param"):
        part = getattr(expression, name, None)
        if part is not None:
            yield from selectors(part)
    for part in getattr(expression, "args", None) or []:
        yield from selectors(part)


def test_all_expressions_are_of_metrics_that_exist(there_is: dict[str, set[str]]) -> None:
    """Each parses, and names metrics and labels that a broker or a worker tells."""
    wrong = []
    for what, text in expressions().items():
        found = list(selectors(promql_parser.parse(text)))
        assert found, what
        for selector in found:
            if selector.name not in there_is:
                wrong.append(f"{what}: no metric {selector.name}")
                continue
            named = {matcher.name for matcher in selector.matchers.matchers}
            unknown = named - there_is[selector.name] - LABELS_OF_PROMETHEUS
            wrong += [f"{what}: {selector.name} has no label {label}" for label in unknown]
    assert wrong == []


def test_every_metric_is_on_the_dashboard(there_is: dict[str, set[str]]) -> None:
    """What is measured is shown; build information, and what an alert alone is for, need no panel."""
    shown = {
        re.sub(r"_(bucket|sum|count)$", "", selector.name)
        for text in expressions().values()
        for selector in selectors(promql_parser.parse(text))
    }
    told = {re.sub(r"_(bucket|sum|count)$", "", name) for name in there_is if name.startswith("dagorama_")}
    assert told - shown <= {
        *("dagorama_broker_build_info", "dagorama_worker_build_info", "dagorama_broker_queue_active_nodes"),
        *("dagorama_broker_workers_joined_total", "dagorama_worker_attempts_total", "dagorama_worker_streams_total"),
        *("dagorama_worker_run_duration_seconds", "dagorama_worker_value_bytes_total", "dagorama_worker_held_nodes"),
        *("dagorama_worker_log_bytes_total", "dagorama_broker_log_dropped_bytes_total"),
    }


def test_every_alert_has_a_section_in_the_runbook() -> None:
    """It links there, says how bad it is, and the runbook has no section of an alert that is none."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    names = [rule["alert"] for rule in rules]
    assert re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE) == names
    assert [rule["annotations"]["runbook"] for rule in rules] == [f"broker/RUNBOOK.md#{name.lower()}" for name in names]
    assert {rule["labels"]["severity"] for rule in rules} == {"critical", "warning"}
    assert all(rule["annotations"]["summary"] for rule in rules)


def test_the_dashboard_is_one() -> None:
    """Panels have ids and places of their own, and every query goes to the data source that is chosen."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)
    assert {target["datasource"]["uid"] for panel in panels for target in panel.get("targets", [])} == {"${datasource}"}


def test_queues_of_an_idle_broker_are_shown_as_empty(start_broker: StartBroker) -> None:
    """A number is 0 where no node is ready, and is missing only where no broker answers."""
    scraped = start_broker("--storage", "memory:").scrape()
    told = {sample.name for sample in scraped.samples}
    numbers = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] == "stat"]
    of_queues = [panel["targets"][0]["expr"] for panel in numbers if "_queue_" in panel["targets"][0]["expr"]]
    assert len(of_queues) == 2
    for text in of_queues:
        names = [selector.name for selector in selectors(promql_parser.parse(text))]
        assert [name for name in names if name in told] == ["dagorama_broker_workers"]
