"""Required contexts: tasks that are to run on one machine do, or it is an error.

A broker gives tasks to whichever worker is free, so a context is met where all workers that take tasks are on one
machine. That is looked at when a run is submitted, and by each of its tasks, as workers come and go.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import dagorama
from dagorama.states import NodeState
from dagorama.workflows.configuration import BadOperationConfiguration, PodExecutionContext
from dagorama.workflows.model import TaskRun
from dagorama.workflows.problems import TaskFailed
from dagorama.workflows.running import TASKS_QUEUE

#: The function of tasks.
_TASK = "RunWorkflow.run_task"


def check_workers(contexts: Iterable[PodExecutionContext]) -> None:
    """Raise `BadOperationConfiguration` where one is required, and workers on several machines take tasks."""
    required = next((one for one in contexts if one.required), None)
    if required is None:
        return
    taking = [
        one
        for one in dagorama.workers()
        if TASKS_QUEUE not in one.exclude_queues and (not one.include_queues or TASKS_QUEUE in one.include_queues)
    ]
    machines = _machines(one.name for one in taking)
    if len(machines) > 1:
        raise BadOperationConfiguration(
            f"the context {required.key}={required.value} is required, and workers on {' and '.join(machines)} take "
            f"tasks: start those of all machines but one with --exclude-queue {TASKS_QUEUE}, or leave required out"
        )


def check_machine(here: TaskRun) -> None:
    """Raise `TaskFailed` where the first task of the run that has a machine has another one than this."""
    instance = dagorama.attach(UUID(here.run_id))
    first = instance.nodes(function=_TASK, state=[NodeState.LEASED, NodeState.COMPLETED], inputs=False, limit=1)
    own = instance.nodes(function=_TASK, label=here.task.id, inputs=False, limit=1)
    machines = _machines(node.worker for node in (*first, *own))
    if len(machines) > 1:
        problem = f"was not started: its context is required, and tasks of the run are on {' and '.join(machines)}"
        raise TaskFailed(task_id=here.task.id, problem=problem)


def _machines(workers: Iterable[str]) -> list[str]:
    """Return the machines of workers, by their names, which are those of host and process."""
    return sorted({name.rpartition(":")[0] for name in workers if name})
