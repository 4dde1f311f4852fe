"""A run as text: one line for each task that changes, in the words of control files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from dagorama import Node
from dagorama.definition import DAGInstance
from dagorama.states import NodeState
from dagorama.workflows.ini.works import Scheduled
from dagorama.workflows.model import Workflow
from dagorama.workflows.problems import TaskNotStarted, named

#: Names of tasks are padded to so many characters.
ID_WIDTH = 15


class Status(StrEnum):
    """The status of a task, for people who know control files."""

    UNSUBMITTED = "Unsubmitted"  #: It has not run: it waits, or will never run.
    IN_PROGRESS = "In-progress"  #: It runs, or waits for a further attempt.
    SUCCEEDED = "Succeeded"  #: It has run and succeeded.
    FAILED = "Failed"  #: It has run and failed.
    NOT_SCHEDULED = "Not-scheduled"  #: Its schedule is right, and was not registered: there are no schedules yet.


_STATUSES = {
    NodeState.WAITING: Status.UNSUBMITTED,
    NodeState.READY: Status.UNSUBMITTED,
    NodeState.COMPLETED: Status.SUCCEEDED,
    NodeState.FAILED: Status.FAILED,
    NodeState.DEPENDENCY_FAILED: Status.UNSUBMITTED,
    NodeState.CANCELLED: Status.UNSUBMITTED,
}


#: The statuses of tasks that nothing went wrong with.
_WELL_ENDED = (Status.SUCCEEDED, Status.NOT_SCHEDULED)
#: What is not told: a worker that had the task was lost, or found that it is not to run as another has failed.
_BACK = (Status.IN_PROGRESS, Status.UNSUBMITTED)


class TextView:
    """The lines of one run, as its nodes change."""

    def __init__(self, workflow: Workflow) -> None:
        """Begin before anything has run."""
        self._workflow = workflow
        self._statuses: dict[str, Status] = {}
        self._submitted: set[str] = set()
        self._others: list[str] = []

    def take_others(self, failed: Iterable[str]) -> None:
        """Take note of what has failed beside the tasks, as a file that was to be kept."""
        self._others = list(failed)

    def lines(self, statuses: Mapping[str, Status], ready: Iterable[str] = ()) -> list[str]:
        """Return the lines for tasks whose status, by id, has changed, and for tasks that are newly `ready`."""
        new = [task_id for task_id in ready if task_id not in self._submitted]
        self._submitted.update(new)
        told = [f"Task(s) ready for submission: {named(new)}"] if new else []
        for task in self._workflow.tasks:
            status = statuses.get(task.id, Status.UNSUBMITTED)
            if status is Status.SUCCEEDED and isinstance(task.work, Scheduled):
                status = Status.NOT_SCHEDULED
            before = self._statuses.get(task.id)
            if status is not before and (before, status) != _BACK:
                self._statuses[task.id] = status
                told.append(f"task_id: {task.id:<{ID_WIDTH}} status:{status}")
        return told

    @property
    def failed(self) -> list[str]:
        """Return the tasks that have failed, in the order of the file, and what has failed beside them."""
        tasks = [task.id for task in self._workflow.tasks if self._statuses.get(task.id) is Status.FAILED]
        return [*tasks, *self._others]

    @property
    def not_scheduled(self) -> str:
        """Return a line with the jobs whose schedules were not registered; empty where there are none."""
        tasks = [task.id for task in self._workflow.tasks if self._statuses.get(task.id) is Status.NOT_SCHEDULED]
        return f"Not scheduled, as there are no schedules yet: {named(tasks)}" if tasks else ""

    @property
    def has_succeeded(self) -> bool:
        """Return whether all tasks have succeeded, and nothing beside them has failed."""
        return not self._others and all(self._statuses.get(task.id) in _WELL_ENDED for task in self._workflow.tasks)

    def last_line(self) -> str:
        """Return the line that says how the run has ended."""
        if self.has_succeeded:
            return "Pipeline completed successfully."
        return f"Pipeline failed: {named(self.failed)}" if self.failed else "Pipeline did not complete."


def others_failed(run: DAGInstance[dict[str, object]]) -> list[str]:
    """Ask the broker for the nodes of a run that are no tasks, and have failed; return their labels."""
    return [node.label for node in run.nodes(state="failed", inputs=False) if not node.function.endswith(".run_task")]


def statuses_of(run: DAGInstance[dict[str, object]]) -> tuple[dict[str, Status], list[str]]:
    """Ask the broker for the statuses of a run's tasks, by id; return them, and the ids of all that are ready."""
    found: dict[str, Status] = {}
    ready: list[str] = []
    for node in run.nodes(function="run_task", inputs=False):
        status = _STATUSES.get(node.state, Status.IN_PROGRESS)
        if status is Status.FAILED and was_not_started(node):
            status = Status.UNSUBMITTED
        elif node.state is NodeState.READY or status is not Status.UNSUBMITTED:
            ready.append(node.label)
        found[node.label] = status
    return found, ready


def was_not_started(node: Node) -> bool:
    """Return whether a task that counts as failed has not run, as another had failed before."""
    failures = node.status.failures
    return bool(failures) and failures[-1].type.endswith(f":{TaskNotStarted.__name__}")
