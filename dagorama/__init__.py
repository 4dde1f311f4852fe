"""dagorama: ordinary Python classes, run durably on many machines.

Decorate the methods of a `DAGDefinition` that should run elsewhere; passing what one returns to another makes a graph.
The names below are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagorama.client.counts import FunctionProgress, InstanceProgress
    from dagorama.client.events import Event, EventKind, EventsSkipped, InstanceEvent, NodeEvent, WorkerEvent
    from dagorama.client.log_lines import LogGap, LogLine
    from dagorama.client.shape import InstanceShape, ShapeEdge, ShapeGroup
    from dagorama.client.status import InstanceStatus, NodeStatus, ProgressStatus, QueueStatus, WorkerStatus
    from dagorama.client.times import InstanceTimes
    from dagorama.decorators import dagorama
    from dagorama.definition import DAGDefinition, DAGInstance, attach, generate_instance_id, resolve, resolve_async
    from dagorama.errors import (
        BrokerRefused,
        BrokerUnavailable,
        CalledElsewhere,
        CodeMismatchException,
        CursorExpired,
        DagoramaError,
        InstanceCancelled,
        InstanceFailed,
        KeyConflict,
        LimitKeyError,
        MainGuardMissing,
        NodeFailed,
        NodeStopped,
        NotAwaited,
        NotInNode,
        OutOfReach,
        PayloadError,
        PromiseMisuse,
        ResultTimeout,
        Stuck,
        UnknownFunction,
        UnknownId,
        WorkersCannotStart,
    )
    from dagorama.instance.instance import Instance
    from dagorama.instance.listing import Listing, ListPage
    from dagorama.instance.log import Log, LogPage
    from dagorama.instance.node import Attempt, Failure, Node
    from dagorama.limits import Limit
    from dagorama.looking.events import EventPage, Events, events
    from dagorama.looking.lists import find, find_async, instances, queues, queues_async, workers, workers_async
    from dagorama.looking.queue import Queue
    from dagorama.models.promise import DAGPromise
    from dagorama.node_context import NodeContext, context
    from dagorama.options import instance_options
    from dagorama.retry import ExponentialRetry, StaticRetry
    from dagorama.runner import execute_worker, execute_worker_async, launch_workers
    from dagorama.serializer import register_definition
    from dagorama.states import InstanceState, NodeState
    from dagorama.why import Reason, Why

__all__ = [
    "Attempt",
    "BrokerRefused",
    "BrokerUnavailable",
    "CalledElsewhere",
    "CodeMismatchException",
    "CursorExpired",
    "DAGDefinition",
    "DAGInstance",
    "DAGPromise",
    "DagoramaError",
    "Event",
    "EventKind",
    "EventPage",
    "Events",
    "EventsSkipped",
    "ExponentialRetry",
    "Failure",
    "FunctionProgress",
    "Instance",
    "InstanceCancelled",
    "InstanceEvent",
    "InstanceFailed",
    "InstanceProgress",
    "InstanceShape",
    "InstanceState",
    "InstanceStatus",
    "InstanceTimes",
    "KeyConflict",
    "Limit",
    "LimitKeyError",
    "ListPage",
    "Listing",
    "Log",
    "LogGap",
    "LogLine",
    "LogPage",
    "MainGuardMissing",
    "Node",
    "NodeContext",
    "NodeEvent",
    "NodeFailed",
    "NodeState",
    "NodeStatus",
    "NodeStopped",
    "NotAwaited",
    "NotInNode",
    "OutOfReach",
    "PayloadError",
    "ProgressStatus",
    "PromiseMisuse",
    "Queue",
    "QueueStatus",
    "Reason",
    "ResultTimeout",
    "ShapeEdge",
    "ShapeGroup",
    "StaticRetry",
    "Stuck",
    "UnknownFunction",
    "UnknownId",
    "Why",
    "WorkerEvent",
    "WorkerStatus",
    "WorkersCannotStart",
    "attach",
    "context",
    "dagorama",
    "events",
    "execute_worker",
    "execute_worker_async",
    "find",
    "find_async",
    "generate_instance_id",
    "instance_options",
    "instances",
    "launch_workers",
    "queues",
    "queues_async",
    "register_definition",
    "resolve",
    "resolve_async",
    "workers",
    "workers_async",
]

#: The module of each name that is not an error.
_MODULES = {
    "Attempt": "instance.node",
    "DAGDefinition": "definition",
    "DAGInstance": "definition",
    "DAGPromise": "models.promise",
    "Event": "client.events",
    "EventKind": "client.events",
    "EventPage": "looking.events",
    "Events": "looking.events",
    "EventsSkipped": "client.events",
    "ExponentialRetry": "retry",
    "Failure": "instance.node",
    "FunctionProgress": "client.counts",
    "Instance": "instance.instance",
    "InstanceEvent": "client.events",
    "InstanceProgress": "client.counts",
    "InstanceShape": "client.shape",
    "InstanceState": "states",
    "InstanceStatus": "client.status",
    "InstanceTimes": "client.times",
    "Limit": "limits",
    "ListPage": "instance.listing",
    "Listing": "instance.listing",
    "Log": "instance.log",
    "LogGap": "client.log_lines",
    "LogLine": "client.log_lines",
    "LogPage": "instance.log",
    "Node": "instance.node",
    "NodeContext": "node_context",
    "NodeEvent": "client.events",
    "NodeState": "states",
    "NodeStatus": "client.status",
    "ProgressStatus": "client.status",
    "Queue": "looking.queue",
    "QueueStatus": "client.status",
    "Reason": "why",
    "ShapeEdge": "client.shape",
    "ShapeGroup": "client.shape",
    "StaticRetry": "retry",
    "Why": "why",
    "WorkerEvent": "client.events",
    "WorkerStatus": "client.status",
    "attach": "definition",
    "context": "node_context",
    "dagorama": "decorators",
    "events": "looking.events",
    "execute_worker": "runner",
    "execute_worker_async": "runner",
    "find": "looking.lists",
    "find_async": "looking.lists",
    "generate_instance_id": "definition",
    "instance_options": "options",
    "instances": "looking.lists",
    "launch_workers": "runner",
    "queues": "looking.lists",
    "queues_async": "looking.lists",
    "register_definition": "serializer",
    "resolve": "definition",
    "resolve_async": "definition",
    "workers": "looking.lists",
    "workers_async": "looking.lists",
}


def __getattr__(name: str) -> object:
    """Load an exported name (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the exported names before they are loaded."""
    return sorted({*globals(), *__all__})
