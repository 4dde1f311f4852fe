"""dagorama: ordinary Python classes, run durably on many machines.

Decorate the methods of a `DAGDefinition` that should run elsewhere; passing what one returns to another makes a graph.
The names below are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagorama.call_options import node_options
    from dagorama.calls.edits import ArgumentInfo, NodeArguments
    from dagorama.calls.previews import ValuePreview
    from dagorama.client.changes import ChangeSet, InstanceChange
    from dagorama.client.counts import FunctionProgress, InstanceProgress
    from dagorama.client.definitions import DefinitionInfo, ParameterInfo
    from dagorama.client.events import Event, EventKind, EventsSkipped, InstanceEvent, NodeEvent, WorkerEvent
    from dagorama.client.history import HistoryEntry
    from dagorama.client.log_lines import LogGap, LogLine
    from dagorama.client.shape import InstanceShape, ShapeEdge, ShapeGroup
    from dagorama.client.status import (
        BrokerSetting,
        InstanceStatus,
        LimitHolder,
        LimitStatus,
        NodeStatus,
        ProgressStatus,
        QueueStatus,
        WorkerStatus,
    )
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
        InstancePruned,
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
    from dagorama.looking.changes import Changes, changes
    from dagorama.looking.definitions import definitions, definitions_async, start, start_async
    from dagorama.looking.events import EventPage, Events, events
    from dagorama.looking.lists import (
        broker_settings,
        broker_settings_async,
        drain,
        drain_async,
        find,
        find_async,
        history,
        instances,
        list_limits,
        list_limits_async,
        queues,
        queues_async,
        workers,
        workers_async,
    )
    from dagorama.looking.pruning import prune, prune_async
    from dagorama.looking.queue import Queue
    from dagorama.models.promise import DAGPromise
    from dagorama.node_context import NodeContext, context
    from dagorama.options import instance_options
    from dagorama.retry import ExponentialRetry, StaticRetry
    from dagorama.runner import execute_worker, execute_worker_async, launch_workers
    from dagorama.serializer import register_definition
    from dagorama.settings import acting_as
    from dagorama.states import InstanceState, NodeState
    from dagorama.storing import put, put_async
    from dagorama.why import Reason, Why

__all__ = [
    "ArgumentInfo",
    "Attempt",
    "BrokerRefused",
    "BrokerSetting",
    "BrokerUnavailable",
    "CalledElsewhere",
    "ChangeSet",
    "Changes",
    "CodeMismatchException",
    "CursorExpired",
    "DAGDefinition",
    "DAGInstance",
    "DAGPromise",
    "DagoramaError",
    "DefinitionInfo",
    "Event",
    "EventKind",
    "EventPage",
    "Events",
    "EventsSkipped",
    "ExponentialRetry",
    "Failure",
    "FunctionProgress",
    "HistoryEntry",
    "Instance",
    "InstanceCancelled",
    "InstanceChange",
    "InstanceEvent",
    "InstanceFailed",
    "InstanceProgress",
    "InstancePruned",
    "InstanceShape",
    "InstanceState",
    "InstanceStatus",
    "InstanceTimes",
    "KeyConflict",
    "Limit",
    "LimitHolder",
    "LimitKeyError",
    "LimitStatus",
    "ListPage",
    "Listing",
    "Log",
    "LogGap",
    "LogLine",
    "LogPage",
    "MainGuardMissing",
    "Node",
    "NodeArguments",
    "NodeContext",
    "NodeEvent",
    "NodeFailed",
    "NodeState",
    "NodeStatus",
    "NodeStopped",
    "NotAwaited",
    "NotInNode",
    "OutOfReach",
    "ParameterInfo",
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
    "ValuePreview",
    "Why",
    "WorkerEvent",
    "WorkerStatus",
    "WorkersCannotStart",
    "acting_as",
    "attach",
    "broker_settings",
    "broker_settings_async",
    "changes",
    "context",
    "dagorama",
    "definitions",
    "definitions_async",
    "drain",
    "drain_async",
    "events",
    "execute_worker",
    "execute_worker_async",
    "find",
    "find_async",
    "generate_instance_id",
    "history",
    "instance_options",
    "instances",
    "launch_workers",
    "list_limits",
    "list_limits_async",
    "node_options",
    "prune",
    "prune_async",
    "put",
    "put_async",
    "queues",
    "queues_async",
    "register_definition",
    "resolve",
    "resolve_async",
    "start",
    "start_async",
    "workers",
    "workers_async",
]

#: The module of each name that is not an error.
_MODULES = {
    "ArgumentInfo": "calls.edits",
    "Attempt": "instance.node",
    "BrokerSetting": "client.status",
    "LimitHolder": "client.status",
    "LimitStatus": "client.status",
    "broker_settings": "looking.lists",
    "broker_settings_async": "looking.lists",
    "list_limits": "looking.lists",
    "list_limits_async": "looking.lists",
    "ChangeSet": "client.changes",
    "Changes": "looking.changes",
    "InstanceChange": "client.changes",
    "changes": "looking.changes",
    "NodeArguments": "calls.edits",
    "DAGDefinition": "definition",
    "DAGInstance": "definition",
    "DAGPromise": "models.promise",
    "DefinitionInfo": "client.definitions",
    "ParameterInfo": "client.definitions",
    "definitions": "looking.definitions",
    "definitions_async": "looking.definitions",
    "start": "looking.definitions",
    "start_async": "looking.definitions",
    "Event": "client.events",
    "EventKind": "client.events",
    "EventPage": "looking.events",
    "Events": "looking.events",
    "EventsSkipped": "client.events",
    "ExponentialRetry": "retry",
    "Failure": "instance.node",
    "FunctionProgress": "client.counts",
    "HistoryEntry": "client.history",
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
    "ValuePreview": "calls.previews",
    "Why": "why",
    "WorkerEvent": "client.events",
    "WorkerStatus": "client.status",
    "acting_as": "settings",
    "attach": "definition",
    "context": "node_context",
    "dagorama": "decorators",
    "drain": "looking.lists",
    "drain_async": "looking.lists",
    "events": "looking.events",
    "execute_worker": "runner",
    "execute_worker_async": "runner",
    "find": "looking.lists",
    "find_async": "looking.lists",
    "generate_instance_id": "definition",
    "history": "looking.lists",
    "instance_options": "options",
    "instances": "looking.lists",
    "launch_workers": "runner",
    "node_options": "call_options",
    "prune": "looking.pruning",
    "prune_async": "looking.pruning",
    "put": "storing",
    "put_async": "storing",
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
