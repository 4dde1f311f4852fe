"""Operations that are waited for."""

from __future__ import annotations

from typing import Any

from dagorama.errors import ResultTimeout
from dagorama.options import checked_timeout
from dagorama.workflows.operations.asynchronous import PipelineOperation, SingleTaskOperation
from dagorama.workflows.operations.base import ContainerizedOperation, SyncOperation
from dagorama.workflows.operations.execution import Execution
from dagorama.workflows.tasks import SendResultTask, Task


class ExecuteAndWaitOperation(ContainerizedOperation, SyncOperation):
    """An operation whose `execute` returns when its run has ended."""

    def execute(self, timeout: float | None = None, *, cancel_on_timeout: bool = False) -> Execution:
        """Start a run, wait until it has ended, `timeout` seconds at most, and return it, be it that it has failed.

        Raises `ResultTimeout` where that takes longer; the run goes on then, unless it is to be cancelled.
        """
        limit_s = checked_timeout(timeout)
        run = self.submit()
        try:
            return run.wait(limit_s)
        except ResultTimeout as error:
            if not cancel_on_timeout:
                raise
            run.cancel()
            raise ResultTimeout(
                instance_id=error.instance_id, node_id=None, timeout_s=error.timeout_s, why=error.why, goes_on=False
            ) from None


class DistributedSyncOperation(ExecuteAndWaitOperation, SingleTaskOperation):
    """One task that is waited for."""


class DataFrameOperation(DistributedSyncOperation):
    """One task that works on data frames, and is waited for."""


class DistributedSyncOperationWithResults(ExecuteAndWaitOperation, PipelineOperation):
    """One task that is waited for, and whose files in the shared directory are returned."""

    def __init__(self, name: str, task: Task, **kwargs: Any) -> None:
        """Take the task; the rest is that of `ContainerizedOperation`."""
        super().__init__(name, (task, SendResultTask()), **{"shared_directory": "/mnt/shared", **kwargs})

    def execute(  # type: ignore[override]  # its value is that of the operations that such scripts have
        self, timeout: float | None = None, *, cancel_on_timeout: bool = False
    ) -> list[dict[str, str]]:
        """Start a run, wait for it as `ExecuteAndWaitOperation` does, and return `{file name: text}` of each file.

        In place of a file of more than 1 MiB stands "Error: size exceeded". Raises `InstanceFailed` where a task
        has failed, `InstanceCancelled`, and `ResultTimeout`.
        """
        run = super().execute(timeout, cancel_on_timeout=cancel_on_timeout)
        sent: Any = run.values()[SendResultTask().name]
        return list(sent)
