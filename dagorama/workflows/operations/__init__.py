"""Operations: tasks in an order, run as an instance, or written into a manifest for Argo Workflows.

from dagorama.workflows import operations, tasks

op = operations.PipelineOperation("report-", (tasks.PythonTask("count", count), tasks.BashTask("list", source="ls")))
execution = op.execute()
"""

from __future__ import annotations

from dagorama.workflows.configuration import BadOperationConfiguration, PodExecutionContext
from dagorama.workflows.images import register_image
from dagorama.workflows.operations.asynchronous import (
    AsyncOperation,
    CompositeOperation,
    ParallelOperation,
    PipelineOperation,
    SimpleDagOperation,
    SingleTaskOperation,
)
from dagorama.workflows.operations.base import ContainerizedOperation, ManagedOperation, SyncOperation
from dagorama.workflows.operations.direct import DataQueryOperation, DirectOperation, ResourceQueryOperation
from dagorama.workflows.operations.execution import Execution, OperationStatus
from dagorama.workflows.operations.queries import (
    OperationNotFound,
    SearchResult,
    delete_workflow,
    get_workflow,
    get_workflow_logs,
    get_workflows,
)
from dagorama.workflows.operations.synchronous import (
    DataFrameOperation,
    DistributedSyncOperation,
    DistributedSyncOperationWithResults,
    ExecuteAndWaitOperation,
)
from dagorama.workflows.tasks import (
    BashTask,
    CommandBasedTask,
    ContainerizedTask,
    CustomTask,
    InlinedTask,
    PythonTask,
    SendResultTask,
    Task,
)

__all__ = [
    "AsyncOperation",
    "BadOperationConfiguration",
    "BashTask",
    "CommandBasedTask",
    "CompositeOperation",
    "ContainerizedOperation",
    "ContainerizedTask",
    "CustomTask",
    "DataFrameOperation",
    "DataQueryOperation",
    "DirectOperation",
    "DistributedSyncOperation",
    "DistributedSyncOperationWithResults",
    "ExecuteAndWaitOperation",
    "Execution",
    "InlinedTask",
    "ManagedOperation",
    "OperationNotFound",
    "OperationStatus",
    "ParallelOperation",
    "PipelineOperation",
    "PodExecutionContext",
    "PythonTask",
    "ResourceQueryOperation",
    "SearchResult",
    "SendResultTask",
    "SimpleDagOperation",
    "SingleTaskOperation",
    "SyncOperation",
    "Task",
    "delete_workflow",
    "get_workflow",
    "get_workflow_logs",
    "get_workflows",
    "register_image",
]
