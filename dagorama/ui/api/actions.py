"""The operations that change something. Each is a POST, and durable when it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from starlette.exceptions import HTTPException

from dagorama import (
    BrokerRefused,
    DagoramaError,
    Instance,
    Queue,
    attach,
    drain_async,
    start_async,
    workers_async,
)
from dagorama.common.wishes import Done
from dagorama.options import PRIORITY_MAX, RUNNING_MAX_MAX
from dagorama.ui.api.kinds import Arguments, Name, Number, Tags
from dagorama.ui.api.looks import PAGE_MAX, SELECTION, listed
from dagorama.ui.api.rows import Asked, Field, Operation
from dagorama.ui.errors import BadInput

#: So many instances are changed at the same time.
AT_ONCE = 8

PRIORITY = Field(
    name="priority",
    kind=Number(-PRIORITY_MAX, PRIORITY_MAX),
    about="workers take nodes of instances with a higher one first",
    is_required=True,
)
RUNNING_MAX = Field(
    name="running_max",
    kind=Number(1, RUNNING_MAX_MAX, has_null=True),
    about="so many nodes run at once at most; null for any number",
    is_required=True,
)
QUEUE = Field(name="queue", kind=Name(), about="the queue's name", is_required=True)
WORKER = Field(name="worker", kind=Name(), about="the name or the id of a worker", is_required=True)
DEFINITION = Field(
    name="definition", kind=Name(), about='the definition: "module:Class", or its end, "Class"', is_required=True
)
ARGUMENTS = Field(
    name="arguments", kind=Arguments(), about="the arguments of its entrypoint, by name or in order", default=()
)
TAGS = Field(name="tags", kind=Tags(), about="with each of these tags", default=None)
MANY = Field(name="limit", kind=Number(1, PAGE_MAX), about="so many instances at most, the newest", default=PAGE_MAX)


@dataclass(frozen=True, slots=True)
class Verb:
    """Something that is done to an instance."""

    name: str
    summary: str
    act: Callable[[Instance, Asked], Awaitable[object]]
    body: tuple[Field, ...] = ()
    #: The states of the instances that it is for, where many are chosen and no state is; none where it is for one only.
    states: tuple[str, ...] = ()
    #: Whether the instance is no more after it.
    is_last: bool = False


VERBS = (
    Verb(
        "cancel",
        "Stop an instance: nodes that have not started never do, and running ones are told to stop",
        lambda instance, asked: instance.acancel(),
        states=("running",),
    ),
    Verb(
        "retry",
        "Let a failed instance go on from where it failed",
        lambda instance, asked: instance.aretry(),
        states=("failed",),
    ),
    Verb(
        "pause",
        "Have workers take no further nodes of an instance",
        lambda instance, asked: instance.apause(),
        states=("running",),
    ),
    Verb("resume", "Let a paused instance go on", lambda instance, asked: instance.aresume(), states=("running",)),
    Verb(
        "priority",
        "Have workers take nodes of an instance earlier or later",
        lambda instance, asked: instance.aset_priority(asked.priority),
        (PRIORITY,),
    ),
    Verb(
        "cap",
        "Have at most so many nodes of an instance run at once",
        lambda instance, asked: instance.acap(asked.running_max),
        (RUNNING_MAX,),
    ),
    Verb(
        "delete",
        "Remove an instance that has ended, with its nodes, values and logs, and tell how it stood",
        lambda instance, asked: instance.adelete(),
        is_last=True,
    ),
)

#: What is done to a queue.
QUEUE_VERBS: tuple[tuple[str, str, Callable[[Queue, Asked], Awaitable[object]], tuple[Field, ...]], ...] = (
    ("pause", "Have workers take no further nodes of a queue", lambda queue, asked: queue.apause(), ()),
    ("resume", "Let a paused queue go on", lambda queue, asked: queue.aresume(), ()),
    (
        "cap",
        "Have at most so many nodes of a queue run at once",
        lambda queue, asked: queue.acap(asked.running_max),
        (RUNNING_MAX,),
    ),
)


def to_one(verb: Verb) -> Callable[[Asked], Awaitable[object]]:
    """Return the function that does something to one instance, and tells how it stands then."""

    async def carry_out(asked: Asked) -> object:
        instance = attach(asked.instance_id)
        if verb.is_last:
            status = (await instance.arefresh()).status
            await verb.act(instance, asked)
            return status
        await verb.act(instance, asked)
        return (await instance.arefresh()).status

    return carry_out


def to_many(verb: Verb) -> Callable[[Asked], Awaitable[object]]:
    """Return the function that does something to all instances of a selection."""

    async def carry_out(asked: Asked) -> object:
        if not any((asked.state, asked.definition, asked.tags, asked.key, asked.since, asked.until)):
            raise BadInput("state", 'say which instances are meant, by their state at least, such as ["running"]')
        chosen = Asked({**asked.fields, "state": asked.state or verb.states})
        found = []
        async for one in listed(chosen, asked.tags or {}):
            found.append(one)
            if len(found) == asked.limit:
                break
        turn = asyncio.Semaphore(AT_ONCE)
        return {"done": await asyncio.gather(*[_wish(one, verb, asked, turn) for one in found])}

    return carry_out


async def _wish(one: Instance, verb: Verb, asked: Asked, turn: asyncio.Semaphore) -> Done:
    status = one.status
    async with turn:
        try:
            await verb.act(one, asked)
            status = (await one.arefresh()).status
        except BrokerRefused as error:
            return Done(instance_id=one.id, definition=status.definition, state=status.state, refused=error.detail)
    return Done(instance_id=one.id, definition=status.definition, state=status.state, refused="")


async def rerun(asked: Asked) -> object:
    """Run a node again, and tell how it stands then."""
    instance = attach(asked.instance_id)
    await instance.arerun(asked.node_id)
    return (await instance.anode(asked.node_id)).status


async def retry_now(asked: Asked) -> object:
    """Have a node that backs off tried at once, and tell how it stands then."""
    node = await attach(asked.instance_id).anode(asked.node_id)
    await node.aretry_now()
    return (await attach(asked.instance_id).anode(asked.node_id)).status


async def start_instance(asked: Asked) -> object:
    """Start an instance of a definition whose code is not here, and tell how it stands."""
    try:
        instance = await start_async(asked.definition, asked.arguments)
    except DagoramaError:
        raise
    except LookupError as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from None
    except (TypeError, ValueError) as error:
        raise BadInput("arguments", str(error)) from None
    return (await instance.arefresh()).status


async def drain_worker(asked: Asked) -> object:
    """Drain a worker, and tell of all that are connected."""
    try:
        await drain_async(asked.worker)
    except DagoramaError:
        raise
    except LookupError as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from None
    return {"workers": await workers_async()}


def to_queue(act: Callable[[Queue, Asked], Awaitable[object]]) -> Callable[[Asked], Awaitable[object]]:
    """Return the function that does something to a queue, and tells how it stands then, by taint."""

    async def carry_out(asked: Asked) -> object:
        queue = Queue(asked.queue)
        await act(queue, asked)
        stands: object = await queue.astatus()
        return {"queues": stands}

    return carry_out


ACTIONS = (
    *(
        Operation(
            f"{verb.name}_instance",
            f"/instances/{{instance_id}}/{verb.name}",
            verb.summary,
            to_one(verb),
            method="POST",
            answer="instance",
            body=verb.body,
            refusals=(409,),
        )
        for verb in VERBS
    ),
    *(
        Operation(
            f"{verb.name}_instances",
            f"/instances/{verb.name}",
            f"{verb.name.capitalize()} all instances of a selection",
            to_many(verb),
            method="POST",
            members={"done": ["done"]},
            body=(*SELECTION, TAGS, MANY),
            about=f"Without a `state` it is for those that are {verb.states[0]}. A refusal of one stops no others.",
        )
        for verb in VERBS
        if verb.states
    ),
    Operation(
        "rerun_node",
        "/instances/{instance_id}/nodes/{node_id}/rerun",
        "Run a node of an instance that has ended again, and what its value went into",
        rerun,
        method="POST",
        answer="node",
        refusals=(409,),
    ),
    Operation(
        "retry_node_now",
        "/instances/{instance_id}/nodes/{node_id}/retry-now",
        "Have a node that backs off tried at once",
        retry_now,
        method="POST",
        answer="node",
        refusals=(409,),
    ),
    Operation(
        "start_instance",
        "/instances/start",
        "Start an instance of a definition that a connected worker has told of",
        start_instance,
        method="POST",
        answer="instance",
        body=(DEFINITION, ARGUMENTS),
        about="The worker makes of the arguments what the type hints of the entrypoint say.",
        refusals=(404, 409),
    ),
    Operation(
        "drain_worker",
        "/workers/drain",
        "Have a worker take no more nodes, finish what it runs, and end",
        drain_worker,
        method="POST",
        members={"workers": ["worker"]},
        body=(WORKER,),
        about="No other worker is started in its place.",
        refusals=(404, 409),
    ),
    *(
        Operation(
            f"{name}_queue",
            f"/queues/{name}",
            summary,
            to_queue(act),
            method="POST",
            members={"queues": ["queue"]},
            body=(QUEUE, *body),
            about="The queue need not have had nodes as yet.",
        )
        for name, summary, act, body in QUEUE_VERBS
    ),
)
