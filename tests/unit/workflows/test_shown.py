"""Runs of workflow files on the command line, under the names of the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from click.testing import CliRunner

from dagorama import InstanceFailed, attach
from dagorama.cli.main import group
from dagorama.testing import in_process_broker
from dagorama.testing.in_process import InProcessBroker
from dagorama.workflows.model import Command, Task, Workflow
from dagorama.workflows.running import start_workflow
from tests.timing import WAIT_S


@pytest.fixture(autouse=True)
def broker() -> Iterator[InProcessBroker]:
    """Give a broker in this process."""
    with in_process_broker(check=True) as started:
        yield started


def told(*words: str) -> str:
    """Return what a command prints, with one space for several."""
    done = CliRunner().invoke(group, words, prog_name="dagorama")
    return "\n".join(" ".join(line.split()) for line in done.output.splitlines())


def ended(tmp_workflow: Workflow) -> str:
    """Run a workflow to its end, and return the id of the run."""
    run = start_workflow(tmp_workflow)
    with suppress(InstanceFailed):
        attach(str(run.instance_id)).wait(WAIT_S)
    return str(run.instance_id)


def nightly() -> Workflow:
    """Return a workflow with a task that fails, one that depends on it, and a secret."""
    work = Command(argv=("no-such-program",))
    tasks = (Task(id="load", work=work, env=(("TOKEN", "a-secret"),)), Task(id="clean", work=work, depends=("load",)))
    return Workflow(name="nightly", tasks=tasks, source="/files/nightly.cfg")


def test_a_run_is_listed_by_the_name_of_its_workflow() -> None:
    """The definition behind it is in no list."""
    ended(nightly())
    for listed in (told("instances"), told("top")):
        assert " nightly failed " in listed, listed
        assert "RunWorkflow" not in listed


def test_a_run_is_shown_by_its_tasks() -> None:
    """With file and version, and neither functions nor variables."""
    workflow = nightly()
    shown = told("show", ended(workflow)).splitlines()
    text = "\n".join(shown)
    assert "load failed: exit status 127" in shown, text
    assert "workflow nightly" in shown, text
    assert f"version {workflow.version[:8]}" in shown, text
    assert "file /files/nightly.cfg" in shown, text
    assert [line.split()[1:3] for line in shown[-2:]] == [["load", "failed"], ["clean", "dependency_failed"]], text
    for machinery in ("RunWorkflow", "Traceback", "TaskFailed", workflow.version, "a-secret"):
        assert machinery not in text, text


def test_why_and_logs_name_the_tasks() -> None:
    """As their file does, also where one is to blame for another."""
    run_id = ended(nightly())
    assert told("why", run_id, "clean").splitlines()[1].startswith("ended: it depends on load (")
    (head, blamed) = told("why", run_id, "clean").splitlines()
    assert (head.startswith("clean ("), head.endswith(") is dependency_failed")) == (True, True)
    assert blamed.endswith("which failed after 1 attempt: 'load' ended with exit status 127")
    (line,) = told("logs", run_id).splitlines()
    assert line.endswith(" load | stderr: no-such-program: there is no such program")
    assert "RunWorkflow" not in line


def test_a_failed_task_is_told_of_without_frames() -> None:
    """By its node, and by the value that it keeps from being there."""
    run_id = ended(nightly())
    for text in (told("node", run_id, "load"), told("result", run_id, "--wait")):
        assert "'load' ended with exit status 127" in text, text
        assert "Traceback" not in text, text
        assert "TaskFailed" not in text, text
