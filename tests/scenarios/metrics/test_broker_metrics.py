"""What a real broker tells of itself over HTTP."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from urllib.error import URLError

from prometheus_client.parser import text_string_to_metric_families

from dagorama.metrics.labels import OTHER
from dagorama.v1 import graph_pb2, work_pb2
from dagorama_broker.metrics.catalog import CATALOG, FUNCTIONS_MAX, QUEUES_MAX
from tests.scenarios.broker.rawclient import Client, Worker, call, failure, function, new_id, result
from tests.scenarios.broker.test_command import settings
from tests.scenarios.metrics.conftest import Page, Scraped, StartBroker, get
from tests.timing import WAIT_S

#: The metrics of every process, as prometheus-client has them.
PROCESS = "process_"
#: Words for units that are not the base unit.
NO_BASE_UNITS = re.compile(r"_(ms|milliseconds|us|minutes|hours|days|kb|kib|mb|mib|kilobytes|megabytes|percent)(_|$)")


def flaws(scraped: Scraped) -> list[str]:
    """Return where names are not as Prometheus's conventions have them, as `promtool check metrics` does."""
    found = []
    for name, family in scraped.families.items():
        full = f"{name}_total" if family.type == "counter" else name
        checks = {
            "no help": bool(family.documentation),
            "not snake case": re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None,
            "a unit that is no base unit": NO_BASE_UNITS.search(full) is None,
            "ends like a sample": re.search(r"_(bucket|count|sum|info_total)$", name) is None,
            "a total that is no counter": family.type == "counter" or not name.endswith("_total"),
            "names its kind": re.search(r"_(counter|gauge|histogram)(_|$)", name) is None,
            "a histogram without a unit": family.type != "histogram" or name.endswith(("_seconds", "_bytes")),
            "a label that is a number or a kind": not {"le", "quantile", "job", "instance"}
            & {label for sample in family.samples for label in sample.labels if not sample.name.endswith("_bucket")},
        }
        found += [f"{full}: {flaw}" for flaw, holds in checks.items() if not holds]
    return found


def test_a_broker_tells_all_that_it_measures(start_broker: StartBroker) -> None:
    """A run with a failure is in the numbers as soon as it is acknowledged, under names by the conventions."""
    broker = start_broker()
    with Client(broker.target, "shop") as client:
        one, other = new_id(), new_id()
        client.start(call(one, arguments=b"123"), call(other, one))
        worker = Worker(broker.target, work_pb2.Hello(worker_id=new_id(), name="w1", slots=2, include_queues=["shop"]))
        (first,) = worker.take()
        while_it_runs = broker.scrape()
        worker.complete(first, b"12345")
        (second,) = worker.take()
        worker.finish(result(second, failure=failure(), duration_us=2_000_000))
        worker.report_plain((one, first.token, b"again"))
        worker.wait(lambda: bool(worker.refusals))
    scraped = broker.scrape()
    worker.close()
    assert flaws(scraped) == []
    assert {f"{name}_total" if scraped.families[name].type == "counter" else name for name in scraped.of("dag")} == {
        metric.name for metric in CATALOG
    }
    at = {
        "nodes": while_it_runs.value("dagorama_broker_nodes", state="leased"),
        "waiting": while_it_runs.value("dagorama_broker_nodes", state="waiting"),
        "active": while_it_runs.value("dagorama_broker_queue_active_nodes", queue="shop"),
        "slots": while_it_runs.value("dagorama_broker_worker_slots"),
        "streams": while_it_runs.value("dagorama_broker_streams", kind="work"),
    }
    assert at == {"nodes": 1, "waiting": 1, "active": 1, "slots": 2, "streams": 1}
    told = {
        "completed": scraped.value("dagorama_broker_attempts_total", function="shop:f", outcome="completed"),
        "failed": scraped.value("dagorama_broker_attempts_total", function="shop:f", outcome="failed"),
        "refused": scraped.value("dagorama_broker_results_refused_total"),
        "instances": scraped.value("dagorama_broker_instances_ended_total", state="failed"),
        "grants": scraped.value("dagorama_broker_grant_latency_seconds_count", queue="shop"),
        "runs": scraped.value("dagorama_broker_run_duration_seconds_bucket", function="shop:f", le="5.0"),
        "values": scraped.value("dagorama_broker_value_bytes_total"),
        "arguments": scraped.value("dagorama_broker_argument_bytes_total"),
        "ready": scraped.value("dagorama_broker_ready"),
    }
    assert told == {
        "completed": 1,
        "failed": 1,
        "refused": 1,
        "instances": 1,
        "grants": 2,
        "runs": 2,
        "values": 5,
        "arguments": 3,
        "ready": 1,
    }
    for name in ("commit_duration_seconds_count", "sync_duration_seconds_count", "storage_bytes"):
        assert scraped.value(f"dagorama_broker_{name}") > 0
    assert scraped.of(PROCESS) or sys.platform != "linux"


def test_the_oldest_ready_node_has_an_age(start_broker: StartBroker) -> None:
    """It counts nodes that a worker could have; those of a paused queue are held."""
    broker = start_broker("--storage", "memory:")
    with Client(broker.target, "shop") as client:
        client.start(call(new_id()), call(new_id()))
        before = broker.scrape()
        client.control_queue("shop", paused=True)
        after = broker.scrape()
    assert before.value("dagorama_broker_queue_oldest_ready_seconds", queue="shop") > 0
    assert after.value("dagorama_broker_queue_oldest_ready_seconds", queue="shop") == 0
    names = ("queue_ready_nodes", "queue_held_nodes", "queue_workers")
    assert [[s.value(f"dagorama_broker_{n}", queue="shop") for n in names] for s in (before, after)] == [
        [2, 0, 0],
        [0, 2, 0],
    ]


def test_a_flood_of_names_does_not_flood_the_metrics(start_broker: StartBroker) -> None:
    """10,000 functions in as many queues are some hundred series, and none is left out of the sums."""
    broker = start_broker("--storage", "memory:")
    count = 10_000
    functions: list[graph_pb2.FunctionSpec] = [function(f"shop:f{n}", queue=f"q{n}") for n in range(count)]
    with Client(broker.target) as client:
        for at in range(0, count, 2_000):
            some = functions[at : at + 2_000]
            client.start(*(call(new_id(), function=n) for n in range(len(some))), functions=some)
        scraped = broker.scrape()
    queues = [s for s in scraped.samples if s.name == "dagorama_broker_queue_ready_nodes"]
    assert (len(queues), sum(sample.value for sample in queues)) == (QUEUES_MAX + 1, count)
    assert scraped.value("dagorama_broker_queue_ready_nodes", queue=OTHER) == count - QUEUES_MAX
    assert len(scraped.samples) < 40 * (FUNCTIONS_MAX + QUEUES_MAX)


def test_openmetrics_is_spoken_where_it_is_asked_for(start_broker: StartBroker) -> None:
    """Prometheus asks for it; what comes ends as that format does."""
    broker = start_broker("--storage", "memory:")
    page = get(f"{broker.url}/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert page.text.endswith("# EOF\n")
    assert list(text_string_to_metric_families(get(f"{broker.url}/metrics").text))


def state_of_one_that_drains(start_broker: StartBroker) -> Page | None:
    """Tell what a broker says of its readiness while it drains; None where it was gone before it could be asked."""
    broker = start_broker("--storage", "memory:")
    assert [get(f"{broker.url}/{path}").status for path in ("livez", "readyz", "version")] == [200, 200, 200]
    with Client(broker.target) as client:
        watch = client.watch(client.start(call(new_id())))  # an open call holds up the end for a second
        broker.process.send_signal(signal.SIGTERM)
        broker.wait_for("broker stopping")
        try:
            state = get(f"{broker.url}/readyz")
        except (URLError, ConnectionError):
            state = None
        watch.cancel()  # type: ignore[attr-defined]  # a call of gRPC
    assert broker.process.wait(WAIT_S) == 0
    return state


def test_a_broker_that_drains_is_not_ready(start_broker: StartBroker) -> None:
    """Load balancers and Kubernetes see its health by its own word, until it is gone."""
    # On a slow machine one may be gone too soon; one that never says it is at fault.
    states = (state_of_one_that_drains(start_broker) for _ in range(5))
    assert next(filter(None, states), None) == (503, "draining\n")


def test_a_metrics_port_that_is_taken_ends_the_start(start_broker: StartBroker) -> None:
    """The broker says which address, and what to do, and does not run without what was asked for."""
    port = start_broker("--storage", "memory:").url.rpartition(":")[2]
    command = [sys.executable, "-m", "dagorama_broker", "--port", "0", "--storage", "memory:", "--metrics-port", port]
    done = subprocess.run(command, env=settings(), capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert f"localhost:{port}" in done.stderr


def test_without_a_port_nothing_of_it_is_even_imported() -> None:
    """A broker that is not asked for metrics pays nothing for them."""
    code = "import sys, dagorama_broker.__main__; print({'http.server', 'prometheus_client'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert done.stdout == "set()\n"
