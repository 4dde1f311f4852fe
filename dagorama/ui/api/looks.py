"""The operations that look: they change nothing."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from dagorama import (
    Instance,
    InstanceState,
    Listing,
    Log,
    LogGap,
    NodeState,
    attach,
    broker_settings_async,
    definitions_async,
    events,
    history,
    instances,
    list_limits_async,
    queues_async,
    workers_async,
)
from dagorama.ui.api.kinds import Flag, Id, Key, Name, Number, Pair, Seconds, Several, Text, Time, Word
from dagorama.ui.api.rows import Asked, Field, Operation
from dagorama.ui.downloads import FILE, download_of
from dagorama.ui.errors import BadInput
from dagorama.workflows.artifacts import PAGE_MAX as ARTIFACTS_MAX
from dagorama.workflows.artifacts import artifact_page

#: So many items a page has unless a request says otherwise, and at most.
PAGE, PAGE_MAX = 100, 1000
#: A cursor of a log is a number below this.
CURSOR_MAX = 2**63 - 1
#: An answer about events is waited for so long at most.
WAIT_S_MAX = 30.0

INSTANCE_ID = Field(name="instance_id", kind=Id(), about="the instance's id", is_required=True)
NODE_ID = Field(name="node_id", kind=Id(), about="the node's id", is_required=True)
LIMIT = Field(name="limit", kind=Number(1, PAGE_MAX), about="a page has so many at most", default=PAGE)
CURSOR = Field(
    name="cursor", kind=Text(), about="the `next_cursor` of the page before; the first page without it", default=""
)
SELECTION = (
    Field(name="state", kind=Several(Word(tuple(InstanceState))), about="in one of these states", default=[]),
    Field(name="definition", kind=Name(), about='of this definition: "module:Class", or its end, "Class"'),
    Field(name="key", kind=Key(), about="started under this key"),
    Field(name="since", kind=Time(), about="started then or later"),
    Field(name="until", kind=Time(), about="started before then"),
)
ARTIFACTS = Field(
    name="limit", kind=Number(1, ARTIFACTS_MAX), about="a page has so many at most", default=ARTIFACTS_MAX
)
TAG = Field(name="tag", kind=Several(Pair()), about="with each of these tags, as name=value", default=[])
NODE_SELECTION = (
    Field(name="state", kind=Several(Word(tuple(NodeState))), about="in one of these states", default=[]),
    Field(name="function", kind=Name(), about='of this function: "module:Class.method", or its end, "method"'),
    Field(name="label", kind=Text(), about="with this label, whole"),
    Field(name="inputs", kind=Flag(), about="whether to tell of their arguments", default=False),
)
LEVELS = ("debug", "info", "warning", "error", "critical")
LINES = (
    Field(name="attempt", kind=Number(1, 2**31 - 1), about="of the attempts with this number, from 1"),
    Field(name="level", kind=Word(LEVELS), about="logged at this level at least; without it printed lines as well"),
    Field(name="grep", kind=Text(1), about="with this text in them, in letters of either size"),
    Field(
        name="cursor",
        kind=Number(0, CURSOR_MAX),
        about="the `next_cursor` of the part before; the first part without it",
        default=0,
    ),
)
ID_OF_EVENTS = Field(name="instance_id", kind=Id(), about="of this instance alone")
AFTER = Field(
    name="after", kind=Text(), about="those after this cursor; without it none, and the cursor of now", default=""
)
WAIT = Field(
    name="wait_s", kind=Seconds(WAIT_S_MAX), about="waits so long for the first, where there is none yet", default=0.0
)


SUBJECT = (
    Field(name="queue", kind=Name(), about="done to this queue"),
    Field(name="worker", kind=Name(), about="done to the worker of this name"),
)


def listed(asked: Asked, tags: dict[str, str]) -> Listing[Instance]:
    """Return the instances of a selection."""
    return instances(
        state=asked.state or None,
        definition=asked.definition,
        tags=tags or None,
        key=asked.key,
        since=asked.since,
        until=asked.until,
    )


async def list_instances(asked: Asked) -> object:
    """Return a page of instances."""
    page = await listed(asked, dict(asked.tag)).apage(asked.cursor, asked.limit)
    return {"instances": [one.status for one in page.items], "next_cursor": page.next_cursor}


async def get_instance(asked: Asked) -> object:
    """Return how an instance stands."""
    return (await attach(asked.instance_id).arefresh()).status


async def get_progress(asked: Asked) -> object:
    """Return the counts of an instance's nodes by function."""
    return {"functions": (await attach(asked.instance_id).aprogress()).functions}


async def list_nodes(asked: Asked) -> object:
    """Return a page of nodes."""
    nodes = attach(asked.instance_id).nodes(
        state=asked.state or None, function=asked.function, label=asked.label, inputs=asked.inputs
    )
    page = await nodes.apage(asked.cursor, asked.limit)
    return {"nodes": [one.status for one in page.items], "next_cursor": page.next_cursor}


async def get_node(asked: Asked) -> object:
    """Return how a node stands."""
    return (await attach(asked.instance_id).anode(asked.node_id)).status


async def list_artifacts(asked: Asked) -> object:
    """Return a page of the files that a run has saved."""
    page = await artifact_page(asked.instance_id, asked.cursor, asked.limit)
    return {"artifacts": [one.info for one in page.items], "next_cursor": page.next_cursor}


async def read_artifact(asked: Asked) -> object:
    """Return a file that a run has saved."""
    return await download_of(asked.instance_id, asked.node_id)


async def read_logs(asked: Asked) -> object:
    """Return a part of the log of an instance."""
    return await _part(attach(asked.instance_id).logs(attempt=asked.attempt, level=asked.level), asked)


async def read_node_logs(asked: Asked) -> object:
    """Return a part of the log of a node."""
    node = await attach(asked.instance_id).anode(asked.node_id)
    return await _part(node.logs(attempt=asked.attempt, level=asked.level), asked)


async def _part(log: Log, asked: Asked) -> object:
    """Return a part of a log, which may be empty where lines are searched for, and not the last."""
    page = await log.apage(asked.cursor)
    wanted = (asked.grep or "").lower()
    lines = [each for each in page.lines if isinstance(each, LogGap) or wanted in each.text.lower()]
    return {"lines": lines, "next_cursor": page.cursor, "is_last": page.is_last}


async def why(asked: Asked) -> object:
    """Return what holds an instance."""
    return await attach(asked.instance_id).awhy()


async def why_node(asked: Asked) -> object:
    """Return what holds a node."""
    return await attach(asked.instance_id).awhy(asked.node_id)


async def list_events(asked: Asked) -> object:
    """Return events after a cursor."""
    page = await events(asked.instance_id, after=asked.after).apage(asked.wait_s)
    return {"events": page.events, "cursor": page.cursor}


async def list_workers(asked: Asked) -> object:
    """Return the connected workers."""
    return {"workers": await workers_async()}


async def list_queues(asked: Asked) -> object:
    """Return what is ready and running."""
    return {"queues": await queues_async()}


async def list_limits(asked: Asked) -> object:
    """Return limits and caps."""
    return {"limits": await list_limits_async()}


async def list_history(asked: Asked) -> object:
    """Return a page of what was done to anything but instances."""
    if asked.queue is not None and asked.worker is not None:
        raise BadInput("worker", "may not be given together with queue: the history is that of one of them")
    page = await history(queue=asked.queue, worker=asked.worker).apage(asked.cursor, asked.limit)
    return {"history": page.items, "next_cursor": page.next_cursor}


async def list_instance_history(asked: Asked) -> object:
    """Return a page of what was done to an instance."""
    page = await attach(asked.instance_id).history().apage(asked.cursor, asked.limit)
    return {"history": page.items, "next_cursor": page.next_cursor}


async def list_definitions(asked: Asked) -> object:
    """Return the definitions that workers have told of."""
    return {"definitions": await definitions_async()}


async def list_settings(asked: Asked) -> object:
    """Return the settings of the broker."""
    return {"settings": await broker_settings_async()}


async def get_version(asked: Asked) -> object:
    """Return the version of the page."""
    return {"version": version("dagorama")}


def _page(name: str, component: str) -> dict[str, Any]:
    return {name: [component], "next_cursor": "text"}


PART_OF_LOG = {"lines": ["log_line", "log_gap"], "next_cursor": "number", "is_last": "flag"}

LOOKS = (
    Operation(
        "list_instances",
        "/instances",
        "List instances, newest first",
        list_instances,
        members=_page("instances", "instance"),
        query=(*SELECTION, TAG, LIMIT, CURSOR),
        about="All parts of a selection have to fit. A page of a selection may be empty and not the last.",
    ),
    Operation(
        "get_instance", "/instances/{instance_id}", "Tell how an instance stands", get_instance, answer="instance"
    ),
    Operation(
        "get_progress",
        "/instances/{instance_id}/progress",
        "Count the nodes of an instance by function and state",
        get_progress,
        members={"functions": ["function_progress"]},
    ),
    Operation(
        "list_nodes",
        "/instances/{instance_id}/nodes",
        "List nodes of an instance, in the order of their creation",
        list_nodes,
        members=_page("nodes", "node"),
        query=(*NODE_SELECTION, LIMIT, CURSOR),
        about="A page of a selection may be empty and not the last. With a label `limit` bounds nothing.",
    ),
    Operation(
        "get_node",
        "/instances/{instance_id}/nodes/{node_id}",
        "Tell all there is to know of a node, with its failed attempts",
        get_node,
        answer="node",
    ),
    Operation(
        "list_artifacts",
        "/instances/{instance_id}/artifacts",
        "List the files that the tasks of a workflow's run have saved",
        list_artifacts,
        members=_page("artifacts", "artifact"),
        query=(ARTIFACTS, CURSOR),
        about="A page may be empty and not the last. `size_bytes` is null for what is no file.",
    ),
    Operation(
        "read_artifact",
        "/instances/{instance_id}/artifacts/{node_id}",
        "Read a file that a task of a workflow's run has saved, by the node that it is",
        read_artifact,
        media_type=FILE,
        about="It is sent as an attachment, in parts. A file that is lost on the way breaks the connection.",
    ),
    Operation(
        "read_logs",
        "/instances/{instance_id}/logs",
        "Read lines that the nodes of an instance have printed and logged",
        read_logs,
        members=PART_OF_LOG,
        query=LINES,
        about="A part may be empty and not the last. While nodes run, `next_cursor` also goes on after the last part.",
    ),
    Operation(
        "read_node_logs",
        "/instances/{instance_id}/nodes/{node_id}/logs",
        "Read lines that a node has printed and logged",
        read_node_logs,
        members=PART_OF_LOG,
        query=LINES,
    ),
    Operation(
        "why",
        "/instances/{instance_id}/why",
        "Say why an instance does not go on: what holds its first node that has not ended",
        why,
        answer="why",
        refusals=(400, 409),
    ),
    Operation(
        "why_node",
        "/instances/{instance_id}/nodes/{node_id}/why",
        "Say why a node does not run",
        why_node,
        answer="why",
        refusals=(400, 409),
    ),
    Operation(
        "list_events",
        "/events",
        "Tell what has happened after a cursor",
        list_events,
        members={"events": ["instance_event", "node_event", "worker_event", "events_skipped"], "cursor": "text"},
        query=(ID_OF_EVENTS, AFTER, WAIT),
        about="Ask again with `after` set to the answer's `cursor`. A cursor that is too old is refused with 410.",
        refusals=(410,),
    ),
    Operation("list_workers", "/workers", "List the connected workers", list_workers, members={"workers": ["worker"]}),
    Operation(
        "list_queues",
        "/queues",
        "List what is ready and running, by queue and taint",
        list_queues,
        members={"queues": ["queue"]},
    ),
    Operation(
        "list_limits",
        "/limits",
        "List limits and caps, with the nodes that hold them",
        list_limits,
        members={"limits": ["limit"]},
    ),
    Operation(
        "list_history",
        "/history",
        "List what was done to queues and workers, and to instances, and by whom, newest first",
        list_history,
        members=_page("history", "history_entry"),
        query=(*SUBJECT, LIMIT, CURSOR),
    ),
    Operation(
        "list_instance_history",
        "/instances/{instance_id}/history",
        "List what was done to an instance, and by whom, its start first",
        list_instance_history,
        members=_page("history", "history_entry"),
        query=(LIMIT, CURSOR),
    ),
    Operation(
        "list_definitions",
        "/definitions",
        "List the definitions that connected workers have told of, which can be started by their names",
        list_definitions,
        members={"definitions": ["definition"]},
    ),
    Operation(
        "list_settings",
        "/settings",
        "List the settings that the broker runs with, and where each comes from",
        list_settings,
        members={"settings": ["setting"]},
    ),
    Operation("get_version", "/version", "Tell the version of the page", get_version, members={"version": "text"}),
)
