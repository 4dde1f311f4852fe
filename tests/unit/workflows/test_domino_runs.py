"""Commands for Domino, and what it says of them, without a Domino."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dagorama.workflows.executors.domino.commands import attempts_before, command_of, title_of
from dagorama.workflows.executors.domino.states import is_stopping, status_of
from dagorama.workflows.executors.port import JobState
from dagorama.workflows.formats import load_workflow
from dagorama.workflows.problems import TaskFailed, WorkflowError
from tests.conformance.executors import job


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (("Queued", "Scheduled", "Pending", "Preparing", "Building", "Pulling"), JobState.RUNNING),
        (("Running", "Serving", "Finishing"), JobState.RUNNING),
        (("StopRequested", "StopAndDiscardRequested", "Stopping"), JobState.RUNNING),
        (("Succeeded", "succeeded"), JobState.SUCCEEDED),
        (("Failed", "Error", "Stopped"), JobState.FAILED),
    ],
)
def test_each_word_of_domino_is_a_state(words: tuple[str, ...], state: JobState) -> None:
    """All that its own page knows, whatever its capitals are."""
    for word in words:
        status = status_of({"status": word})
        assert (status.state, status.unknown) == (state, "")
        assert is_stopping({"status": word}) == word.startswith(("StopR", "StopA", "Stopping"))


def test_a_title_is_found_by_its_key_alone() -> None:
    """Whatever people call the task, and however many attempts had ended."""
    made = replace(job("true"), title="x" * 300 + " [dagorama 0.1]")
    title = title_of(made, 12)
    assert len(title) < 150
    assert attempts_before(title, replace(made, title="y")) == 12
    for other in (title_of(replace(made, key="job-11"), 0), "Hello", "", f"{title} and more"):
        assert attempts_before(other, made) is None


def test_words_stay_words_and_a_text_has_its_variables() -> None:
    """Domino finds the program for a file by its type, which a shell would not."""
    assert command_of(job(("train.sas", "a b"))) == (["train.sas", "a b"], False)
    text = "export WORKFLOW_NAME=demo WORKFLOW_TASK=a WORKFLOW_RUN_ID=run; echo $HOME"
    assert command_of(job("echo $HOME")) == ([text], True)
    with pytest.raises(TaskFailed, match="has the variable 'A;B', which no shell can set"):
        command_of(replace(job("true"), env={"A;B": "1"}))


def test_a_jobs_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its jobs work in a directory here, so it is told before anything starts."""
    monkeypatch.setenv("DAGORAMA_EXECUTOR", "domino")
    file = tmp_path / "x.json"
    file.write_text('{"jobs": [{"name": "a", "cmd": "true"}]}')
    with pytest.raises(WorkflowError, match="directory of their run, which the executor 'domino' does not see; take"):
        load_workflow(file)
