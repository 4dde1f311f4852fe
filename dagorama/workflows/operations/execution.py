"""A run of an operation, as people look at it."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

from dagorama import Instance, attach
from dagorama.errors import InstanceCancelled, InstanceFailed
from dagorama.states import InstanceState
from dagorama.workflows.endings import told_failure

#: The tag of runs that has the name of their operation.
OPERATION_TAG = "operation"
#: States of nodes in which nothing of a run has begun.
_NOT_BEGUN = frozenset({"waiting", "ready"})


class OperationStatus(StrEnum):
    """The status of a run."""

    PENDING = "Pending"  #: No task has begun.
    RUNNING = "Running"  #: Tasks run, or may do so.
    SUCCEEDED = "Succeeded"  #: All tasks have ended well.
    FAILED = "Failed"  #: A task has failed for good.
    CANCELLED = "Cancelled"  #: It was stopped.


#: The status of runs that have ended.
FINISHED = frozenset({OperationStatus.SUCCEEDED, OperationStatus.FAILED, OperationStatus.CANCELLED})
#: The status of ends.
STATUS_OF = {
    InstanceState.COMPLETED: OperationStatus.SUCCEEDED,
    InstanceState.FAILED: OperationStatus.FAILED,
    InstanceState.CANCELLED: OperationStatus.CANCELLED,
}


class Raw(dict[str, Any]):
    """The facts of a run in the form that Argo Workflows has for them: `metadata` and `status`."""

    def to_dict(self) -> dict[str, Any]:
        """Return a copy as a plain dictionary."""
        return dict(self)


class Execution:
    """A run. `name` is its own; `status` and `raw` are as they were when it was last asked for, by `refresh`."""

    def __init__(self, name: str, instance_id: UUID) -> None:
        """Take the name and the id of the instance, and ask how it stands."""
        self.name = name
        self.instance_id = instance_id
        self.status = OperationStatus.PENDING
        self.raw = Raw()
        self.refresh()

    def __repr__(self) -> str:
        """Show name and status."""
        return f"<Execution {self.name} {self.status}>"

    __str__ = __repr__

    def refresh(self) -> Execution:
        """Ask how the run stands, and return itself. Raises `UnknownId` where it has been removed."""
        instance = self._instance()
        status = instance.refresh().status
        has_begun = bool(status.counts.keys() - _NOT_BEGUN)
        self.status = STATUS_OF.get(status.state, OperationStatus.RUNNING if has_begun else OperationStatus.PENDING)
        self.raw = Raw(
            metadata={
                "name": self.name,
                "uid": str(self.instance_id),
                "creationTimestamp": status.created_at.isoformat(),
            },
            status={
                "phase": str(self.status),
                "startedAt": status.created_at.isoformat(),
                "finishedAt": status.finished_at and status.finished_at.isoformat(),
                "message": self.get_status_message() if self.is_finished() else "",
            },
        )
        return self

    def is_finished(self) -> bool:
        """Return whether the run had ended when it was last asked for."""
        return self.status in FINISHED

    def succeeded(self) -> bool:
        """Return whether all tasks had ended well when it was last asked for."""
        return self.status is OperationStatus.SUCCEEDED

    def failed(self) -> bool:
        """Return whether a task had failed for good when it was last asked for."""
        return self.status is OperationStatus.FAILED

    def get_status_message(self) -> str:
        """Return how the first task failed that did, or that the run was stopped; empty else."""
        if self.status is OperationStatus.CANCELLED:
            return "it was cancelled"
        if self.status is not OperationStatus.FAILED:
            return ""
        for node in self._instance().nodes(state="failed", inputs=False, limit=1):
            return told_failure(node)
        return "it failed"

    def tasks(self) -> dict[str, str]:
        """Return the state of each task that has a node, by name: "waiting", "completed", "failed" and so on."""
        nodes = self._instance().nodes(function="RunWorkflow.run_task", inputs=False)
        return {node.label: str(node.state) for node in nodes}

    def logs(self) -> str:
        """Return what the tasks have printed, by the times at which they did, be it that they failed."""
        return "\n".join(map(str, self._instance().logs().by_time()))

    def wait(self, timeout: float | None = None) -> Execution:
        """Wait until the run has ended, `timeout` seconds at most, and return itself. Raises `ResultTimeout`."""
        with suppress(InstanceFailed, InstanceCancelled):
            self._instance().wait(timeout)
        return self.refresh()

    def values(self) -> dict[str, Any]:
        """Return the value of each task by its name, once all have ended well; that of a script is None.

        Raises `InstanceFailed` and `InstanceCancelled`.
        """
        instance = self._instance()
        instance.wait()
        return cast(dict[str, Any], instance.result())

    def cancel(self) -> None:
        """Stop the run; a no-op where it has ended."""
        if not self.refresh().is_finished():
            self._instance().cancel()

    def _instance(self) -> Instance:
        return attach(self.instance_id)
