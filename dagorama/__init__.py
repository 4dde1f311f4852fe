"""dagorama: ordinary Python classes, run durably on many machines.

Decorate the methods of a `DAGDefinition` that should run elsewhere; passing what one returns to another makes a graph.
The names below are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagorama.decorators import dagorama
    from dagorama.definition import DAGDefinition, DAGInstance, attach, generate_instance_id, resolve, resolve_async
    from dagorama.errors import (
        BrokerRefused,
        BrokerUnavailable,
        CalledElsewhere,
        CodeMismatchException,
        DagoramaError,
        InstanceCancelled,
        InstanceFailed,
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
        WorkersCannotStart,
    )
    from dagorama.limits import Limit
    from dagorama.models.promise import DAGPromise
    from dagorama.node_context import NodeContext, context
    from dagorama.options import instance_options
    from dagorama.retry import ExponentialRetry, StaticRetry
    from dagorama.runner import execute_worker, execute_worker_async, launch_workers
    from dagorama.serializer import register_definition
    from dagorama.states import InstanceState
    from dagorama.why import Reason, Why

__all__ = [
    "BrokerRefused",
    "BrokerUnavailable",
    "CalledElsewhere",
    "CodeMismatchException",
    "DAGDefinition",
    "DAGInstance",
    "DAGPromise",
    "DagoramaError",
    "ExponentialRetry",
    "InstanceCancelled",
    "InstanceFailed",
    "InstanceState",
    "Limit",
    "LimitKeyError",
    "MainGuardMissing",
    "NodeContext",
    "NodeFailed",
    "NodeStopped",
    "NotAwaited",
    "NotInNode",
    "OutOfReach",
    "PayloadError",
    "PromiseMisuse",
    "Reason",
    "ResultTimeout",
    "StaticRetry",
    "Stuck",
    "UnknownFunction",
    "Why",
    "WorkersCannotStart",
    "attach",
    "context",
    "dagorama",
    "execute_worker",
    "execute_worker_async",
    "generate_instance_id",
    "instance_options",
    "launch_workers",
    "register_definition",
    "resolve",
    "resolve_async",
]

#: The module of each name that is not an error.
_MODULES = {
    "DAGDefinition": "definition",
    "DAGInstance": "definition",
    "DAGPromise": "models.promise",
    "ExponentialRetry": "retry",
    "InstanceState": "states",
    "Limit": "limits",
    "NodeContext": "node_context",
    "Reason": "why",
    "StaticRetry": "retry",
    "Why": "why",
    "attach": "definition",
    "context": "node_context",
    "dagorama": "decorators",
    "execute_worker": "runner",
    "execute_worker_async": "runner",
    "generate_instance_id": "definition",
    "instance_options": "options",
    "launch_workers": "runner",
    "register_definition": "serializer",
    "resolve": "definition",
    "resolve_async": "definition",
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
