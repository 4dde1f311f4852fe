"""Jobs files and operations in containers, on a real broker, real workers, and podman."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagorama import Instance, LogLine, NodeEvent, attach, events, launch_workers
from dagorama.workflows import operations, tasks
from dagorama.workflows.artifacts import artifacts
from dagorama.workflows.formats import RunOptions, load_workflow, prepare_run
from dagorama.workflows.problems import WorkflowError
from dagorama.workflows.running import start_workflow
from dagorama.workflows.staging.runs import run_path
from dagorama_broker.launch import launch_broker
from tests.containers import Shell
from tests.timing import WAIT_S, until

JOBS = """
jobs:
- name: apple
  image: {image}
  cmd: sh
  args: [-c, 'echo >> started; echo first; while [ ! -e go ]; do sleep 0.05; done; cat note.txt > out; echo "$FRUIT"']
  workdir_prefix: apple
  env: {{FRUIT: red apple}}
  inputs: [{{content: noted, local: note.txt}}]
  outputs: [{{local: out, save: true}}, {{local: started, save: true}}]
- {{name: pear, image: '{image}', cmd: cat, args: [../apple/out], workdir_prefix: pear}}
neighbors: {{apple: [pear]}}
"""


@pytest.fixture(autouse=True)
def _broker(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a broker, for tasks that are containers."""
    settings = {"DAGORAMA_RUNS": str(tmp_path / "runs"), "DAGORAMA_JOBS": str(tmp_path / "jobs")}
    # A busy machine may be late with the next worker.
    settings |= {"DAGORAMA_ORPHAN_S": "600", "DAGORAMA_EXECUTOR": "container", **shell.environment}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with launch_broker(port=0):
        yield
    assert shell.containers.run("podman", "ps", "--all", "--quiet") == ""


def printed(run: Instance, label: str) -> list[str]:
    """Return what a task of a run has printed in all of its attempts."""
    node = next(node for node in run.nodes(function="run_task") if node.label == label)
    return [line.text for line in node.logs() if isinstance(line, LogLine)]


def test_jobs_in_containers_share_files_and_outlive_their_worker(shell: Shell, tmp_path: Path) -> None:
    """A container whose worker is killed is followed on, not started twice, and each line of it is told once."""
    (tmp_path / "jobs.yaml").write_text(JOBS.format(image=shell.image))
    workflow = load_workflow(tmp_path / "jobs.yaml").workflow
    after = events().begin()
    with launch_workers(1) as (worker,):
        run = attach(start_workflow(workflow, prepare_run(workflow, RunOptions())).instance_id)
        directory = run_path(str(run.id)) / "apple"
        until(lambda: (directory / "started").exists() and printed(run, "apple") == ["first"])
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        next(
            event
            for event in events(instance=run.id, after=after)
            if isinstance(event, NodeEvent) and event.kind == "attempt_lost"
        )
        (directory / "go").touch()
        run.wait(timeout=WAIT_S)
        kept = {each.label: bytes(each.fetch().data) for each in artifacts(run.id)}
        told = [printed(run, label) for label in ("apple", "pear")]
    assert kept == {"apple/out": b"noted", "apple/started": b"\n"}
    assert told == [["first", "red apple"], ["noted"]]


def test_operations_have_their_directories_in_containers(shell: Shell) -> None:
    """A container has what is shared under the path that is written, may not write to what is read-only, and is told
    its variables.
    """
    write = 'echo "$WORD" > $shared_directory/word && echo "$CH_WORKFLOW_NAME" && ! touch /opt/fixed/no'
    operation = operations.PipelineOperation(
        "op-",
        (
            tasks.CustomTask("write", shell.image, command=["sh", "-c", write], WORD="a word", retry_limit=0),
            tasks.CustomTask("read", shell.image, command=["cat", "/opt/data/word"], image_pull_policy="Never"),
        ),
        shared_directory=["/opt/data", "fixed:/opt/fixed:ro"],
    )
    with launch_workers(1):
        execution = operation.execute().wait(WAIT_S)
        logs = execution.logs()
        assert (str(execution.status), execution.get_status_message()) == ("Succeeded", "")
    assert execution.name in logs
    assert "a word" in logs
    assert "Read-only file system" in logs


def test_a_job_without_an_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told with its line before anything starts, and so is an executor that there is not."""
    (tmp_path / "jobs.yaml").write_text("jobs:\n- {name: a, image: i, cmd: c}\n- {name: b, cmd: c}\n")
    with pytest.raises(WorkflowError, match=r"jobs.yaml:3: job 'b' has no image, which the executor 'container' needs"):
        load_workflow(tmp_path / "jobs.yaml")
    monkeypatch.setenv("DAGORAMA_EXECUTOR", "contianer")
    with pytest.raises(WorkflowError, match="DAGORAMA_EXECUTOR names 'contianer', and there are container, "):
        load_workflow(tmp_path / "jobs.yaml")
    with pytest.raises(operations.BadOperationConfiguration, match="DAGORAMA_EXECUTOR names 'contianer'"):
        operations.SingleTaskOperation("op-", tasks.CustomTask("t", "mine")).to_workflow(engine="dagorama")
