"""Schemas of answers, made of the types that the Python API gives. Their words are those of the commands' --json."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from dagorama import (
    BrokerSetting,
    DefinitionInfo,
    EventKind,
    EventsSkipped,
    FunctionProgress,
    HistoryEntry,
    InstanceEvent,
    InstanceState,
    InstanceStatus,
    LimitStatus,
    LogGap,
    LogLine,
    NodeEvent,
    NodeState,
    NodeStatus,
    ParameterInfo,
    QueueStatus,
    Reason,
    Why,
    WorkerEvent,
    WorkerStatus,
)
from dagorama.common.wishes import Done
from dagorama.ui.api.runs import RunStatus
from dagorama.workflows.artifacts import ArtifactInfo

#: The components by their names; what they refer to comes along under the names of `_NAMED`.
COMPONENTS: dict[str, type] = {
    "instance": InstanceStatus,
    "node": NodeStatus,
    "function_progress": FunctionProgress,
    "why": Why,
    "reason": Reason,
    "worker": WorkerStatus,
    "queue": QueueStatus,
    "limit": LimitStatus,
    "history_entry": HistoryEntry,
    "parameter": ParameterInfo,
    "definition": DefinitionInfo,
    "setting": BrokerSetting,
    "done": Done,
    "artifact": ArtifactInfo,
    "run": RunStatus,
    "log_line": LogLine,
    "log_gap": LogGap,
    "instance_event": InstanceEvent,
    "node_event": NodeEvent,
    "worker_event": WorkerEvent,
    "events_skipped": EventsSkipped,
}
_NAMED = {kind: name for name, kind in COMPONENTS.items()}

#: The words of `HistoryEntry.action`.
ACTIONS_OF_HISTORY = (
    *("start", "end", "extend", "cancel", "retry", "rerun", "retry_now", "pause", "resume", "priority", "cap", "drain"),
)
#: Types that are no dataclasses.
_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    object: {},
}
SIMPLE: dict[str, dict[str, Any]] = {
    "id": {"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
    "time": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"},
    "instance_state": {"enum": [state.value for state in InstanceState]},
    "node_state": {"enum": [state.value for state in NodeState]},
    "counts": {
        "type": "object",
        "propertyNames": {"enum": [state.value for state in NodeState]},
        "additionalProperties": {"type": "integer"},
    },
}


def ref(name: str) -> dict[str, Any]:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


#: Fields whose types say less than is known of them.
_KNOWN: dict[tuple[str, str], dict[str, Any]] = {
    ("instance", "counts"): ref("counts"),
    ("function_progress", "counts"): ref("counts"),
    ("node", "state"): ref("node_state"),
    ("node", "change"): {"enum": ["", "same", "changed", "new"]},
    ("why", "state"): ref("node_state"),
    ("done", "state"): ref("instance_state"),
    ("history_entry", "action"): {"enum": list(ACTIONS_OF_HISTORY)},
    ("history_entry", "details"): {"type": "object"},
    ("parameter", "kind"): {
        "enum": ["positional_only", "positional_or_keyword", "var_positional", "keyword_only", "var_keyword"]
    },
    ("setting", "source"): {"enum": ["command line", "environment", "default"]},
    **{
        (name, "kind"): {"enum": [kind.value for kind in EventKind if kind.value.startswith(beginnings)]}
        for name, beginnings in {
            "instance_event": ("instance_", "nodes_"),
            "node_event": ("node_", "attempt_"),
            "worker_event": ("worker_",),
        }.items()
    },
}
#: Fields that are told under another name, or that the type does not have.
_OTHERWISE = {"log_gap": {"text": "gap"}}
_BESIDES = {"events_skipped": {"kind": {"enum": ["events_skipped"]}}}


def components() -> dict[str, Any]:
    """Return the schemas of all components."""
    found: dict[str, Any] = dict(SIMPLE)
    for name, kind in COMPONENTS.items():
        _add(found, name, kind)
    found["problem"] = {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "field": {"type": "string"},
        },
        "required": ["title", "status", "detail"],
        "additionalProperties": False,
    }
    return found


def _add(found: dict[str, Any], name: str, kind: type) -> None:
    """Add the schema of a dataclass, and of each in its fields."""
    if name in found:
        return
    found[name] = {}  # it may have itself
    hints = get_type_hints(kind)
    properties = dict(_BESIDES.get(name, {}))
    for field in dataclasses.fields(kind):
        if not field.repr:
            continue  # of no use to anybody else
        told_as = _OTHERWISE.get(name, {}).get(field.name, field.name)
        properties[told_as] = _KNOWN.get((name, field.name)) or _schema(found, hints[field.name])
    found[name] = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _schema(found: dict[str, Any], hint: Any) -> dict[str, Any]:
    """Return the schema of a type."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hint in (UUID, datetime):
        return ref("id" if hint is UUID else "time")
    if hint in (InstanceState, NodeState):
        return ref("instance_state" if hint is InstanceState else "node_state")
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(found, each) for each in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (tuple, list):
        return {"type": "array", "items": _schema(found, arguments[0])}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _schema(found, arguments[1])}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [each.value for each in hint]}
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        name = _NAMED.get(hint) or _name(hint)
        _add(found, name, hint)
        return ref(name)
    raise TypeError(f"there is no schema for {hint!r}")


def _name(kind: type) -> str:
    """Return the name of a component that another one has: "failure" for an `AttemptStatus`."""
    name = kind.__name__.removesuffix("Status")
    return "failure" if name == "Attempt" else "".join("_" * c.isupper() + c.lower() for c in name).lstrip("_")
