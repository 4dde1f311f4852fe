"""What a real worker command tells of all its processes over HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest

from dagorama import DAGInstance, NodeFailed, workers
from dagorama.worker.measures import CATALOG
from tests.scenarios.broker.test_command import settings
from tests.scenarios.metrics.conftest import MeasuredBroker, MeasuredWorker, Scraped, StartBroker, StartWorker, get
from tests.scenarios.metrics.measured_definitions import Deadly, Patient, Shop, Sour
from tests.scenarios.metrics.test_broker_metrics import flaws
from tests.timing import WAIT_S

PACK = "tests.scenarios.metrics.measured_definitions:Shop.pack"


@pytest.fixture
def broker(start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch) -> MeasuredBroker:
    """Give a broker that this program uses."""
    broker = start_broker("--storage", "memory:")
    monkeypatch.setenv("DAGORAMA_HOST", "localhost")
    monkeypatch.setenv("DAGORAMA_PORT", broker.port)
    return broker


def heard_of(scraped: Scraped) -> bool:
    """Tell whether each process has answered in time."""
    return scraped.value("dagorama_worker_silent_processes") == 0


def scraped_when(worker: MeasuredWorker, condition: Callable[[Scraped], bool]) -> Scraped:
    """Scrape until this holds."""
    until = monotonic() + WAIT_S
    while not condition(scraped := worker.scrape()):
        assert monotonic() < until, [(s.name, s.labels, s.value) for s in scraped.samples]
        sleep(0.02)
    return scraped


async def wait_for(done: Path) -> DAGInstance[str]:
    """Start a node that waits for a file, on an event loop."""
    instance, _ = await Patient()(str(done))
    return instance


def test_the_processes_of_a_worker_are_told_of_in_one_place(broker: MeasuredBroker, start_worker: StartWorker) -> None:
    """Their numbers are summed, under names by the conventions; nothing is lost between them."""
    worker = start_worker(broker, "--processes", "2", "--concurrency", "3")
    instance, _ = Shop()(40)
    assert len(instance.result(timeout=WAIT_S)) == 40
    failing, _ = Sour()()
    with pytest.raises(NodeFailed):
        failing.result(timeout=WAIT_S)
    scraped = scraped_when(worker, lambda s: s.value("dagorama_worker_connected_processes") == 2 and heard_of(s))
    assert flaws(scraped) == []
    names = {f"{name}_total" if scraped.families[name].type == "counter" else name for name in scraped.of("dag")}
    assert names == {metric.name for metric in CATALOG}
    told = {
        "packed": scraped.value("dagorama_worker_attempts_total", function=PACK, outcome="completed"),
        "timed": scraped.value("dagorama_worker_run_duration_seconds_count", function=PACK),
        "failed": scraped.value("dagorama_worker_attempts_total", outcome="failed"),
        "slots": scraped.value("dagorama_worker_slots"),
        "processes": scraped.value("dagorama_worker_processes"),
        "streams": scraped.value("dagorama_worker_streams_total"),
        "silent": scraped.value("dagorama_worker_silent_processes"),
    }
    assert told == {"packed": 40, "timed": 40, "failed": 1, "slots": 6, "processes": 2, "streams": 2, "silent": 0}
    assert scraped.value("dagorama_worker_value_bytes_total") > 40 * 100
    assert scraped.value("dagorama_worker_log_bytes_total") >= 40 * len("packing 0\n")
    assert scraped.value("dagorama_worker_cpu_seconds_total") > 0
    assert [get(f"{worker.url}/{path}").status for path in ("livez", "readyz", "version")] == [200, 200, 200]


def test_a_process_that_dies_is_counted_and_keeps_its_share(
    broker: MeasuredBroker, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Counters do not fall when a process is replaced, as far as it had told them."""
    worker = start_worker(broker, "--processes", "1")
    first, _ = Shop()(3)
    first.result(timeout=WAIT_S)
    before = scraped_when(worker, heard_of)
    second, _ = Deadly()(str(tmp_path / "done"))
    assert second.result(timeout=WAIT_S) == "survived"
    after = scraped_when(worker, heard_of)
    assert before.value("dagorama_worker_attempts_total", function=PACK) == 3
    assert after.value("dagorama_worker_attempts_total", function=PACK) == 3
    ends = [after.value("dagorama_worker_process_ends_total", reason=reason) for reason in ("died", "drained", "node")]
    assert ends == [1, 0, 0]


def test_what_runs_and_the_event_loop_are_seen(
    broker: MeasuredBroker, start_worker: StartWorker, tmp_path: Path
) -> None:
    """A node that runs is there while it runs, and the loop that it runs on is looked at."""
    worker = start_worker(broker, "--processes", "1")
    instance = asyncio.run(wait_for(tmp_path / "done"))
    scraped = scraped_when(worker, lambda s: s.value("dagorama_worker_event_loop_lag_seconds_count") > 0)
    assert scraped_when(worker, lambda s: s.value("dagorama_worker_running_nodes") == 1)
    assert scraped.value("dagorama_worker_held_nodes") == 1
    (tmp_path / "done").touch()
    assert instance.result(timeout=WAIT_S) == "waited"


def test_a_worker_without_a_broker_is_not_ready_and_one_that_drains_neither(
    broker: MeasuredBroker, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Its health says which; it is live all the while."""
    worker = start_worker(broker, "--processes", "1")
    instance = asyncio.run(wait_for(tmp_path / "done"))
    scraped_when(worker, lambda s: s.value("dagorama_worker_running_nodes") == 1)
    worker.process.terminate()
    worker.wait_for("finishing what runs")
    assert (get(f"{worker.url}/readyz"), get(f"{worker.url}/livez").status) == ((503, "draining\n"), 200)
    (tmp_path / "done").touch()
    assert instance.result(timeout=WAIT_S) == "waited"
    assert worker.process.wait(WAIT_S) == 0
    alone = start_worker(broker, "--processes", "1")
    scraped_when(alone, lambda s: s.value("dagorama_worker_connected_processes") == 1)
    broker.process.kill()
    alone.wait_for("trying again")
    assert get(f"{alone.url}/readyz") == (503, "no worker process is connected to the broker\n")
    assert get(f"{alone.url}/livez").status == 200


def test_a_process_that_hangs_holds_up_no_scrape(broker: MeasuredBroker, start_worker: StartWorker) -> None:
    """It counts as it was last heard of, and is told of as silent; the others are fresh."""
    worker = start_worker(broker, "--processes", "2")
    instance, _ = Shop()(4)
    instance.result(timeout=WAIT_S)
    scraped_when(worker, lambda s: s.value("dagorama_worker_connected_processes") == 2 and heard_of(s))
    stopped = workers()[0].name.rpartition(":")[2]
    os.kill(int(stopped), signal.SIGSTOP)
    try:
        scraped = scraped_when(worker, lambda s: s.value("dagorama_worker_silent_processes") == 1)  # not the other, too
    finally:
        os.kill(int(stopped), signal.SIGCONT)
    assert scraped.value("dagorama_worker_attempts_total", function=PACK) == 4
    assert scraped_when(worker, heard_of)


def test_a_port_that_is_taken_ends_the_worker(broker: MeasuredBroker) -> None:
    """It says so in one line, and exits with the status of what cannot start."""
    port = broker.url.rpartition(":")[2]
    command = [sys.executable, "-m", "dagorama", "worker", "--port", broker.port, "--metrics-port", port]
    done = subprocess.run(command, env=settings(), capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (done.returncode, f"localhost:{port}" in done.stderr) == (3, True)
