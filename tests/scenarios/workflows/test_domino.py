"""Control files at a Domino of the tests, on a real broker and real workers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from dagorama import Instance, InstanceFailed, LogLine, NodeEvent, attach, events, launch_workers, prune
from dagorama.workflows.formats import load_workflow
from dagorama.workflows.running import start_workflow
from dagorama_broker.launch import launch_broker
from tests.conformance.domino import KEY, FakeDomino, served
from tests.timing import WAIT_S, until

#: Each run starts a broker and workers.
pytestmark = pytest.mark.timeout(600)

DEMO = Path(__file__).parents[3] / "samples" / "control"


@pytest.fixture
def domino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDomino]:
    """Serve a Domino that has the project of the demo, for workers that have its settings."""
    if find_spec("domino") is None:
        pytest.fail("there is no client of Domino in this environment; install it with: pip install -e '.[dev,domino]'")
    monkeypatch.delenv("DAGORAMA_TIERS", raising=False)
    monkeypatch.delenv("DAGORAMA_HEALTH_S", raising=False)
    monkeypatch.setenv("DAGORAMA_JOBS", str(tmp_path / "jobs"))
    shutil.copytree(DEMO, tmp_path / "control")
    monkeypatch.chdir(tmp_path)
    with served(tmp_path / "domino", tmp_path / "control") as (domino, settings):
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield domino


def begun(text: str, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """Start the run of a control file at the broker that runs."""
    monkeypatch.setenv("DAGORAMA_EXECUTOR", "domino")
    Path("x.cfg").write_text(text)
    return attach(start_workflow(load_workflow("x.cfg").workflow, directory=os.getcwd()).instance_id)


def printed(run: Instance) -> list[str]:
    """Return what the only task of a run has printed in all of its attempts."""
    nodes = run.nodes(function="run_task")  # none until the run has begun
    return [line.text for node in nodes for line in node.logs() if isinstance(line, LogLine)]


def test_the_demo_graph_runs_at_domino(domino: FakeDomino, tmp_path: Path) -> None:
    """Three runs, a model of its name and the app of the project; the schedule is not registered, and says so."""
    command = [sys.executable, "-m", "dagorama", "run", "control/demo.cfg", "--executor", "domino", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    out = done.stdout.splitlines()
    assert (done.returncode, out[-1]) == (0, "Pipeline completed successfully."), done.stderr
    succeeded = [line.split()[1] for line in out if line.endswith("status:Succeeded")]
    assert sorted(succeeded) == ["app_1", "job_1", "job_2", "job_3", "model_1"]
    assert "task_id: sched_job_1     status:Not-scheduled" in out
    assert "job_1 | hello from job_1\n" in done.stderr
    assert "job_2 | 100% of job_2\n" in done.stderr
    runs = {str(run.object["title"]).partition(" [")[0]: run.object for run in domino.runs.values()}
    assert sorted(runs) == ["Hello One", "Hello Two", "Train"]
    assert runs["Hello Two"]["hardwareTierId"] == "large-k8s"
    assert [model["name"] for model in domino.models.values()] == ["model_1"]
    assert [app["status"] for app in domino.apps.values()] == ["Running"]
    assert (tmp_path / "control" / "out" / "trained_at.txt").exists()
    assert KEY not in done.stdout + done.stderr


def test_a_run_is_followed_on_when_its_worker_is_killed(domino: FakeDomino, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not started twice, each line of it is told once, and a failure is tried again by another run."""
    text = "echo >> started; echo first; while [ ! -e go ]; do sleep 0.05; done; rm go; echo last; exit 1"
    with launch_broker(port=0), launch_workers(1) as (worker,):
        after = events().begin()
        run = begun(f"[a]\ndirect = true\nmax_retries = 1\ncommand = {text}\n", monkeypatch)
        until(lambda: printed(run) == ["first"])
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        next(
            event
            for event in events(instance=run.id, after=after)
            if isinstance(event, NodeEvent) and event.kind == "attempt_lost"
        )
        (domino.project / "go").touch()
        until(lambda: len(domino.runs) == 2)
        (domino.project / "go").touch()
        with pytest.raises(InstanceFailed):
            run.wait(timeout=WAIT_S)
        (node,) = run.nodes(function="run_task")
        assert (node.state, printed(run)) == ("failed", ["first", "last", "first", "last"])
        assert "exit status 1" in str(node.error)
    # The lost attempt is none that has ended.
    assert [str(one.object["title"])[-2:] for one in domino.runs.values()] == ["0]", "1]"]


def test_a_run_that_is_cancelled_is_stopped(domino: FakeDomino, monkeypatch: pytest.MonkeyPatch) -> None:
    """Domino stops it, also where it is removed at once, and where its time is over, which fails the task."""
    with launch_broker(port=0), launch_workers(1):
        run = begun("[a]\ndirect = true\ncommand = touch begun; exec sleep 600\n", monkeypatch)
        until((domino.project / "begun").exists)
        run.cancel()
        assert [one.instance_id for one in prune(state="cancelled")] == [run.id]
        until(lambda: [one.object["status"] for one in domino.runs.values()] == ["Stopped"])
        run = begun("[a]\ntimeout = 1\ncommand = sleep 600\n", monkeypatch)
        with pytest.raises(InstanceFailed):
            run.wait(timeout=WAIT_S)
        (node,) = run.nodes(function="run_task")
        assert "took longer than its timeout of 1 s" in str(node.error)
    assert [one.object["status"] for one in domino.runs.values()] == ["Stopped", "Stopped"]


def test_a_command_that_is_stopped_stops_its_runs(domino: FakeDomino) -> None:
    """After Ctrl-C, as after `cancel`, nothing goes on at Domino; the command waits for that."""
    (domino.project / "x.cfg").write_text("[a]\ndirect = true\ncommand = touch begun; exec sleep 600\n")
    command = [sys.executable, "-m", "dagorama", "run", "control/x.cfg", "--executor", "domino"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until((domino.project / "begun").exists)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=WAIT_S)
    assert (running.returncode, "stopped by SIGINT" in out) == (130, True), out
    (run,) = domino.runs.values()
    assert run.object["status"] in ("StopRequested", "Stopped"), out
