"""Runs as text, in the words that people of control files know."""

from __future__ import annotations

from types import SimpleNamespace as Fake
from typing import Any

from dagorama.states import NodeState
from dagorama.workflows.ini.works import Scheduled
from dagorama.workflows.model import Command, Task, Workflow
from dagorama.workflows.view import Status, TextView, others_failed, statuses_of

TASKS = tuple(Task(id=name, work=Command(argv=("true",))) for name in ("job_1", "a_long_name_of_a_task", "job_2"))


def test_a_line_for_each_task_that_changes() -> None:
    """Names are padded, and a task is told of as ready once."""
    view = TextView(Workflow(name="w", tasks=TASKS))
    assert view.lines({"job_1": Status.IN_PROGRESS}, ["job_1", "job_2"]) == [
        "Task(s) ready for submission: job_1, job_2",
        "task_id: job_1           status:In-progress",
        "task_id: a_long_name_of_a_task status:Unsubmitted",
        "task_id: job_2           status:Unsubmitted",
    ]
    assert view.lines({"job_1": Status.SUCCEEDED}, ["job_1"]) == ["task_id: job_1           status:Succeeded"]
    assert view.lines({"job_1": Status.SUCCEEDED}) == []


def test_the_last_line_says_how_it_ended() -> None:
    """It names the tasks that failed, in the order of the file."""
    view = TextView(Workflow(name="w", tasks=TASKS))
    view.lines({"job_2": Status.FAILED, "job_1": Status.FAILED})
    assert (view.last_line(), view.has_succeeded) == ("Pipeline failed: job_1, job_2", False)
    view.lines(dict.fromkeys([task.id for task in TASKS], Status.SUCCEEDED))
    assert (view.last_line(), view.has_succeeded) == ("Pipeline completed successfully.", True)
    view.lines({"job_2": Status.UNSUBMITTED})
    assert view.last_line() == "Pipeline did not complete."


def test_a_task_may_have_failed_without_an_attempt() -> None:
    """One that was not started counts as such, and one that ended otherwise has failed."""
    not_started = Fake(type="dagorama.workflows.problems:TaskNotStarted")
    nodes = [
        Fake(label=label, state=NodeState.FAILED, status=Fake(failures=failures))
        for label, failures in (("a", ()), ("b", (not_started,)), ("c", (Fake(type="ValueError"),)))
    ]
    run: Any = Fake(nodes=lambda **_: nodes)
    assert statuses_of(run) == ({"a": Status.FAILED, "b": Status.UNSUBMITTED, "c": Status.FAILED}, ["a", "c"])


def test_a_task_in_progress_does_not_go_back() -> None:
    """Where it is not to run after all, since another has failed, no line says that it is unsubmitted again."""
    view = TextView(Workflow(name="w", tasks=TASKS))
    view.lines({"job_1": Status.IN_PROGRESS, "job_2": Status.IN_PROGRESS})
    assert view.lines({"job_1": Status.FAILED, "job_2": Status.UNSUBMITTED}) == [
        "task_id: job_1           status:Failed"
    ]
    assert (view.last_line(), view.has_succeeded) == ("Pipeline failed: job_1", False)


def test_a_run_has_not_succeeded_where_a_file_could_not_be_kept() -> None:
    """All of its tasks have, and what has failed beside them is named."""

    class Run:
        def nodes(self, **_: object) -> list[Any]:
            here = "dagorama.workflows.running:RunWorkflow"
            return [
                Fake(function=f"{here}.run_task", label="job_1"),
                Fake(function=f"{here}.keep_artifact", label="job_1/out.txt"),
            ]

    run: Any = Run()
    view = TextView(Workflow(name="w", tasks=TASKS))
    view.lines(dict.fromkeys([task.id for task in TASKS], Status.SUCCEEDED))
    view.take_others(others_failed(run))
    assert (view.last_line(), view.has_succeeded) == ("Pipeline failed: job_1/out.txt", False)


def test_a_schedule_that_was_not_registered_is_no_success() -> None:
    """Its task says so, and a line at the end names it; nothing has gone wrong."""
    task = Task(id="nightly", work=Scheduled(cron="0 0 * * *", command="x"))
    view = TextView(Workflow(name="w", tasks=(task, TASKS[0])))
    told = view.lines({"nightly": Status.SUCCEEDED, "job_1": Status.SUCCEEDED})
    assert told == ["task_id: nightly         status:Not-scheduled", "task_id: job_1           status:Succeeded"]
    assert view.not_scheduled == "Not scheduled, as there are no schedules yet: nightly"
    assert (view.last_line(), view.has_succeeded) == ("Pipeline completed successfully.", True)
