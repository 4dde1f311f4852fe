"""Control files run: on brokers and workers of their own, with the text that their people know."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from dagorama import launch_workers
from dagorama.workflows.executors.process.keeper import descendants
from dagorama.workflows.formats import load_workflow
from dagorama.workflows.ini import DagBuilder, PipelineRunner
from dagorama.workflows.running import start_workflow
from dagorama.workflows.services.records import services
from dagorama_broker.launch import launch_broker
from tests.conformance.executors import is_alive
from tests.ports import reserved
from tests.timing import WAIT_S, until

#: Each run starts a broker and workers.
pytestmark = pytest.mark.timeout(600)

DEMO = Path(__file__).parents[3] / "samples" / "control"
DAGORAMA = [sys.executable, "-m", "dagorama"]


@dataclass(frozen=True)
class Finished:
    """What is left of a command that has ended."""

    status: int
    out: list[str]
    err: str


def command(*words: str) -> Finished:
    """Run a command of dagorama to its end."""
    done = subprocess.run([*DAGORAMA, *words], capture_output=True, text=True, check=False, timeout=400)
    return Finished(done.returncode, done.stdout.splitlines(), done.stderr)


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have jobs and services of the test's own, in its folder, and stop what is left."""
    monkeypatch.setenv("DAGORAMA_JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("DAGORAMA_HEALTH_S", str(WAIT_S))
    monkeypatch.delenv("DAGORAMA_TIERS", raising=False)
    monkeypatch.chdir(tmp_path)
    with reserved() as port:
        monkeypatch.setenv("PORT", str(port))
        yield
    for service in services():
        service.stop()


def written(name: str, text: str) -> str:
    """Write a file, and return its path."""
    Path(name).write_text(text)
    return name


def asked(url: str, data: object = None) -> str:
    """Return what a server answers."""
    body = None if data is None else json.dumps(data).encode()
    with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=WAIT_S) as response:
        return str(response.read().decode())


def test_the_demo_graph_runs_to_its_end() -> None:
    """Six tasks end well; the model answers, the app serves its page, and both go on until they are stopped."""
    shutil.copytree(DEMO, "control")
    for name in ("json", "queue"):  # of which dagorama needs those of Python
        written(f"control/{name}.py", "raise SystemExit('this is no module of yours')")
    done = command("run", "control/demo.cfg", "--workers", "2")
    assert (done.status, done.out[-1]) == (0, "Pipeline completed successfully."), done.err
    assert done.out[0].startswith("Task(s) ready for submission: job_1, job_2, job_3, sched_job_1")
    succeeded = [line.split()[1] for line in done.out if line.endswith("status:Succeeded")]
    assert sorted(succeeded) == ["app_1", "job_1", "job_2", "job_3", "model_1"]
    assert "task_id: sched_job_1     status:Not-scheduled" in done.out
    assert done.out[-2] == "Not scheduled, as there are no schedules yet: sched_job_1"
    assert succeeded.index("job_3") < succeeded.index("model_1") < succeeded.index("app_1")
    assert "job_1 | hello from job_1\n" in done.err
    assert "job_2 | 100% of job_2\n" in done.err
    assert "hello from the schedule" not in done.err, "it is not scheduled"
    app, model = services()
    assert asked(model.url, {"data": {"a": 1, "b": 2}}) == '{"result": 3}'
    assert "demo.cfg" in asked(app.url)
    assert Path("control/out/trained_at.txt").exists(), "commands begin in the folder of the file"


def test_a_script_runs_a_control_file(capfd: pytest.CaptureFixture[str]) -> None:
    """It prints what `dagorama run` does, and is told whether all tasks have succeeded; the file may have any name."""
    dag = DagBuilder(written("-x.cfg", "[a]\rcommand = python -c 'print(7)'\r")).build_dag()
    assert PipelineRunner(dag, tick_freq=15).run() is True
    assert capfd.readouterr().out.splitlines()[-1] == "Pipeline completed successfully."


def test_a_failed_task_is_told_of_at_the_end() -> None:
    """Why it failed, the last that it printed, what did not run because of it; all else has, and the status tells."""
    file = written(
        "x.cfg",
        "[a]\ndirect = true\ncommand = seq 30; exit 3\nmax_retries = 1\n"
        "[b]\ncommand = touch b\ndepends = a\n[d]\ncommand = true\ndepends = b\n[c]\ncommand = touch c\n",
    )
    done = command("run", file, "--workers", "1")
    printed = [f"  a: {number}" for number in range(21, 31)]
    end = ["a failed: exit status 3 (2 attempts)", *printed, "Not run, since a failed: b, d", "Pipeline failed: a"]
    assert (done.status, done.out[-len(end) :]) == (1, end), done.err
    assert [line for line in done.out if line.startswith("task_id: b ")] == [
        "task_id: b               status:Unsubmitted"
    ]
    assert (Path("b").exists(), Path("c").exists()) == (False, True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_jobs_of_a_run_that_is_killed_end(number: signal.Signals) -> None:
    """When the command is killed, nothing of its jobs goes on for long; when it is stopped, nothing is left of them."""
    file = written("x.cfg", "[a]\ndirect = true\ncommand = echo $$ > pid; exec sleep 600\n")
    with subprocess.Popen([*DAGORAMA, "run", file, "--workers", "1"], stdout=subprocess.DEVNULL) as running:
        until(lambda: Path("pid").exists() and Path("pid").read_text().endswith("\n"))
        running.send_signal(number)
    pid = int(Path("pid").read_text())
    if number == signal.SIGTERM:
        assert not is_alive(pid)
    until(lambda: not is_alive(pid))


def test_a_service_that_has_not_answered_ends_with_a_run_that_is_stopped() -> None:
    """Nobody would know of it."""
    file = written("x.cfg", "[a]\ntype = app\ncommand = sh -c 'echo $$ > pid; exec sleep 600'\n")
    with subprocess.Popen([*DAGORAMA, "run", file, "--workers", "1"], stdout=subprocess.DEVNULL) as running:
        until(lambda: Path("pid").exists() and Path("pid").read_text().endswith("\n"))
        running.terminate()
    assert services() == []
    assert not is_alive(int(Path("pid").read_text()))


def test_a_run_whose_broker_is_killed_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can start that one again, and nobody is told to."""
    monkeypatch.setenv("DAGORAMA_RECONNECT_S", "1")  # a question that was on its way may wait for it
    file = written("x.cfg", "[a]\ndirect = true\ncommand = touch begun; exec sleep 600\n")
    with subprocess.Popen([*DAGORAMA, "run", file, "--workers", "1"], stderr=subprocess.PIPE, text=True) as running:
        until(Path("begun").exists)
        processes = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in descendants(running.pid)}
        (broker,) = [pid for pid, words in processes.items() if b"dagorama_broker" in words]
        os.kill(broker, signal.SIGKILL)
        assert running.stderr is not None
        err = running.stderr.read().splitlines()
    assert (running.returncode, err[-1]) == (3, "Error: the broker ended with status -9")


def test_a_job_is_followed_on_when_its_worker_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`kill -9` of the worker in the middle of a job: the next attempt goes on with it, and it runs once."""
    monkeypatch.setenv("DAGORAMA_ORPHAN_S", "600")
    text = "echo >> started; cat /proc/$PPID/stat > keeper; while [ ! -e go ]; do sleep 0.05; done; echo done"
    file = written("x.cfg", f"[a]\ndirect = true\ncommand = {text}\n")
    running = subprocess.Popen([*DAGORAMA, "run", file, "--workers", "1"], stdout=subprocess.PIPE, text=True)
    with running:
        until(lambda: Path("keeper").exists() and Path("keeper").read_text().endswith("\n"))
        # The parent of the keeper is the worker that has submitted the job.
        os.kill(int(Path("keeper").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
        Path("go").touch()
        assert running.stdout is not None
        out = running.stdout.read().splitlines()
    assert out[-1] == "Pipeline completed successfully."
    assert Path("started").read_text() == "\n"


def test_a_run_that_is_cancelled_ends_its_jobs() -> None:
    """The command ends, and what it has started, though both ignore SIGTERM; the timeout of another is a failure."""
    stubborn = "trap '' TERM; (trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done); true"
    file = written(
        "x.cfg",
        f"[long]\ntimeout = 1\ncommand = sleep 600\n[a]\ndirect = true\ncommand = {stubborn}\n",
    )
    with launch_broker(port=0), launch_workers(2):
        run = start_workflow(load_workflow(file).workflow, directory=os.getcwd())
        until(lambda: Path("pid").exists() and Path("pid").read_text().endswith("\n"))
        (long,) = run.nodes(label="long")
        until(lambda: long.refresh().state == "failed")
        assert long.attempts[-1].error is not None
        assert long.attempts[-1].error.type == "TimeoutError"
        run.cancel()
        pid = int(Path("pid").read_text())
        until(lambda: not is_alive(pid))
